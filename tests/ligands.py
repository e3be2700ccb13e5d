"""Small molecules by their elements and bonds, for tests of what follows from the bond graph."""

from __future__ import annotations

import mdtraj as md
import numpy as np

from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import Molecule


def molecule_of(elements: str, bonds: list[tuple[int, int]]) -> Molecule:
    """A ligand of one residue with these elements and bonds."""
    topology = md.Topology()
    residue = topology.add_residue("LIG", topology.add_chain())
    for place, element in enumerate(elements):
        topology.add_atom(f"{element}{place}", md.element.get_by_symbol(element), residue)
    for i, j in bonds:
        topology.add_bond(topology.atom(i), topology.atom(j))
    masses = np.array([atom.element.mass for atom in topology.atoms])
    return Molecule(topology, masses, np.arange(len(elements)), len(elements))


def torsion_model(order: int = 2) -> TorsionModel:
    """Two modes with random coefficients of a chain of six atoms."""
    molecule = molecule_of("CCOCNC", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)])
    rng = np.random.default_rng(0)
    bonds = tuple(find_rotatable_bonds(molecule, rng.normal(size=(6, 3))))
    return TorsionModel(
        molecule=molecule,
        temperature=300.0,
        bonds=bonds,
        order=order,
        coefficients=rng.normal(size=(2, len(bonds), order, 2)),
        constant=rng.normal(size=2),
        omega=np.array([1.0, 2.0]),
        omega_error=np.array([0.1, np.nan]),
        omega_held_out=np.array([1.1, 2.2]),
        steepness=np.array([2.0, 3.0]),
    )
