"""Modes as biased variables for OpenMM's own metadynamics, in a script of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.biasing.equilibration import equilibrate
from openmm_plugin.biasing.metadynamics_options import (
    AUTO,
    MetadynamicsOptions,
    Width,
    read_width,
)
from openmm_plugin.biasing.options import BiasOptions, check_count, variables
from openmm_plugin.forces import mode_forces
from openmm_plugin.molecules import Topology, as_molecule
from openmm_plugin.platforms import choose_platform
from openmm_plugin.systems import MolecularSystem, system_alone
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.export import export, exported_in
from symplectic_cv.exporting.exported_files import exported_modes
from symplectic_cv.exporting.torsion_file import SUFFIX, read_torsion_file
from symplectic_cv.models.modes import listed
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel

DEFAULT_WIDTH = 0.25
"""The width of a hill where it cannot be measured, in units of the standard deviation of a mode
over the training data."""


def bias_variables(
    cv: NeuralCanonicalTransformation | TorsionModel | str | Path,
    system: openmm.System | MolecularSystem | str | Path,
    modes: Sequence[int] | int = (0, 1),
    width: Width = AUTO,
    range: tuple[float, float] | None = None,  # noqa: A002 - as in options
    topology: Topology | None = None,
    positions: unit.Quantity | np.ndarray | None = None,
    backend: str = "auto",
    temperature: float = BiasOptions.temperature,
    timestep_fs: float = BiasOptions.timestep_fs,
    seed: int = BiasOptions.seed,
    platform: str | None = None,
) -> list[app.BiasVariable]:
    """Modes as `app.BiasVariable` objects, for `app.Metadynamics` in a script of one's own.

    The grid of each variable has at least 2.5 points per width (1.25 for three modes). OpenMM's
    own choice of a grid can be too coarse for its spline.

    Args:
        cv: The path of cv.pt, cv.safetensors or cv.json (`symplectic_cv.export` writes them), or a
            model.
        system: The system that is simulated, or the path of its system.xml.
        modes: The modes, one to three; 0 is the slowest. A file must hold them.
        width: The width of a hill: one number for every mode, a number for each mode, or "auto".
            "auto" measures the fluctuation of each mode within the basin of the start, as a biased
            run does, in 20 ps of unbiased dynamics, and takes 0.7 of it. Without `positions` it
            is 0.25 for every mode, in units of its standard deviation over the training data.
        range: The two ends of the grid, the same for every mode. Where None, the lowest and the
            highest value that modes of torsions can have, and -6 to 6 for modes of other charts.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB,
            for "auto"; not needed with `positions`.
        positions: The structure to start from, for "auto", shape (n_atoms, 3), in nm or with unit.
        backend: How OpenMM evaluates the modes: "auto", "native", "torchforce", "python", or, of
            torsions, "openmm"; "auto" takes the latter unless `platform` names one of the CPU.
        temperature: The temperature of the dynamics for "auto", in K.
        timestep_fs: The time step of the dynamics for "auto", in fs.
        seed: The seed of the dynamics for "auto".
        platform: The name of OpenMM's platform for "auto"; the fastest for this size where None.

    Returns:
        One variable for each mode, in the order of `modes`.

    Raises:
        OptionError: A mode that the file does not hold, or a range or width that makes no sense.
        ModelError: The file cannot be read, or the model cannot be biased.
        BackendError: The backend cannot be used here.
        SelectionError: The modelled atoms are not in the system.

    Example::

        variables = openmm_plugin.bias_variables("cv.pt", system, [0, 1], positions=positions)
        meta = app.Metadynamics(system, variables, 300, 10.0, 1.0, 500)
        simulation = app.Simulation(topology, system, integrator)
        simulation.context.setPositions(positions)
        meta.step(simulation, 1000)
    """
    modes = listed(modes) or ()
    check_count(modes)
    numbers = read_width(width, len(modes))
    given = MetadynamicsOptions(
        modes=list(modes),
        width=width,
        range=range,
        pace_ps=1e-3 * timestep_fs,
        timestep_fs=timestep_fs,
        seed=seed,
    )
    options = given.bias_options(len(modes), temperature, "python", _ends(cv, list(modes)))
    bare = system_alone(system)
    forces = _forces(cv, bare, list(modes), backend, platform)
    if numbers is None and topology is None and positions is None:
        options = replace(options, width=DEFAULT_WIDTH)
    elif numbers is None:
        if topology is None:
            topology = _nameless_topology(bare)
        molecule = as_molecule(bare, topology, positions)
        options = _with_measured_widths(options, molecule, forces, platform)
    options.check_grid(len(forces), own=False)
    return variables(options, forces)


def _ends(
    cv: NeuralCanonicalTransformation | TorsionModel | str | Path, modes: list[int]
) -> list[tuple[float, float]] | None:
    """The lowest and the highest value of each mode; None where modes have no bounds."""
    if isinstance(cv, TorsionModel):
        return cv.ends(modes)
    if isinstance(cv, (str, Path)) and Path(cv).suffix == SUFFIX:
        file = read_torsion_file(cv)
        if set(modes) <= set(file.modes):
            return file.model.ends([file.modes.index(mode) for mode in modes])
    return None


def _with_measured_widths(
    options: BiasOptions,
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    platform: str | None,
) -> BiasOptions:
    """The options with widths from the fluctuation of the modes within the basin of the start."""
    chosen = choose_platform(platform, molecule.topology.getNumAtoms())
    _, fluctuation = equilibrate(molecule, forces, options, chosen)
    return options.with_fluctuation(fluctuation.tolist())


def _forces(
    cv: NeuralCanonicalTransformation | TorsionModel | str | Path,
    system: openmm.System,
    modes: list[int],
    backend: str,
    platform: str | None,
) -> list[openmm.Force]:
    """One force for each mode."""
    if not isinstance(cv, (str, Path)):
        with tempfile.TemporaryDirectory() as aside:
            export(cv, modes, aside)
            return mode_forces(exported_in(aside), system, backend, platform)
    held = exported_modes(cv)
    missing = [mode for mode in modes if mode not in held]
    if missing:
        raise OptionError(
            f"`modes` {' '.join(map(str, modes))}: {cv} holds the modes "
            f"{' '.join(map(str, held))}: export {' '.join(map(str, modes))}, or name others"
        )
    forces = mode_forces(cv, system, backend, platform)
    return [forces[held.index(mode)] for mode in modes]


def _nameless_topology(system: openmm.System) -> app.Topology:
    """A topology with as many atoms as the system, which the dynamics do not look into."""
    topology = app.Topology()
    residue = topology.addResidue("UNK", topology.addChain())
    for atom in map(str, np.arange(system.getNumParticles())):
        topology.addAtom(atom, None, residue)
    return topology
