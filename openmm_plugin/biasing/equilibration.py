"""The start of a biased run: a relaxed structure, and the fluctuation of its modes there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.running.simulation import EQUILIBRATION, relaxed_state
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.errors import OptionError

LOOK_EVERY = 0.1
"""Time between looks at the modes, ps."""
WINDOW = 2.0
"""Length of the pieces in which the fluctuation is measured, ps: a slow mode of a molecule swings
about once in that time, and a change of basin in one piece leaves the others alone. (Alanine
dipeptide in vacuum changes between C7eq and C5 within a few ps. There pieces of 2 ps give 0.32 and
0.53 for two modes, from starts that differ by a quarter; within C7eq alone it is 0.18 and 0.36.)"""
LEAST_FLUCTUATION, MOST_FLUCTUATION = 0.15, 1.0
"""Bounds of a fluctuation within a basin; over all training data a mode has one."""


class ModeProbe:
    """Values of modes at structures of a system, through the forces that bias them.

    Args:
        forces: One force per mode; they are copied.
        molecule: The molecule, for its number of atoms and its box.
    """

    def __init__(self, forces: list[openmm.Force], molecule: MolecularSystem) -> None:
        system = openmm.System()
        for _ in range(molecule.system.getNumParticles()):
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*molecule.system.getDefaultPeriodicBoxVectors())
        self._force = openmm.CustomCVForce("0")
        for k, force in enumerate(forces):
            self._force.addCollectiveVariable(f"cv{k}", openmm.XmlSerializer.clone(force))
        system.addForce(self._force)
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)

    def __call__(self, positions: unit.Quantity, box: unit.Quantity | None = None) -> np.ndarray:
        """Modes (n,) at positions (N, 3), in the box of the system or in another one."""
        if box is not None:
            self._context.setPeriodicBoxVectors(*box)
        self._context.setPositions(positions)
        return np.array(self._force.getCollectiveVariableValues(self._context))


def check_start(forces: list[openmm.Force], start: MolecularSystem, options: BiasOptions) -> None:
    """Raises OptionError where the starting structure is outside the grid."""
    values = ModeProbe(forces, start)(start.positions)
    for k, (value, (low, high)) in enumerate(zip(values, options.ends(len(forces)), strict=True)):
        if not low <= value <= high:
            raise OptionError(
                f"the starting structure has {value:.2f} in biased mode {k}, outside of the grid "
                f"[{low}, {high}]: give a wider `range`, or start from another "
                "structure (`topology`)"
            )


def local_fluctuation(series: np.ndarray, per_window: int) -> np.ndarray:
    """Standard deviation of each mode within a basin, from a series (F, n).

    The mean over pieces of `per_window` frames of the standard deviation in each piece, within the
    bounds above.

    Example:
        >>> hop = np.array([0.0, 0.4, 0.0, 0.4, 3.0, 3.4, 3.0, 3.4])[:, None]
        >>> local_fluctuation(hop, 4).round(3).tolist()
        [0.231]
    """
    pieces = max(1, len(series) // per_window)
    spread = [part.std(0, ddof=1) for part in np.array_split(series, pieces)]
    return np.clip(np.mean(spread, axis=0), LEAST_FLUCTUATION, MOST_FLUCTUATION)


def equilibrate(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    options: BiasOptions,
    platform: openmm.Platform,
    folder: Path | None = None,
) -> tuple[openmm.State, np.ndarray]:
    """The relaxed molecule, and the fluctuation (n,) of its modes within the basin.

    The first quarter of the equilibration, in which the structure still warms up, is left out.

    Raises:
        SimulationError: It blew up; its frame is left in the folder of the run, where given.
    """
    probe = ModeProbe(forces, molecule)
    seen: list[np.ndarray] = []

    def look(state: openmm.State) -> None:
        seen.append(probe(state.getPositions(), state.getPeriodicBoxVectors()))

    state = relaxed_state(
        molecule,
        options.temperature,
        options.timestep_fs / 1000.0,
        options.seed,
        platform,
        look,
        LOOK_EVERY,
        folder,
    )
    series = np.array(seen[round(0.25 * EQUILIBRATION / LOOK_EVERY) :])
    return state, local_fluctuation(series, round(WINDOW / LOOK_EVERY))
