"""Equivalent atoms: the hydrogens of a methyl group, the oxygens of a carboxylate, a phenyl ring.

A turn of such a group by a third or a half of a circle only exchanges its atoms. The energy stays
the same and the coordinates change, so each frame represents several equivalent frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.rotatable_bonds import (
    PLANAR,
    RotatableBond,
    equivalent_atoms,
    heavy_neighbours,
)
from symplectic_cv.molecule import Molecule, bonded_neighbours

AROUND = 4
"""Number of bonds of the atom that carries the three hydrogens."""

Turn: TypeAlias = tuple[tuple[int, ...], ...]
"""Cycles of atoms that are exchanged together; all have the same length."""


def like_hydrogens(molecule: Molecule) -> list[Turn]:
    """The hydrogens of each group of three on an atom of four bonds, in the order of the atoms."""
    elements = [atom.element.symbol for atom in molecule.topology.atoms]
    groups: list[Turn] = []
    for around in bonded_neighbours(molecule.n_atoms, molecule.bonds):
        hydrogens = sorted(i for i in around if elements[i] == "H")
        if len(around) == AROUND and len(hydrogens) == AROUND - 1:
            groups.append((tuple(hydrogens),))
    return groups


def equivalent_turns(
    molecule: Molecule, bonds: Sequence[RotatableBond], reference: np.ndarray
) -> list[Turn]:
    """The exchanges that turns of rotatable bonds with a fold n make, by 1/n of a circle each.

    An exchange that the bond graph or the handedness of an atom does not allow is left out.

    Args:
        molecule: The modelled atoms.
        bonds: Its rotatable bonds.
        reference: A typical structure, shape (n_atoms, 3), in nm.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> equivalent_turns(select_atoms(heavy_atom_topology(), None), [], np.zeros((10, 3)))
        []
    """
    heavy = heavy_neighbours(molecule)
    neighbours = bonded_neighbours(molecule.n_atoms, molecule.bonds)
    classes = equivalent_atoms([a.element.symbol for a in molecule.topology.atoms], neighbours)
    found: list[Turn] = []
    for bond in bonds:
        if bond.fold == 1:
            continue
        for centre, other in (bond.atoms[1:3], bond.atoms[2:0:-1]):
            around = [k for k in heavy[centre] if k != other]
            if len(around) != bond.fold or len({classes[k] for k in around}) > 1:
                continue
            cycles = _cycles(centre, other, around, neighbours, classes, reference)
            if cycles:
                found.append(cycles)
    return found


def exchange(positions: Tensor, turns: Sequence[Turn], generator: torch.Generator) -> Tensor:
    """Each frame (F, N, 3) with the atoms of each turn in a random cyclic order.

    A cyclic order keeps the chirality of a group of three; the other order would give its mirror
    image.

    Args:
        positions: The frames, shape (F, N, 3), in nm.
        turns: The cycles of each turn, from `like_hydrogens` and `equivalent_turns`.
        generator: The source of the random numbers.

    Example:
        >>> x = torch.arange(4.0).view(1, 4, 1).expand(1, 4, 3)
        >>> exchange(x, [((1, 2, 3),)], torch.Generator().manual_seed(3))[0, :, 0]
        tensor([0., 2., 3., 1.])
    """
    n_frames, n_atoms = positions.shape[:2]
    order = torch.arange(n_atoms).repeat(n_frames, 1)
    for cycles in turns:
        size = len(cycles[0])
        turn = torch.randint(0, size, (n_frames, 1), generator=generator)
        place = (torch.arange(size) + turn) % size
        for cycle in cycles:
            order[:, list(cycle)] = order.gather(1, torch.tensor(cycle)[place])
    return positions.gather(1, order.unsqueeze(-1).expand_as(positions))


def _cycles(
    centre: int,
    other: int,
    around: Sequence[int],
    neighbours: Sequence[Sequence[int]],
    classes: Sequence[int],
    reference: np.ndarray,
) -> Turn | None:
    """The cycles of the turn that takes each atom around the centre to the next one."""
    known = neighbours, classes, reference
    maps = []
    for start, end in itertools.pairwise(around):
        found = _match({centre: centre, other: other}, start, end, len(around) == 2, *known)
        if found is None:
            return None
        maps.append(found)
    if len(around) == 2:
        return tuple((i, j) for i, j in sorted(maps[0].items()) if i < j)
    moved = [i for i in sorted(maps[0]) if i not in (centre, other)]
    if any(maps[0][i] not in maps[1] for i in moved):
        return None
    cycles = tuple((i, maps[0][i], maps[1][maps[0][i]]) for i in moved)
    atoms = [i for cycle in cycles for i in cycle]
    return cycles if len(set(atoms)) == len(atoms) else None


def _match(
    mapping: dict[int, int],
    start: int,
    end: int,
    mutual: bool,
    neighbours: Sequence[Sequence[int]],
    classes: Sequence[int],
    reference: np.ndarray,
) -> dict[int, int] | None:
    """The exchange that takes `start` to `end`, branch by branch; None where there is none.

    Args:
        mapping: What stays in place.
        mutual: Whether the exchange is its own inverse.
    """
    mapping = mapping | {start: end} | ({end: start} if mutual else {})
    queue = [start]
    while queue:
        a = queue.pop(0)
        b = mapping[a]
        taken = set(mapping.values())
        here = [k for k in neighbours[a] if k not in mapping]
        there = [k for k in neighbours[b] if k not in taken]
        if len(neighbours[a]) != len(neighbours[b]) or len(here) != len(there):
            return None
        for order in itertools.permutations(there):
            trial = mapping | dict(zip(here, order, strict=True))
            alike = all(classes[i] == classes[j] for i, j in zip(here, order, strict=True))
            if alike and _same_hand(a, trial, neighbours, reference):
                break
        else:
            return None
        mapping = trial
        if mutual:
            mapping |= {j: i for i, j in zip(here, order, strict=True) if j not in mapping}
        queue += here
    return mapping


def _same_hand(
    atom: int,
    mapping: dict[int, int],
    neighbours: Sequence[Sequence[int]],
    reference: np.ndarray,
) -> bool:
    """Whether the images of an atom's neighbours stand in the same sense around its image."""
    around = [k for k in neighbours[atom] if k in mapping][:3]
    if len(around) < 3:
        return True
    volumes = []
    for centre, arms in ((atom, around), (mapping[atom], [mapping[k] for k in around])):
        unit = reference[arms] - reference[centre]
        volumes.append(np.linalg.det(unit / np.linalg.norm(unit, axis=1, keepdims=True)))
    flat = min(abs(volume) for volume in volumes) < PLANAR
    return flat or volumes[0] * volumes[1] > 0.0
