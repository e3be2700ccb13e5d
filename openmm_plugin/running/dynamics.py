"""Unbiased Langevin dynamics of a molecule: one call for a run that models learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.molecules import SYSTEM, Topology, as_molecule, keep_structure, kept_molecule
from openmm_plugin.platforms import choose_platform
from openmm_plugin.running.checkpoints import steps_of
from openmm_plugin.running.simulation import run_dynamics
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.checks import check_kind, check_number, check_whole, choose
from symplectic_cv.errors import OptionError
from symplectic_cv.files.kept_files import keep_digests
from symplectic_cv.files.lock import sole_writer
from symplectic_cv.files.run_folder import require_free, start_run
from symplectic_cv.files.trajectories import TrajectoryFormat, trajectory_in

TIMESTEP_FS, FLEXIBLE_TIMESTEP_FS = 2.0, 0.5


@dataclass(frozen=True)
class SimulationOptions:
    """Options of unbiased dynamics: their length and their output.

    Attributes:
        time_ns: The length of the run, in ns.
        stride_ps: The time between frames, in ps.
        timestep_fs: The time step, in fs; 2 where None, or 0.5 for a system without constraints.
        temperature: The temperature, in K.
        seed: The seed of the thermostat.
        platform: The name of OpenMM's platform; the fastest for this size where None.
        precision: The precision on a GPU: "single", "mixed" or "double"; mixed where None.
        device_index: The GPU, from 0, or several with commas; OpenMM's choice where None.
        checkpoint_ps: The time between checkpoints, in ps.
        format: "dcd", which keeps single precision, or "xtc", which rounds to 0.001 nm in a third
            of the space; where None, "dcd" for a system without constraints, whose energies can be
            learned from, and "xtc" for any other.

    Raises:
        OptionError: A value that makes no sense; the message names the parameter.

    Example:
        >>> SimulationOptions(time_ns=1.0).temperature
        300.0
    """

    time_ns: float = 12.0
    stride_ps: float = 0.24
    timestep_fs: float | None = None
    temperature: float = 300.0
    seed: int = 0
    platform: str | None = None
    precision: str | None = None
    device_index: str | None = None
    checkpoint_ps: float = 100.0
    format: TrajectoryFormat | str | None = None

    def __post_init__(self) -> None:
        for name in ("time_ns", "stride_ps", "temperature", "checkpoint_ps"):
            check_number(getattr(self, name), name, above=0.0)
        if self.timestep_fs is not None:
            check_number(self.timestep_fs, "timestep_fs", above=0.0)
        check_whole(self.seed, "seed", least=0)
        if self.format is not None:
            object.__setattr__(self, "format", choose(TrajectoryFormat, self.format, "format"))


@dataclass(frozen=True)
class SimulationProgress:
    """Progress of a simulation.

    Attributes:
        time_ps: The time reached, in ps.
        total_ps: The time at which the run ends, in ps.
        timestep_fs: The time step, in fs.
        n_atoms: The number of atoms of the system.
        platform: The name of OpenMM's platform.
    """

    time_ps: float
    total_ps: float
    timestep_fs: float
    n_atoms: int
    platform: str


@dataclass(frozen=True)
class SimulatedRun:
    """A finished run of unbiased dynamics.

    Attributes:
        folder: The folder of the run.
        frames: The number of frames.
    """

    folder: Path
    frames: int

    @property
    def trajectory(self) -> Path:
        """The path of trajectory.xtc or trajectory.dcd."""
        return trajectory_in(self.folder)

    @property
    def topology(self) -> Path:
        """The path of topology.pdb."""
        return self.folder / "topology.pdb"


def simulate(
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
    positions: unit.Quantity | np.ndarray | None = None,
    options: SimulationOptions | None = None,
    folder: str | Path = "md",
    resume: bool = False,
    progress: Callable[[SimulationProgress], None] | None = None,
) -> SimulatedRun:
    """Langevin dynamics with OpenMM: the data to learn from.

    Minimises and equilibrates for 20 ps, then writes trajectory.xtc (or trajectory.dcd), state.csv,
    topology.pdb, system.xml and checkpoint/ into the folder.

    Args:
        system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem` such as
            `build_molecule` makes.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            with a system.xml topology.pdb beside it is read where None.
        positions: The structure to start from, shape (n_atoms, 3), in nm or with unit; that of the
            PDB where None.
        options: How long the dynamics run, and what they keep.
        folder: The folder of the run, made here.
        resume: Whether to continue the run that the folder holds, after a kill or to make it
            longer. Where the folder holds none, a new run begins,
            and a `RunWarning` says so.
        progress: Called once before the first step, then every few thousand steps.

    Raises:
        OptionError: The options, topology or positions make no sense.
        TrajectoryError: The system or its structure is missing or damaged.
        OutputError: The folder holds another run, or a damaged file.
        SimulationError: The simulation blew up.

    Example::

        molecule = openmm_plugin.build_molecule("alanine-dipeptide")
        options = openmm_plugin.SimulationOptions(time_ns=12.0)
        run = openmm_plugin.simulate(molecule, options=options, folder="md")
        data = symplectic_cv.read_trajectories(run.trajectory)
    """
    options = check_kind(options, SimulationOptions, "options")
    folder = Path(folder)
    if not resume:
        require_free(folder)
    molecule = as_molecule(system, topology, positions)
    timestep_fs = options.timestep_fs
    flexible = molecule.source.get("flexible", molecule.system.getNumConstraints() == 0)
    if timestep_fs is None:
        timestep_fs = FLEXIBLE_TIMESTEP_FS if flexible else TIMESTEP_FS
    n_atoms = molecule.topology.getNumAtoms()
    platform = choose_platform(options.platform, n_atoms, options.precision, options.device_index)
    steps = steps_of(options.time_ns * 1e6, timestep_fs, "time_ns")
    steps_of(options.stride_ps, timestep_fs, "stride_ps")
    settings = {
        "command": "simulate",
        **molecule.source,
        "stride_ps": options.stride_ps,
        "timestep_fs": timestep_fs,
        "temperature_k": options.temperature,
        "seed": options.seed,
    }
    lossless = _is_lossless(folder, options.format, flexible)
    start_run(folder, settings, resume)

    def report(step: int) -> None:
        if progress is not None:
            time_ps, total_ps = 1e-3 * step * timestep_fs, 1e-3 * steps * timestep_fs
            name = platform.getName()
            progress(SimulationProgress(time_ps, total_ps, timestep_fs, n_atoms, name))

    with sole_writer(folder):
        kept = (folder / SYSTEM).is_file()
        keep_structure(molecule, folder)  # those of a run that was killed before are missing
        keep_digests(folder, [SYSTEM, "topology.pdb"])
        if kept:
            molecule = kept_molecule(folder, molecule)
        report(0)
        frames = run_dynamics(
            molecule,
            folder,
            options.time_ns,
            options.stride_ps,
            timestep_fs,
            options.temperature,
            options.seed,
            platform,
            report,
            options.checkpoint_ps,
            lossless,
        )
    return SimulatedRun(folder, frames)


def _is_lossless(folder: Path, wanted: TrajectoryFormat | str | None, flexible: bool) -> bool:
    """Whether a run is written to trajectory.dcd; a run that has begun keeps its format."""
    begun = trajectory_in(folder)
    if begun.is_file():
        if wanted is not None and begun.suffix != f".{TrajectoryFormat(wanted).value}":
            raise OptionError(f"`format` {TrajectoryFormat(wanted).value}: the run writes {begun}")
        return begun.suffix == ".dcd"
    return flexible if wanted is None else wanted is TrajectoryFormat.DCD
