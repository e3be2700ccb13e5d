"""The numbers of a system, checked before OpenMM hangs, crashes or simulates nonsense with them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import openmm
from openmm import unit

ATOM = re.compile(r"p[1-9]?")
"""Attributes with the number of an atom in the terms of a force."""
MAY_BE_NONE = {"CustomHbondForce", "DrudeForce"}
"""Forces in which the number -1 stands for no atom."""


class BadSystem(ValueError):
    """A system that cannot be simulated, with what is wrong in it."""


def check_terms(root: ElementTree.Element) -> None:
    """Raises BadSystem where a term of a force names no atom, or holds a number that is NaN.

    Args:
        root: The root of a system.xml.
    """
    n_atoms = len(root.findall("Particles/Particle"))
    for force in root.iter("Force"):
        kind = force.get("type", "")
        least = -1 if kind in MAY_BE_NONE else 0
        for element in force.iter():
            for key, value in element.attrib.items():
                if ATOM.fullmatch(key) and not least <= _whole(value) < n_atoms:
                    raise BadSystem(
                        f"{kind} has a term {element.tag} of atom {value[:30]}, but the atoms are "
                        f"0 to {n_atoms - 1}"
                    )
                if key not in ("name", "energy") and value.lower() in ("nan", "-nan"):
                    raise BadSystem(f"{kind} has a term {element.tag} whose {key} is NaN")


def _whole(text: str) -> int:
    """A whole number; -2, which is no atom, for anything else."""
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else -2


def check_system(system: openmm.System) -> None:
    """Raises BadSystem where masses or constraints make no sense.

    Args:
        system: The system.
    """
    masses = [
        system.getParticleMass(atom).value_in_unit(unit.dalton)
        for atom in range(system.getNumParticles())
    ]
    for atom, mass in enumerate(masses):
        if not 0.0 <= mass < math.inf:
            raise BadSystem(f"the mass of atom {atom} is {mass:g} Da")
    for number in range(system.getNumConstraints()):
        one, two, length = system.getConstraintParameters(number)
        nm = length.value_in_unit(unit.nanometer)
        what = f"the constraint of atoms {one} and {two}"
        if not (0 <= one < len(masses) and 0 <= two < len(masses)):
            raise BadSystem(f"{what}: the atoms are 0 to {len(masses) - 1}")
        if one == two:
            raise BadSystem(f"{what} is of an atom to itself")
        if not 0.0 < nm < math.inf:
            raise BadSystem(f"{what} has the length {nm:g} nm")
        if 0.0 in (masses[one], masses[two]):
            raise BadSystem(f"{what} holds an atom of mass 0, which cannot move")
