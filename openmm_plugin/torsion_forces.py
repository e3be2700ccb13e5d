"""Torsion modes as plain OpenMM forces: one CustomTorsionForce for each mode, on every platform.

The potential energy of each force is the value of its mode (dimensionless, read as kJ/mol), for
use in CustomCVForce and BiasVariable. No plugin and no network is needed, and the serialized
system is read by any OpenMM.
"""

from __future__ import annotations

from collections.abc import Sequence

import openmm

from openmm_plugin.modelled_atoms import check_atoms
from symplectic_cv.models.torsion_model import TorsionModel


def torsion_mode_forces(
    model: TorsionModel, system: openmm.System, modes: Sequence[int] | None = None
) -> list[openmm.CustomTorsionForce]:
    """One force per mode, whose potential energy is the value of that mode.

    Args:
        model: The modes.
        system: The system that the forces are for; they use its periodic box where it has one.
        modes: The modes to make forces of; all of them where None.

    Raises:
        OptionError: A mode does not exist.
        SelectionError: The modelled atoms are not in the system.
    """
    chosen = list(range(model.dimension)) if modes is None else model.check_modes(modes)
    check_atoms(model.molecule.to_json(), system)
    periodic = system.usesPeriodicBoundaryConditions()
    harmonics = range(1, model.order + 1)
    terms = [f"a{m}*cos({m}*n*theta) + b{m}*sin({m}*n*theta)" for m in harmonics]
    forces = []
    for mode in chosen:
        force = openmm.CustomTorsionForce(" + ".join([*terms, "c"]))
        for name in ("n", "c", *(f"{kind}{m}" for m in harmonics for kind in "ab")):
            force.addPerTorsionParameter(name)
        for place, bond in enumerate(model.bonds):
            atoms = [int(model.molecule.indices[k]) for k in bond.atoms]
            # the constant of the mode belongs to all torsions together: the first one carries it
            constant = -float(model.constant[mode]) if place == 0 else 0.0
            values = model.coefficients[mode, place].ravel().tolist()
            force.addTorsion(*atoms, [float(bond.fold), constant, *values])
        force.setUsesPeriodicBoundaryConditions(periodic)
        force.setName(f"symplectic-cv torsion mode {mode}")
        forces.append(force)
    return forces
