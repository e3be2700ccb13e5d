"""Torsions and distances that a user names, as columns for free energies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import mdtraj as md
import numpy as np

from symplectic_cv.data.torsions import compute_torsions, find_torsions
from symplectic_cv.errors import OptionError
from symplectic_cv.molecule import Molecule

_NAME = re.compile(r"[\w'+-]+")
ROOM = 0.02
"""Added to the range of a column that is not periodic, on both sides, as a part of its span."""


@dataclass(frozen=True)
class Column:
    """A descriptor of F frames.

    Attributes:
        name: The name, fit for a CSV header.
        unit: The unit: `rad`, `nm` or empty.
        values: The values in the frames, shape (F,).
        periodic: Whether the values run around a circle, from −π to π.
    """

    name: str
    unit: str
    values: np.ndarray
    periodic: bool

    @property
    def range(self) -> tuple[float, float]:
        if self.periodic:
            return -np.pi, np.pi
        low, high = float(self.values.min()), float(self.values.max())
        room = ROOM * (high - low) + 1e-6
        return low - room, high + room


@dataclass(frozen=True)
class Distance:
    """A named distance between two atoms, which are given as indices among the modelled ones."""

    name: str
    atoms: tuple[int, int]


def find_distances(molecule: Molecule, definitions: Sequence[str]) -> list[Distance]:
    """The distances that a user asks for.

    Args:
        molecule: The atoms to choose from.
        definitions: `NAME=i,j` with 1-based atom numbers of the topology, or two atoms by name
            as `ALA2-CA:NME3-C`.

    Raises:
        OptionError: An atom is unknown or its name is not unique, or a name is used twice.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> molecule = select_atoms(heavy_atom_topology(), None)
        >>> find_distances(molecule, ["ends=1,10"])
        [Distance(name='ends', atoms=(0, 9))]
    """
    found: list[Distance] = []
    for definition in definitions:
        option = f"`distances` {definition}"
        if "=" in definition:
            name, _, listed = definition.partition("=")
            atoms = [_by_number(text, molecule, option) for text in listed.split(",")]
        else:
            atoms = [_by_name(text, molecule, option) for text in definition.split(":")]
            name = "_".join(definition.split(":"))
        if len(atoms) != 2 or atoms[0] == atoms[1] or not _NAME.fullmatch(name):
            raise OptionError(f"{option}: name two different atoms, as NAME=i,j or ALA2-CA:ALA2-O")
        if name in (distance.name for distance in found):
            raise OptionError(f"{option}: {name} is defined twice; give each its own name")
        found.append(Distance(name, (atoms[0], atoms[1])))
    return found


def compute_columns(
    positions: np.ndarray,
    molecule: Molecule,
    torsions: Sequence[str] | None = None,
    distances: Sequence[str] = (),
) -> list[Column]:
    """Torsions in rad and distances in nm of whole frames.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The atoms of the frames.
        torsions: Torsions as `find_torsions` takes them; backbone phi and psi where None.
        distances: Distances as `find_distances` takes them.
    """
    angles = find_torsions(molecule, torsions)
    columns = [
        Column(torsion.name, "rad", values, True)
        for torsion, values in zip(
            angles, compute_torsions(positions, angles, molecule).T, strict=True
        )
    ]
    pairs = find_distances(molecule, distances)
    if pairs:
        trajectory = md.Trajectory(np.asarray(positions, dtype=np.float32), molecule.topology)
        lengths = md.compute_distances(trajectory, [pair.atoms for pair in pairs], periodic=False)
        columns += [
            Column(pair.name, "nm", values.astype(np.float64), False)
            for pair, values in zip(pairs, lengths.T, strict=True)
        ]
    return columns


def _by_number(text: str, molecule: Molecule, option: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise OptionError(f"{option}: {text!r} is no atom number; an example: ends=1,22") from error
    places = np.flatnonzero(molecule.indices == number - 1)
    if len(places) != 1:
        raise OptionError(
            f"{option}: atom {number} is not among the {molecule.n_atoms} atoms looked at; choose "
            "more with `atoms`"
        )
    return int(places[0])


def _by_name(text: str, molecule: Molecule, option: str) -> int:
    places = [atom.index for atom in molecule.topology.atoms if str(atom) == text]
    if len(places) != 1:
        known = " ".join(str(atom) for atom in list(molecule.topology.atoms)[:12])
        raise OptionError(
            f"{option}: {len(places)} atoms are called {text!r}; there are {known} …; give atom "
            "numbers, as NAME=i,j, or choose more atoms with `atoms`"
        )
    return int(places[0])
