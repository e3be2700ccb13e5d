"""A Z-matrix from the bond graph: which bond, angle and torsion place each atom.

The tree of atoms grows from its middle, heavy atoms first. The first branch at a bond is
placed by a torsion about it; further branches are placed against the first, so that their
torsions (a hydrogen of a methyl group against the first, the fourth bond of a chiral
carbon) are stiff, and each soft rotation moves one coordinate alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symplectic_cv.errors import SelectionError
from symplectic_cv.molecule import Molecule, bonded_neighbours


@dataclass(frozen=True)
class ZMatrix:
    """Rows in the order in which atoms are placed.

    Attributes:
        atoms: The atom that each row places, shape (N,).
        references: The atoms a, b, c of each row, shape (N, 3), for bond i–a, angle i–a–b and
            torsion i–a–b–c; −1 where there is none (the first three rows).
    """

    atoms: np.ndarray
    references: np.ndarray

    @property
    def n_atoms(self) -> int:
        return len(self.atoms)


def z_matrix(
    n_atoms: int,
    bonds: Sequence[tuple[int, int]],
    heavy: Sequence[bool] | None = None,
    torsions: Sequence[tuple[int, int, int, int]] = (),
) -> ZMatrix:
    """The Z-matrix of a connected molecule; rings are cut by the tree.

    Args:
        n_atoms: N, at least 3.
        bonds: The pairs of bonded atoms.
        heavy: Whether each atom is not hydrogen; none is hydrogen where None.
        torsions: The torsions that rows must be made of, at most one per bond and none about a
            bond of a ring.

    Raises:
        SelectionError: The bonds do not join all atoms, or there are fewer than three.

    Example:
        >>> chain = z_matrix(4, [(0, 1), (1, 2), (2, 3)])
        >>> chain.atoms.tolist(), chain.references.tolist()
        ([2, 1, 0, 3], [[-1, -1, -1], [2, -1, -1], [1, 2, -1], [2, 1, 0]])
    """
    if n_atoms < 3:
        raise SelectionError(f"internal coordinates need at least 3 atoms, got {n_atoms}")
    weight = np.ones(n_atoms) if heavy is None else np.where(heavy, 1.0, 1e-3)
    neighbours = bonded_neighbours(n_atoms, bonds)
    distance = _distances(neighbours)
    if not np.isfinite(distance).all():
        apart = int(np.flatnonzero(~np.isfinite(distance[0]))[0])
        raise SelectionError(
            f"atoms 1 and {apart + 1} of the model are not joined by bonds: internal coordinates "
            "need one connected molecule; use `chart='cartesian'`, or a topology with its bonds"
        )

    # the middle: an atom with two neighbours at least, nearest to all heavy atoms
    inner = [i for i in range(n_atoms) if len(neighbours[i]) >= 2]
    middle = min(inner, key=lambda i: (round(float(distance[i] @ weight), 9), i))

    def size(i: int, origin: int) -> float:
        """Size of the branch that starts at i, seen from origin."""
        beyond = distance[:, i] < distance[:, origin]
        return float(weight[beyond].sum())

    wanted = {(j, k): (i, m) for i, j, k, m in torsions}
    wanted |= {(k, j): (m, i) for i, j, k, m in torsions}
    arms = sorted(neighbours[middle], key=lambda i: (-size(i, middle), i))
    atoms = [arms[0], middle, arms[1]]
    references = [(-1, -1, -1), (arms[0], -1, -1), (middle, arms[0], -1)]
    placed = set(atoms)
    queue = [middle, arms[0], arms[1]]
    # behind an atom: towards where it was placed from
    behind = {middle: arms[0], arms[0]: middle, arms[1]: middle}
    while queue:
        a = queue.pop(0)
        b = behind[a]
        open_ends = [i for i in neighbours[a] if i not in placed]
        first, far = wanted.get((a, b), (-1, -1))
        open_ends.sort(key=lambda i: (i != first, -size(i, a), i))
        beside = [i for i in neighbours[a] if i in placed and i != b]
        beyond = [i for i in neighbours[b] if i in placed and i != a]
        beyond.sort(key=lambda i: (i != far, i != behind[b], -size(i, b), i))
        # a placed neighbour of a fixes its other bonds stiffly; else a torsion about a–b
        for i in open_ends:
            c = beside[0] if beside else beyond[0]
            atoms.append(i)
            references.append((a, b, c))
            placed.add(i)
            behind[i] = a
            beside = beside or [i]
            queue.append(i)
    return ZMatrix(np.array(atoms), np.array(references))


def molecule_z_matrix(
    molecule: Molecule, torsions: Sequence[tuple[int, int, int, int]] = ()
) -> ZMatrix:
    """The Z-matrix of a model's atoms.

    Args:
        molecule: The modelled atoms.
        torsions: The torsions that rows must be made of; see `z_matrix`.

    Raises:
        SelectionError: See `z_matrix`.
    """
    heavy = [atom.element.symbol != "H" for atom in molecule.topology.atoms]
    return z_matrix(molecule.n_atoms, molecule.bonds, heavy, torsions)


def torsion_rows(table: ZMatrix, torsions: Sequence[tuple[int, int, int, int]]) -> list[int]:
    """The row of a Z-matrix that each torsion places, read from either end.

    Args:
        table: The Z-matrix.
        torsions: The torsions, which rows of the table are made of.

    Raises:
        ValueError: No row is made of one of the torsions.

    Example:
        >>> chain = z_matrix(4, [(0, 1), (1, 2), (2, 3)])
        >>> torsion_rows(chain, [(0, 1, 2, 3)])
        [3]
    """
    rows = [(int(i), *map(int, abc)) for i, abc in zip(table.atoms, table.references, strict=True)]
    return [rows.index(t if t in rows else t[::-1]) for t in torsions]


def _distances(neighbours: list[list[int]]) -> np.ndarray:
    """Number of bonds between each two atoms, (N, N); infinite where none join them."""
    n = len(neighbours)
    distance = np.full((n, n), np.inf)
    for start in range(n):
        distance[start, start] = 0.0
        queue = [start]
        while queue:
            i = queue.pop(0)
            for j in neighbours[i]:
                if np.isinf(distance[start, j]):
                    distance[start, j] = distance[start, i] + 1.0
                    queue.append(j)
    return distance
