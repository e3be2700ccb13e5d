"""The start of an adaptive loop: the molecule, its topology, and frames to learn from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import mdtraj as md
import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.molecules import as_molecule
from openmm_plugin.running.checkpoints import steps_of
from openmm_plugin.running.simulation import run_dynamics, write_structure
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.adaptation.round_folders import SUMMARY, TRAJECTORY, LoopFolder
from symplectic_cv.adaptation.round_learner import RoundLearner
from symplectic_cv.data.formats import load_topology
from symplectic_cv.data.identity import match_atoms
from symplectic_cv.data.split import SMALLEST_SET
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import OptionError, SelectionError, TrajectoryError

START_STRIDE_PS = 0.2
"""Time between the frames of the unbiased run that a loop without data begins with, ps."""

Structure: TypeAlias = str | Path | app.Topology | md.Topology | md.Trajectory


def molecule_of(
    system: MolecularSystem | openmm.System | str | Path,
    topology: Structure | None,
    positions: unit.Quantity | np.ndarray | None,
    data: TrajectoryData | Sequence[str],
) -> tuple[MolecularSystem, md.Topology]:
    """The molecule that a loop simulates, and its topology as the trajectories are read with it.

    Args:
        system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem`.
        topology: The topology of the system's atoms, the path of a PDB, or an `md.Trajectory`
            whose first frame is the structure to start from; with a system.xml topology.pdb
            beside it is read where None.
        positions: The structure to start from, shape (n_atoms, 3), in nm or with unit. Where None
            it is the structure in `topology`, or else the first frame of the data.
        data: The frames, or the trajectory files, that the loop begins with.

    Raises:
        OptionError: the topology or the positions are missing, or have another number of atoms.
        TrajectoryError: a file is missing or damaged.
    """
    known: md.Topology | None = None
    if isinstance(topology, md.Trajectory):
        positions = topology.xyz[0] if positions is None else positions
        known = topology.topology
    elif isinstance(topology, md.Topology):
        known = topology
    if known is not None:
        topology = known.to_openmm()
    if isinstance(topology, app.Topology) and positions is None:
        positions = _first_frame(data, known or md.Topology.from_openmm(topology))
    molecule = as_molecule(system, topology, positions)
    if known is None:
        if isinstance(topology, str | Path):
            known = load_topology(Path(topology))
        elif topology is None and isinstance(system, str | Path):
            known = load_topology(Path(system).with_name("topology.pdb"))
        else:
            known = md.Topology.from_openmm(molecule.topology)
    return molecule, known


def _first_frame(data: TrajectoryData | Sequence[str], topology: md.Topology) -> np.ndarray | None:
    """The first frame of all atoms, (n_atoms, 3) in nm; None where there are no data."""
    files: Sequence[str] = [] if isinstance(data, TrajectoryData) else data
    if isinstance(data, TrajectoryData):
        if data.molecule.n_atoms == topology.n_atoms:
            return np.asarray(data.positions[0], dtype=np.float64)
        files = data.names
    if not files:
        return None
    try:
        frame = next(md.iterload(files[0], chunk=1, top=topology))
    except Exception as error:  # MDTraj raises whatever its readers met
        raise TrajectoryError(
            f"{files[0]}: its first frame is not readable, and `topology` holds no positions: give "
            "`positions`, or a PDB as `topology`"
        ) from error
    return np.asarray(frame.xyz[0])


def check_frames(data: TrajectoryData, topology: md.Topology, learner: RoundLearner) -> None:
    """Checks that frames can be learned from, and belong to the system's atoms.

    Args:
        data: The frames that the loop begins with.
        topology: The topology of all atoms of the system.
        learner: The way in which rounds learn.

    Raises:
        OptionError: the frames are of another system.
        TrajectoryError: there are too few frames for the number of modes.
    """
    if data.molecule.n_system_atoms != topology.n_atoms:
        raise OptionError(
            f"`data` is of a system of {data.molecule.n_system_atoms} atoms, `system` has "
            f"{topology.n_atoms}: give frames of all atoms of the same system"
        )
    try:
        match = match_atoms(data.molecule, topology, "`system`")
    except SelectionError as error:
        raise OptionError(str(error)) from error
    if not np.array_equal(match.places, data.molecule.indices):
        raise OptionError(f"{match.note}: give `data` and `system` with atoms in one order")
    shortage = learner.shortage(data.lengths)
    if shortage is not None:
        raise TrajectoryError(shortage)


def check_start_time(time_ns: float, timestep_fs: float, learner: RoundLearner) -> None:
    """Raises OptionError for a starting run with too few frames to learn a model from.

    Args:
        time_ns: The length of the run, in ns.
        timestep_fs: The time step, in fs.
        learner: The way in which rounds learn.
    """
    step = 1e-3 * timestep_fs
    stride = steps_of(START_STRIDE_PS, step, "stride")
    frames = steps_of(time_ns * 1000.0, step, "start_ns") // stride
    least = next(n for n in itertools.count(SMALLEST_SET) if learner.shortage([n]) is None)
    if frames < least:
        raise OptionError(
            f"`start_ns` {time_ns:g} gives {frames} frames, one each {stride * step:g} ps; "
            f"{learner.n_modes} modes take at least {least}: give "
            f"{1e-3 * math.ceil(least * stride * step):g} or more"
        )


def simulate_start(
    folder: LoopFolder,
    molecule: MolecularSystem,
    time_ns: float,
    timestep_fs: float,
    temperature: float,
    seed: int,
    platform: openmm.Platform,
    progress: Callable[[float], None],
) -> Path:
    """Runs the unbiased dynamics that a loop without data begins with, or the rest of it.

    Args:
        folder: The folder of the loop.
        molecule: The molecule, with the structure to start from.
        time_ns: The length of the run, in ns.
        timestep_fs: The time step, in fs.
        temperature: The temperature, in K.
        seed: The seed of the thermostat.
        platform: Where OpenMM runs.
        progress: Called with the time reached, in ps.

    Returns:
        The path of its trajectory.

    Raises:
        SimulationError: the simulation blew up.
    """
    if not (folder.start / SUMMARY).is_file():
        folder.start.mkdir(exist_ok=True)
        write_structure(molecule, folder.start)
        frames = run_dynamics(
            molecule,
            folder.start,
            time_ns,
            START_STRIDE_PS,
            timestep_fs,
            temperature,
            seed,
            platform,
            progress=lambda step: progress(1e-3 * step * timestep_fs),
        )
        folder.write_start(time_ns, frames)
    return folder.start / TRAJECTORY
