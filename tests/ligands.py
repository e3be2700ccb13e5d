"""Small molecules by their elements and bonds, for tests of what follows from the bond graph."""

from __future__ import annotations

import mdtraj as md
import numpy as np

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
