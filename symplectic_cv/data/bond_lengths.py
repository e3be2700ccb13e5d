"""Lengths of bonds, and their word about frames: the unit, and bonds that are none.

A topology lists bonds that a molecule does not have: MDTraj joins residues that follow one
another, and metals to what is near. Such a bond is long in every frame. A bond that is long in some
frames is torn by a periodic boundary.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import mdtraj as md
import numpy as np

from symplectic_cv.data.periodic import BOND_LIMIT, minimum_image
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.molecule import Molecule

RADII = {
    "H": 0.031, "B": 0.084, "C": 0.076, "N": 0.071, "O": 0.066, "F": 0.057, "Si": 0.111,
    "P": 0.107, "S": 0.105, "Cl": 0.102, "Se": 0.120, "Br": 0.120, "I": 0.139,
}  # fmt: skip
"""Covalent radii in nm. Source: B. Cordero et al., Dalton Trans. 2832 (2008)."""
CA_STEP = 0.38
"""The distance of neighbouring Cα atoms of a peptide, in nm."""
TOO_LONG, TOO_SHORT = (6.0, 16.0), (0.06, 0.16)
"""Typical bond lengths over those expected, where lengths are ten times too long or too short."""
STRETCHED, SHORTEST_LIMIT = 1.45, 0.2
"""No bond is so much longer than its radii in most frames, and longer than this, in nm."""
MOST = (0.1, 0.9)
"""Quantiles of the bonds that must be too long for a wrong unit; a torn molecule has a few."""
SAMPLE = 200
"""Frames that are looked at."""


def expected_length(first: Any, second: Any) -> float:
    """The length of a bond between two atoms of MDTraj, in nm; NaN where it is unknown."""
    if first.name == second.name == "CA" and first.residue.index != second.residue.index:
        return CA_STEP
    radii = [
        RADII.get(atom.element.symbol, np.nan) if atom.element is not None else np.nan
        for atom in (first, second)
    ]
    return float(sum(radii))


def require_nanometres(
    positions: np.ndarray, box: np.ndarray | None, molecule: Molecule, name: str
) -> None:
    """Raises TrajectoryError where all bonds are ten times too long or too short.

    Args:
        positions: Positions as they were read, shape (F, N, 3), in nm.
        box: Box vectors, shape (F, 3, 3), in nm, or None.
        molecule: The modelled atoms.
        name: The name of the frames, for the message.
    """
    pairs, expected = _known_pairs(molecule)
    if len(pairs) == 0:
        return
    found = _lengths(positions, box, pairs)
    low, high = np.quantile(found / expected, MOST)
    if TOO_LONG[0] < low <= high < TOO_LONG[1]:
        raise TrajectoryError(
            f"{name}: bonds are {np.median(found):.2f} nm long, ten times too long: the positions "
            "seem to be in ångström; read them with `length_unit=angstrom`, or divide them by 10"
        )
    if TOO_SHORT[0] < low <= high < TOO_SHORT[1]:
        raise TrajectoryError(
            f"{name}: bonds are {np.median(found):.4f} nm long, ten times too short: the numbers "
            "in the file seem to be nm where its format has ångström; read them with "
            "`length_unit=nm`"
        )


def _lengths(positions: np.ndarray, box: np.ndarray | None, pairs: np.ndarray) -> np.ndarray:
    """Distances of pairs of atoms in some of the frames, nearest images where there is a box."""
    step = max(1, len(positions) // SAMPLE)
    x = np.asarray(positions[::step], dtype=np.float64)
    vectors = x[:, pairs[:, 1]] - x[:, pairs[:, 0]]
    if box is not None:
        vectors = minimum_image(vectors, np.asarray(box)[::step, None])
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def _known_pairs(molecule: Molecule) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms whose distance is known, and that distance: bonds, or neighbouring Cα."""
    atoms = list(molecule.topology.atoms)
    pairs = list(molecule.bonds)
    if not pairs:
        traces = [atom for atom in atoms if atom.name == "CA"]
        pairs = [
            (first.index, second.index)
            for first, second in pairwise(traces)
            if second.residue.index == first.residue.index + 1
            and second.residue.chain.index == first.residue.chain.index
        ]
    expected = np.array([expected_length(atoms[i], atoms[j]) for i, j in pairs])
    known = np.isfinite(expected)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)[known], expected[known]


def without_invented_bonds(
    positions: np.ndarray, box: np.ndarray | None, molecule: Molecule
) -> tuple[Molecule, list[str]]:
    """A molecule without the bonds that are long in every frame, and what was dropped.

    Only bonds between residues and bonds of atoms without a covalent radius, such as metals, can
    be invented; others come from the template of a residue.

    Args:
        positions: Frames as they were read, shape (F, N, 3), in nm.
        box: Box vectors, shape (F, 3, 3), in nm, or None.
        molecule: The modelled atoms.

    Returns:
        The molecule, and a line for each dropped bond and each doubtful one.
    """
    bonds = list(molecule.topology.bonds)
    if not bonds:
        return molecule, []
    pairs = np.array([(bond.atom1.index, bond.atom2.index) for bond in bonds])
    lengths = _lengths(positions, box, pairs)
    notes, dropped = [], []
    for place, bond in enumerate(bonds):
        first, second = bond.atom1, bond.atom2
        expected = expected_length(first, second)
        apart = first.residue.index != second.residue.index
        shortest, usual = lengths[:, place].min(), np.median(lengths[:, place])
        limit = BOND_LIMIT if np.isnan(expected) else max(STRETCHED * expected, SHORTEST_LIMIT)
        label = f"{molecule.atom_label(first.index)} and {molecule.atom_label(second.index)}"
        if (apart or np.isnan(expected)) and shortest > limit:
            dropped.append(bond)
            notes.append(
                f"the bond between {label} is {shortest:.2f} to {lengths[:, place].max():.2f} nm "
                "long in every frame, so it is none: dropped"
            )
        elif not apart and usual > limit and shortest < BOND_LIMIT:
            notes.append(
                f"the bond between {label} is {usual:.2f} nm long in most frames, "
                f"{expected:.2f} nm are expected: are the atoms of the frames in the order of "
                "the topology?"
            )
    if not dropped:
        return molecule, notes[:1]
    return _without(molecule, dropped), notes


def _without(molecule: Molecule, dropped: list[Any]) -> Molecule:
    gone = {frozenset((bond.atom1.index, bond.atom2.index)) for bond in dropped}
    topology = molecule.topology.copy()
    kept = [
        (bond.atom1.index, bond.atom2.index, bond.type, bond.order)
        for bond in topology.bonds
        if frozenset((bond.atom1.index, bond.atom2.index)) not in gone
    ]
    topology._bonds = []
    for first, second, kind, order in kept:
        topology.add_bond(topology.atom(first), topology.atom(second), type=kind, order=order)
    return replace(molecule, topology=topology)


def molecules_of(topology: md.Topology) -> np.ndarray:
    """A number for each atom that is the same for atoms of one molecule, shape (N,).

    Bonds join atoms, so do residues, and neighbouring residues of a peptide or nucleic acid in one
    chain, because a selection such as the Cα atoms leaves their bonds out.
    """
    parent = list(range(topology.n_atoms))

    def root(atom: int) -> int:
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = parent[atom]
        return atom

    for bond in topology.bonds:
        parent[root(bond.atom1.index)] = root(bond.atom2.index)
    before: Any = None
    for residue in topology.residues:
        first = next(residue.atoms, None)
        if first is None:
            continue
        for atom in residue.atoms:
            parent[root(atom.index)] = root(first.index)
        if before is not None and before.chain.index == residue.chain.index:
            chain_like = any(
                getattr(before, kind) and getattr(residue, kind)
                for kind in ("is_protein", "is_nucleic")
            )
            if chain_like and residue.resSeq - before.resSeq in (0, 1):
                parent[root(first.index)] = root(next(before.atoms).index)
        before = residue
    return np.array([root(atom) for atom in range(topology.n_atoms)], dtype=np.int64)
