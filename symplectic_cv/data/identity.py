"""The atoms of a model in a file, found by name and residue, then by their bonds.

The order of atoms differs between programs, and names differ between force fields. A model is
evaluated on the right atoms or not at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import mdtraj as md
import numpy as np

from symplectic_cv.data.bond_graphs import places_by_bonds
from symplectic_cv.errors import DataWarning, SelectionError
from symplectic_cv.molecule import Molecule

Key = Callable[[md.core.topology.Atom], Hashable]

LABELS: tuple[Key, ...] = (
    lambda atom: (atom.residue.resSeq, _plain(atom.residue.name), _plain(atom.name)),
    lambda atom: (atom.residue.chain.index, atom.residue.resSeq, _plain(atom.name)),
    lambda atom: (atom.residue.resSeq, _plain(atom.name)),
    lambda atom: _plain(atom.name),
)
"""Labels by which atoms are found, the strictest first; each must be unique in the file."""


@dataclass(frozen=True)
class Match:
    """The places of the atoms of a model in a file.

    Attributes:
        places: The place of each atom of the model among the atoms of the file, shape (N,).
        note: What was done where order or names differ, as a line; empty where they agree.
    """

    places: np.ndarray
    note: str = ""


def match_atoms(molecule: Molecule, topology: md.Topology, name: str) -> Match:
    """Finds the atoms of a model in the topology of a file.

    The file holds the whole system, the model's atoms alone, or anything between. Atoms in the
    model's places are taken where names and bonds agree. Otherwise atoms are found by name and
    residue, and where names differ, by the graph of the bonds, if it fits in one way only.

    Args:
        molecule: The atoms of the model.
        topology: The topology of the file.
        name: The name of the file, for messages.

    Raises:
        SelectionError: The file lacks atoms of the model, or they cannot be told apart.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> topology = heavy_atom_topology()
        >>> match_atoms(select_atoms(topology), topology, "file").places.tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    if topology.n_atoms < molecule.n_atoms:
        raise SelectionError(
            f"{name}: has {topology.n_atoms} atoms; the model describes {molecule.n_atoms} of "
            f"{molecule.n_system_atoms}: give the whole system, or the model's atoms alone"
        )
    here = _same_places(molecule, topology)
    agrees = here is not None and not _contradiction(molecule, topology, here)
    if here is not None and agrees and _agree(molecule, topology, here, LABELS[0]):
        return Match(here)
    found = _by_labels(molecule, topology)
    if found is not None:
        return _reported(found, here, "were found by name and residue", name)
    if here is not None and agrees and _same_names(molecule, topology, here):
        return Match(here)
    if here is not None and _same_bonds(molecule, topology, here):
        return Match(
            here,
            f"{name}: {_first_difference(molecule, topology, here)}; the bonds are "
            "the model's, so the atoms are taken in the order of the file",
        )
    found = places_by_bonds(molecule, topology)
    if found is not None:
        return _reported(found, here, "have other names and were found by their bonds", name)
    raise SelectionError(f"{name}: {_mismatch(molecule, topology, here)}")


def place_atoms(molecule: Molecule, topology: md.Topology, name: str) -> np.ndarray:
    """The places of the atoms of a model in a file, shape (N,).

    Args:
        molecule: The atoms of the model.
        topology: The topology of the file.
        name: The name of the file, for messages.

    Raises:
        SelectionError: See `match_atoms`.

    Warns:
        DataWarning: Order or names differ, and what was done.
    """
    match = match_atoms(molecule, topology, name)
    if match.note:
        warnings.warn(match.note, DataWarning, stacklevel=2)
    return match.places


def _plain(name: str) -> str:
    return name.strip().upper()


def _same_places(molecule: Molecule, topology: md.Topology) -> np.ndarray | None:
    """The model's own places, where the file has the same elements there."""
    if topology.n_atoms == molecule.n_atoms:
        places = np.arange(molecule.n_atoms)
    elif topology.n_atoms > int(molecule.indices.max()):
        places = np.asarray(molecule.indices, dtype=np.int64)
    else:
        return None
    return places if _same_elements(molecule, topology, places) else None


def _same_elements(molecule: Molecule, topology: md.Topology, places: np.ndarray) -> bool:
    return all(
        topology.atom(int(place)).element == known.element
        for place, known in zip(places, molecule.topology.atoms, strict=True)
    )


def _agree(molecule: Molecule, topology: md.Topology, places: np.ndarray, key: Key) -> bool:
    """Whether all atoms have the labels of the model's."""
    return all(
        key(topology.atom(int(place))) == key(known)
        for place, known in zip(places, molecule.topology.atoms, strict=True)
    )


def _same_names(molecule: Molecule, topology: md.Topology, places: np.ndarray) -> bool:
    """Whether atoms have the model's names in residues that are numbered or called otherwise.

    Residues that stand in another order than in the model do not count.
    """
    if not _agree(molecule, topology, places, LABELS[-1]):
        return False
    pairs = {
        (known.residue.index, topology.atom(int(place)).residue.index)
        for place, known in zip(places, molecule.topology.atoms, strict=True)
    }
    ours, theirs = zip(*sorted(pairs), strict=True)
    return len(set(ours)) == len(set(theirs)) == len(pairs) and list(theirs) == sorted(theirs)


def _bonds(topology: md.Topology) -> set[frozenset[int]]:
    return {frozenset((bond.atom1.index, bond.atom2.index)) for bond in topology.bonds}


def _bonds_among(topology: md.Topology, places: np.ndarray) -> set[frozenset[int]]:
    """Bonds of a file among the model's atoms, as pairs of the model's numbers."""
    number = {int(place): k for k, place in enumerate(places)}
    return {
        frozenset((number[bond.atom1.index], number[bond.atom2.index]))
        for bond in topology.bonds
        if bond.atom1.index in number and bond.atom2.index in number
    }


def _contradiction(molecule: Molecule, topology: md.Topology, places: np.ndarray) -> str:
    """The first atom that lacks a bond of the model and has another instead; empty where none.

    Bonds that are missing alone are no contradiction: many files list none, or not those of
    ligands.
    """
    found = unlike_bonds(_bonds(molecule.topology), _bonds_among(topology, places))
    if found is None:
        return ""
    label, wrong, right = (molecule.topology.atom(atom) for atom in found)
    place = int(places[found[0]]) + 1
    return f"{label} (atom {place}) is bonded to {wrong}, in the model to {right}"


def unlike_bonds(
    ours: set[frozenset[int]], theirs: set[frozenset[int]]
) -> tuple[int, int, int] | None:
    """The first atom that lacks a bond and has another instead, its partner there and here.

    Args:
        ours: The bonds that should be.
        theirs: The bonds that are.

    Returns:
        The atom, the atom it is bonded to, the atom it should be bonded to; None where no atom has
        another bond instead of one that it lacks.

    Example:
        >>> bond = frozenset
        >>> unlike_bonds({bond((0, 1)), bond((1, 2))}, {bond((0, 2)), bond((1, 2))})
        (0, 2, 1)
        >>> unlike_bonds({bond((0, 1)), bond((1, 2))}, {bond((1, 2))}) is None
        True
    """
    lacking = {atom: bond for bond in sorted(ours - theirs, key=sorted) for atom in bond}
    for bond in sorted(theirs - ours, key=sorted):
        for atom in sorted(bond):
            if atom in lacking:
                (other,) = bond - {atom}
                (partner,) = lacking[atom] - {atom}
                return atom, other, partner
    return None


def _same_bonds(molecule: Molecule, topology: md.Topology, places: np.ndarray) -> bool:
    """Whether the model's atoms in these places have the model's bonds, and are joined by them."""
    ours = _bonds(molecule.topology)
    bonded = {atom for bond in ours for atom in bond}
    return len(bonded) == molecule.n_atoms and ours == _bonds_among(topology, places)


def _by_labels(molecule: Molecule, topology: md.Topology) -> np.ndarray | None:
    """Places of atoms whose labels are unique in model and file, by the strictest labels."""
    for key in LABELS:
        wanted = [key(atom) for atom in molecule.topology.atoms]
        if len(set(wanted)) < len(wanted):
            continue
        needed = set(wanted)
        place: dict[Hashable, int] = {}
        repeated = set()
        for atom in topology.atoms:
            label = key(atom)
            if label in needed:
                if label in place:
                    repeated.add(label)
                place[label] = atom.index
        if repeated or len(place) < len(wanted):
            continue
        places = np.array([place[label] for label in wanted], dtype=np.int64)
        if _same_elements(molecule, topology, places) and not _contradiction(
            molecule, topology, places
        ):
            return places
    return None


def _reported(places: np.ndarray, here: np.ndarray | None, how: str, name: str) -> Match:
    if here is not None and np.array_equal(places, here):
        return Match(places)
    order = np.argsort(places)
    if here is None and np.array_equal(order, np.arange(len(places))):
        return Match(places)  # a file of fewer or more atoms, in the model's order
    moved = int(np.argmax(order != np.arange(len(places))))
    return Match(
        places,
        f"{name}: the atoms are in another order than the model's (from atom "
        f"{int(places[order[moved]]) + 1} on); they {how}",
    )


def _first_difference(molecule: Molecule, topology: md.Topology, places: np.ndarray) -> str:
    for place, known in zip(places, molecule.topology.atoms, strict=True):
        atom = topology.atom(int(place))
        if atom.element != known.element or LABELS[0](atom) != LABELS[0](known):
            return f"atom {int(place) + 1} is {atom} where the model has {known}"
    return "names and residues are the model's"


def _mismatch(molecule: Molecule, topology: md.Topology, here: np.ndarray | None) -> str:
    """The reason why a file does not hold the model's atoms, and the remedy."""
    remedy = "give the same molecule, with the names and residues of the model's training data"
    places = here
    if places is None and topology.n_atoms in (molecule.n_atoms, molecule.n_system_atoms):
        alone = topology.n_atoms == molecule.n_atoms
        places = np.arange(molecule.n_atoms) if alone else molecule.indices
    if places is not None:
        first = _first_difference(molecule, topology, places)
        if not first.startswith("names"):
            return f"{first}, and neither names nor bonds show which atom is which: {remedy}"
        return f"{_contradiction(molecule, topology, places)}: another molecule? {remedy}"
    present = {LABELS[2](atom) for atom in topology.atoms}
    lacking = [atom for atom in molecule.topology.atoms if LABELS[2](atom) not in present]
    missing = f"lacks {lacking[0]}" if lacking else "has several atoms of the same names"
    return (
        f"has {topology.n_atoms} atoms; the model describes {molecule.n_atoms} of "
        f"{molecule.n_system_atoms}, and the file {missing}: {remedy}"
    )
