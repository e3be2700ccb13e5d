"""The modelled atoms in a system: checked before a force is made for them."""

from __future__ import annotations

from typing import Any

import openmm
from openmm import unit

from symplectic_cv.errors import SelectionError


def check_atoms(molecule: dict[str, Any], system: openmm.System) -> None:
    """Raises SelectionError where the system does not hold the modelled atoms.

    Heavy atoms may be lighter by repartitioned hydrogen mass; anything else is taken for
    another molecule.
    """
    n = system.getNumParticles()
    for atom in molecule["atoms"]:
        index, name = (
            atom["system_index"],
            f"{atom['residue']}{atom['residue_number']}-{atom['name']}",
        )
        if index >= n:
            raise SelectionError(
                f"the model's atom {name} is atom {index + 1}, but the system has only {n} atoms: "
                "is this the system that the model was trained on?"
            )
        mass = system.getParticleMass(index).value_in_unit(unit.dalton)
        light = atom["element"] == "H"
        fits = 0.9 < mass < 4.5 if light else -10.0 < mass - atom["mass_da"] < 0.5
        if not fits:
            raise SelectionError(
                f"the model's atom {name} (atom {index + 1}) has {atom['mass_da']:.3f} Da, the "
                f"system's atom {index + 1} has {mass:.3f} Da: the system is not the one that the "
                "model was trained on, or its atoms are in another order"
            )
