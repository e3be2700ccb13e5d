"""Molecules made whole across periodic boundaries.

The atoms are joined by a spanning tree of short links. Each link takes its minimum image,
and summing links from the root puts the molecule together. The shifts are constant
between images, so gradients pass through unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

BOND_LIMIT = 0.4
"""No covalent bond between modelled atoms is longer than this, nm."""

JUMP = 1.0
"""A link between unbonded atoms that changes by more than this between frames, nm, jumped."""


@dataclass(frozen=True)
class Links:
    """A spanning tree over N atoms.

    Attributes:
        pairs: The parent and the child of each link, shape (N−1, 2), parents before children.
        bonded: Whether each link is a chemical bond, shape (N−1,).
    """

    pairs: np.ndarray
    bonded: np.ndarray

    def path_matrix(self) -> np.ndarray:
        """(N, N−1) of 0 and 1: position of atom i = root + Σ_k path[i, k] · link_k."""
        n = len(self.pairs) + 1
        path = np.zeros((n, n - 1))
        for k, (parent, child) in enumerate(self.pairs):
            path[child] = path[parent]
            path[child, k] = 1.0
        return path

    @property
    def root(self) -> int:
        return int(self.pairs[0, 0])


def minimum_image(vectors: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Shortest periodic images of vectors (..., 3) in boxes (..., 3, 3), nm.

    The boxes must be in the reduced, lower-triangular form that GROMACS and OpenMM use
    (a along x, b in the xy plane); images up to half the shortest box height are right.
    """
    out = np.array(vectors, dtype=np.float64)
    for axis in (2, 1, 0):
        count = np.round(out[..., axis] / box[..., axis, axis])
        out -= count[..., None] * box[..., axis, :]
    return out


def known_box(box: np.ndarray | None) -> np.ndarray | None:
    """Box vectors (F, 3, 3) in nm as read from a file; None for the zeros that mean "no box"."""
    if box is None or not (np.abs(box.diagonal(axis1=1, axis2=2)) > 1e-6).all():
        return None
    return box


def spanning_links(
    positions: np.ndarray, box: np.ndarray | None, bonds: list[tuple[int, int]]
) -> Links:
    """The tree of shortest links of one frame; chemical bonds come first.

    Args:
        positions: Positions of one frame, shape (N, 3), in nm, whole or not.
        box: Box vectors, shape (3, 3), in nm, or None.
        bonds: The pairs of atoms that are known to be bonded.
    """
    n = len(positions)
    difference = positions[None, :, :].astype(np.float64) - positions[:, None, :]
    if box is not None:
        difference = minimum_image(difference, np.broadcast_to(box, (n, n, 3, 3)))
    # the offset keeps coincident atoms apart from "no link"; bonds undercut every distance
    length = np.linalg.norm(difference, axis=-1) + 1.0
    for first, second in bonds:
        length[first, second] = length[second, first] = 1e-3
    tree = minimum_spanning_tree(csr_matrix(np.triu(length, 1)))
    order, parent = breadth_first_order(tree, 0, directed=False)
    pairs = np.array([(parent[child], child) for child in order[1:]], dtype=np.int64)
    known = {frozenset(bond) for bond in bonds}
    bonded = np.array([frozenset((int(a), int(b))) in known for a, b in pairs], dtype=bool)
    return Links(pairs=pairs, bonded=bonded)


def make_whole(positions: np.ndarray, box: np.ndarray | None, links: Links) -> np.ndarray:
    """Whole molecules (F, N, 3), float64 in nm; the root atom stays where it is.

    Args:
        positions: Positions, shape (F, N, 3), in nm.
        box: Box vectors, shape (F, 3, 3), in nm, or None for no periodic boundaries.
        links: The spanning tree of the molecule.
    """
    x = positions.astype(np.float64)
    if box is None:
        return x
    steps = x[:, links.pairs[:, 1]] - x[:, links.pairs[:, 0]]
    steps = minimum_image(steps, box[:, None])
    return x[:, [links.root]] + np.einsum("ik,fkc->fic", links.path_matrix(), steps)


def find_broken_link(
    whole: np.ndarray, links: Links, typical: np.ndarray
) -> tuple[int, int, float] | None:
    """First (frame, link, length in nm) that is too long for one molecule, or None.

    A bond is broken above `BOND_LIMIT`; another link where it exceeds its typical length
    by `JUMP`.

    Args:
        whole: Whole frames, shape (F, N, 3), in nm.
        typical: Typical lengths of the links, shape (N−1,), in nm.
    """
    steps = whole[:, links.pairs[:, 1]] - whole[:, links.pairs[:, 0]]
    length = np.linalg.norm(steps, axis=-1)
    limit = np.where(links.bonded, BOND_LIMIT, typical + JUMP)
    broken = np.argwhere(length > limit)
    if len(broken) == 0:
        return None
    frame, link = (int(i) for i in broken[0])
    return frame, link, float(length[frame, link])
