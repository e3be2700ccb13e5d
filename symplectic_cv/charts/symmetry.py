"""Equivalent hydrogens: the three of a methyl or an ammonium group.

A turn of such a group by a third of a circle only exchanges its hydrogens. The energy stays the
same and the coordinates change, so each frame represents 3 equivalent frames per group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from symplectic_cv.molecule import Molecule, bonded_neighbours

AROUND = 4
"""Number of bonds of the atom that carries the three hydrogens."""


def like_hydrogens(molecule: Molecule) -> list[tuple[int, ...]]:
    """The hydrogens of each group of three on an atom of four bonds, in the order of the atoms."""
    elements = [atom.element.symbol for atom in molecule.topology.atoms]
    groups = []
    for around in bonded_neighbours(molecule.n_atoms, molecule.bonds):
        hydrogens = sorted(i for i in around if elements[i] == "H")
        if len(around) == AROUND and len(hydrogens) == AROUND - 1:
            groups.append(tuple(hydrogens))
    return groups


def exchange(
    positions: Tensor, groups: list[tuple[int, ...]], generator: torch.Generator
) -> Tensor:
    """Frames with the hydrogens of each group in a random cyclic order.

    A cyclic order keeps the chirality of the group; the other order would give its mirror image.

    Args:
        positions: The frames, shape (F, N, 3), in nm.
        groups: The hydrogens of each group, from `like_hydrogens`.
        generator: The source of the random numbers.

    Example:
        >>> x = torch.arange(4.0).view(1, 4, 1).expand(1, 4, 3)
        >>> exchange(x, [(1, 2, 3)], torch.Generator().manual_seed(3))[0, :, 0]
        tensor([0., 2., 3., 1.])
    """
    n_frames, n_atoms = positions.shape[:2]
    order = torch.arange(n_atoms).repeat(n_frames, 1)
    for group in groups:
        turn = torch.randint(0, len(group), (n_frames, 1), generator=generator)
        order[:, list(group)] = torch.tensor(group)[(torch.arange(len(group)) + turn) % len(group)]
    return positions.gather(1, order.unsqueeze(-1).expand_as(positions))
