"""Ten modelled atoms scattered among twenty: what the tests of all forces evaluate."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.forces import mode_forces

MODES = [3, 0]
INDICES = np.array([4, 5, 6, 9, 11, 12, 13, 17, 18, 2])
OTHERS = np.setdiff1d(np.arange(20), INDICES)
BOXES = {
    "cubic": np.eye(3) * 2.0,
    "triclinic": np.array([[2.2, 0.0, 0.0], [0.7, 2.0, 0.0], [-1.0, 0.9, 1.9]]),
}
KJ = unit.kilojoules_per_mole


def scatter(solutes: np.ndarray) -> np.ndarray:
    """Positions (F, 20, 3) in nm with the modelled atoms (F, 10, 3) at their places."""
    x = 3.0 * np.random.default_rng(1).normal(size=(len(solutes), 20, 3))
    x[:, INDICES] = solutes
    return x


def wrap(x: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Positions with every atom in the box, however that tears the molecule."""
    wrapped = x.copy()
    for axis in (2, 1, 0):
        wrapped -= np.floor(wrapped[:, axis] / box[axis, axis])[:, None] * box[axis]
    assert (np.ptp((wrapped - x)[INDICES], axis=0) > 0.5).all()
    return wrapped


def free_system(masses: np.ndarray, box: np.ndarray | None = None) -> openmm.System:
    """Twenty particles without interactions, the modelled ones with these masses in Da."""
    system = openmm.System()
    everything = np.full(20, 18.0)
    everything[INDICES] = masses
    for mass in everything:
        system.addParticle(mass)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        periodic = openmm.NonbondedForce()  # what makes a system periodic; no interaction
        periodic.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        periodic.setCutoffDistance(0.5)
        for _ in everything:
            periodic.addParticle(0.0, 1.0, 0.0)
        system.addForce(periodic)
    return system


def context_of(system: openmm.System, platform: str = "Reference") -> openmm.Context:
    chosen = openmm.Platform.getPlatformByName(platform)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), chosen)


def energy_and_forces(
    context: openmm.Context, x: np.ndarray, groups: int | Collection[int] = -1
) -> tuple[float, np.ndarray]:
    """kJ/mol and kJ/mol/nm."""
    context.setPositions(x)
    state = context.getState(energy=True, forces=True, groups=groups)
    forces = state.getForces(asNumpy=True).value_in_unit(KJ / unit.nanometer)
    return state.getPotentialEnergy().value_in_unit(KJ), np.asarray(forces)


def modes_context(
    cv: Path, system: openmm.System, backend: str, platform: str = "Reference"
) -> openmm.Context:
    """A context of the system with one force group per mode."""
    for group, force in enumerate(mode_forces(cv, system, backend)):
        force.setForceGroup(group + 1)
        system.addForce(force)
    return context_of(system, platform)


def all_modes(context: openmm.Context, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies (2,) and forces (2, 20, 3) of the two modes."""
    parts = [energy_and_forces(context, x, {group + 1}) for group in range(len(MODES))]
    return np.array([part[0] for part in parts]), np.array([part[1] for part in parts])
