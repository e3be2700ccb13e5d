"""Torsions of the modelled atoms: found by name or given by atom numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import mdtraj as md
import numpy as np
from mdtraj.geometry import dihedral

from symplectic_cv.errors import OptionError
from symplectic_cv.molecule import Molecule

KINDS = ("phi", "psi", "omega", "chi1", "chi2", "chi3", "chi4", "chi5")
"""Torsions of a peptide that MDTraj finds by name."""

BACKBONE = ("phi", "psi")

_NAME = re.compile(r"[\w'+-]+")


@dataclass(frozen=True)
class Torsion:
    """Four atoms i-j-k-l and what their torsion is called.

    Attributes:
        name: The name, unique among the torsions of an analysis and fit for a CSV header.
        atoms: The four atoms, as indices from 0 among the modelled atoms.
        kind: One of `KINDS`, or empty for a torsion given by atom numbers.
        residue: The residue that a peptide torsion belongs to, such as `ALA2`.
    """

    name: str
    atoms: tuple[int, int, int, int]
    kind: str = ""
    residue: str = ""


def find_torsions(
    molecule: Molecule, definitions: Sequence[str] | str | None = None
) -> list[Torsion]:
    """The torsions to look at, each among the modelled atoms.

    Args:
        molecule: The modelled atoms.
        definitions: One or several names that MDTraj knows (`phi psi omega chi1` …, all
            residues), or `NAME=i,j,k,l` with 1-based atom numbers of the topology that the model
            was trained on. The backbone's phi and psi where None.

    Returns:
        Named `phi`, `psi` where no kind occurs twice, otherwise `phi_ALA2` and so on.

    Raises:
        OptionError: A name is unknown or absent from the model, or a definition does not
            name four modelled atoms.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> [torsion.name for torsion in find_torsions(select_atoms(heavy_atom_topology(), None))]
        ['phi', 'psi']
    """
    found: list[Torsion] = []
    if isinstance(definitions, str):
        definitions = [definitions]
    for definition in BACKBONE if definitions is None else definitions:
        if "=" in definition:
            found.append(_from_numbers(definition, molecule))
            continue
        if definition not in KINDS:
            raise OptionError(
                f"`torsions` {definition}: unknown; known are {' '.join(KINDS)}, or four atom "
                "numbers as NAME=i,j,k,l"
            )
        of_kind = _of_kind(definition, molecule.topology)
        if not of_kind and definitions is not None:
            raise OptionError(
                f"`torsions` {definition}: no residue has all four of its atoms in the model; "
                "train with more atoms (`atoms`), or leave it out"
            )
        found += of_kind
    found = _plain_names(found)
    names = [torsion.name for torsion in found]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"`torsions`: {name} is defined twice; give each its own name")
    return found


def compute_torsions(
    positions: np.ndarray, torsions: Sequence[Torsion], molecule: Molecule
) -> np.ndarray:
    """Torsions in radians, from −π to π, (F, T), IUPAC sign.

    Args:
        positions: Whole frames of the modelled atoms, shape (F, N, 3), in nm.
    """
    if not torsions:
        return np.empty((len(positions), 0))
    trajectory = md.Trajectory(np.asarray(positions, dtype=np.float32), molecule.topology)
    atoms = np.array([torsion.atoms for torsion in torsions])
    # the molecules are whole: no box to look at
    return md.compute_dihedrals(trajectory, atoms, periodic=False).astype(np.float64)


def nearest_frames(angles: np.ndarray, targets: Sequence[Sequence[float]]) -> list[int]:
    """The frame whose torsions are nearest to each of several targets, on the circle.

    Args:
        angles: The torsions of the frames, shape (F, T), in rad.
        targets: The torsions to look for, shape (K, T), in degrees.

    Returns:
        The index of one frame for each target.

    Example:
        >>> nearest_frames(np.radians([[-60.0, -40.0], [-179.0, 179.0]]), [(180.0, -179.0)])
        [1]
    """
    wanted = np.radians(np.asarray(targets, dtype=np.float64))
    return [int((1.0 - np.cos(angles - target)).sum(1).argmin()) for target in wanted]


def backbone_pairs(torsions: Sequence[Torsion]) -> list[tuple[int, int]]:
    """Places (phi, psi) in the list for each residue that has both: Ramachandran planes."""
    psi = {t.residue: place for place, t in enumerate(torsions) if t.kind == "psi"}
    return [
        (place, psi[t.residue])
        for place, t in enumerate(torsions)
        if t.kind == "phi" and t.residue in psi
    ]


def _of_kind(kind: str, topology: md.Topology) -> list[Torsion]:
    places = np.asarray(getattr(dihedral, f"indices_{kind}")(topology)).reshape(-1, 4)
    bonds = {frozenset((bond.atom1.index, bond.atom2.index)) for bond in topology.bonds}
    several_chains = topology.n_chains > 1
    found = []
    for four in places:
        atoms = [topology.atom(int(place)) for place in four]
        if not _joined(atoms, bonds):
            continue
        owner = atoms[2 if kind == "phi" else 1].residue
        residue = f"{owner}_chain{owner.chain.index + 1}" if several_chains else str(owner)
        i, j, k, m = (int(place) for place in four)
        found.append(Torsion(f"{kind}_{residue}", (i, j, k, m), kind, residue))
    return found


def _joined(atoms: list[md.core.topology.Atom], bonds: set[frozenset[int]]) -> bool:
    """Whether residues that MDTraj took for neighbours are: a selection may skip some."""
    return all(
        first.residue is second.residue
        or second.residue.resSeq == first.residue.resSeq + 1
        or frozenset((first.index, second.index)) in bonds
        for first, second in pairwise(atoms)
    )


def _plain_names(torsions: list[Torsion]) -> list[Torsion]:
    kinds = [torsion.kind for torsion in torsions if torsion.kind]
    if len(set(kinds)) < len(kinds):
        return torsions
    return [Torsion(t.kind or t.name, t.atoms, t.kind, t.residue) for t in torsions]


def _from_numbers(definition: str, molecule: Molecule) -> Torsion:
    name, _, listed = definition.partition("=")
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"`torsions` {definition}: {name!r} is no name for a torsion; use letters, digits, _"
        )
    try:
        numbers = [int(number) for number in listed.split(",")]
    except ValueError as error:
        raise OptionError(
            f"`torsions` {definition}: {listed!r} is not a list of atom numbers; "
            "an example: phi=5,7,9,15"
        ) from error
    if len(numbers) != 4 or len(set(numbers)) != 4:
        raise OptionError(
            f"`torsions` {definition}: a torsion needs four different atoms, "
            f"this names {len(set(numbers))}"
        )
    place_of = {int(index) + 1: place for place, index in enumerate(molecule.indices)}
    for number in numbers:
        if not 1 <= number <= molecule.n_system_atoms:
            raise OptionError(
                f"`torsions` {definition}: no atom {number}; the model's topology has atoms "
                f"1 to {molecule.n_system_atoms}"
            )
        if number not in place_of:
            raise OptionError(
                f"`torsions` {definition}: atom {number} is not among the model's atoms "
                f"({_shortened(sorted(place_of))}); train with it (`atoms`), or choose others"
            )
    i, j, k, m = (place_of[number] for number in numbers)
    return Torsion(name, (i, j, k, m))


def _shortened(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:12])
    return shown + (", …" if len(numbers) > 12 else "")
