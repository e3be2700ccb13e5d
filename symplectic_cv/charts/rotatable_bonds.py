"""Rotatable bonds of a molecule: one torsion for each, found from the bond graph.

A bond between heavy atoms has a torsion where both of its atoms have a further heavy neighbour.
Bonds of rings and stiff bonds are kept: their modes are fast and come last. Where the atoms
beyond a bond are equivalent (the oxygens of a carboxylate, the ortho carbons of a phenyl ring),
a turn that exchanges them changes nothing. Such a bond is described by n times its torsion, with
n the number of equivalent positions. The oxygens of an acid group COOH are not equivalent, also
where its hydrogen is not modelled but stands in the topology of the system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symplectic_cv.data.torsions import KINDS, Torsion, find_torsions
from symplectic_cv.errors import OptionError, SelectionError
from symplectic_cv.molecule import Molecule, bonded_neighbours

PLANAR = 0.35
"""Triple product of unit bond vectors below which an atom with three neighbours is planar. It is
0 for a plane and 0.77 for a tetrahedral atom with one neighbour left out."""


@dataclass(frozen=True)
class RotatableBond:
    """A bond between heavy atoms, and the torsion that measures its rotation.

    Attributes:
        name: The name of the torsion, for example `psi_ALA2`, unique in its molecule.
        atoms: The four atoms of the torsion, as places among the modelled atoms. The bond joins
            the second and the third.
        fold: The number n of equivalent positions in a full turn; functions of the bond use n
            times the torsion.
        in_ring: Whether the bond belongs to a ring.
        amide: Whether the bond is a peptide or amide bond, which should not turn to cis.
    """

    name: str
    atoms: tuple[int, int, int, int]
    fold: int = 1
    in_ring: bool = False
    amide: bool = False


def find_rotatable_bonds(molecule: Molecule, reference: np.ndarray) -> list[RotatableBond]:
    """The rotatable bonds of a molecule, in the order of their atoms.

    Args:
        molecule: The modelled atoms with their bonds. Hydrogens among them are passed over.
        reference: A typical structure, shape (n_atoms, 3), in nm. It tells planar atoms from
            tetrahedral ones.

    Raises:
        SelectionError: The molecule has no rotatable bond.
        OptionError: The reference has another shape.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> molecule = select_atoms(heavy_atom_topology(), None)
        >>> shape = np.random.default_rng(0).normal(size=(10, 3))
        >>> [bond.name for bond in find_rotatable_bonds(molecule, shape)]
        ['ACE1-C-ALA2-N', 'phi_ALA2', 'psi_ALA2', 'ALA2-C-NME3-N']
    """
    reference = np.asarray(reference, dtype=np.float64)
    if reference.shape != (molecule.n_atoms, 3):
        raise OptionError(
            f"`reference` has shape {reference.shape}; the molecule needs ({molecule.n_atoms}, 3)"
        )
    elements = [atom.element.symbol for atom in molecule.topology.atoms]
    neighbours = heavy_neighbours(molecule)
    # the oxygens of an acid differ by a hydrogen, which need not be modelled
    kinds = [f"{element}H{n}" for element, n in zip(elements, molecule.hydrogens, strict=True)]
    classes = equivalent_atoms(kinds, neighbours)
    known = _named_torsions(molecule)
    found: list[RotatableBond] = []
    names: set[str] = set()
    pairs = sorted({(i, j) for i, around in enumerate(neighbours) for j in around if i < j})
    for first, second in pairs:
        left = [atom for atom in neighbours[first] if atom != second]
        right = [atom for atom in neighbours[second] if atom != first]
        if not left or not right:
            continue
        torsion = known.get((first, second))
        ring = _joined_without(neighbours, first, second)
        if torsion is None:
            ends = _ends(neighbours, first, second, ring)
            torsion = Torsion(_bond_name(molecule, first, second), ends)
        name = torsion.name
        while name in names:
            name += "'"
        names.add(name)
        fold = 1
        if not ring:
            for centre, around, other in ((first, left, second), (second, right, first)):
                fold = max(fold, _fold(centre, around, other, classes, reference))
        amide = _is_amide(elements, neighbours, first, second)
        found.append(RotatableBond(name, torsion.atoms, fold, ring, amide and not ring))
    if not found:
        raise SelectionError(
            f"the {molecule.n_atoms} modelled atoms have no rotatable bond between heavy atoms: "
            "select more with `atoms`, or use `chart='cartesian'`"
        )
    return found


def heavy_neighbours(molecule: Molecule) -> list[list[int]]:
    """The heavy neighbours of each modelled atom, sorted; hydrogens have none and are none."""
    heavy = [atom.element.symbol != "H" for atom in molecule.topology.atoms]
    bonds = [(i, j) for i, j in molecule.bonds if heavy[i] and heavy[j]]
    return [sorted(around) for around in bonded_neighbours(molecule.n_atoms, bonds)]


def equivalent_atoms(elements: Sequence[str], neighbours: Sequence[Sequence[int]]) -> list[int]:
    """Classes of atoms that the bond graph cannot tell apart, one number per atom.

    Colours are refined by the colours of the neighbours until nothing changes.

    Source: B. Weisfeiler and A. A. Leman, Nauchno-Tekh. Inf. 2, 12 (1968).

    Example:
        >>> equivalent_atoms(["C", "C", "O", "O"], [[1], [0, 2, 3], [1], [1]])
        [0, 1, 2, 2]
    """
    colours = _numbered([(element,) for element in elements])
    while True:
        refined = _numbered(
            [
                (colour, tuple(sorted(colours[k] for k in around)))
                for colour, around in zip(colours, neighbours, strict=True)
            ]
        )
        if len(set(refined)) == len(set(colours)):
            return colours
        colours = refined


def _numbered(keys: Sequence[object]) -> list[int]:
    """Numbers in the order of first appearance."""
    numbers: dict[object, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def beyond_bond(neighbours: Sequence[Sequence[int]], first: int, second: int) -> list[int]:
    """The atoms on the side of `second` when the bond between the two atoms is cut."""
    seen, queue = {second}, [second]
    while queue:
        atom = queue.pop()
        for k in neighbours[atom]:
            if k not in seen and (atom, k) != (second, first):
                seen.add(k)
                queue.append(k)
    return sorted(seen)


def _joined_without(neighbours: Sequence[Sequence[int]], first: int, second: int) -> bool:
    return first in beyond_bond(neighbours, first, second)


def _ends(
    neighbours: Sequence[Sequence[int]], first: int, second: int, ring: bool
) -> tuple[int, int, int, int]:
    """The torsion of a bond without a name: along the ring, else towards the larger branches."""
    if ring:
        path = _shortest(neighbours, first, second)
        return path[1], first, second, path[-2]
    left = [k for k in neighbours[first] if k != second]
    right = [k for k in neighbours[second] if k != first]
    i = max(left, key=lambda k: (len(beyond_bond(neighbours, first, k)), -k))
    j = max(right, key=lambda k: (len(beyond_bond(neighbours, second, k)), -k))
    return i, first, second, j


def _shortest(neighbours: Sequence[Sequence[int]], first: int, second: int) -> list[int]:
    """The shortest way from one atom of a ring bond to the other that avoids the bond."""
    came: dict[int, int] = {first: first}
    queue = [first]
    while queue:
        atom = queue.pop(0)
        for k in neighbours[atom]:
            if k in came or (atom, k) == (first, second):
                continue
            came[k] = atom
            queue.append(k)
    path = [second]
    while path[-1] != first:
        path.append(came[path[-1]])
    return path[::-1]


def _fold(
    centre: int, around: Sequence[int], other: int, classes: Sequence[int], reference: np.ndarray
) -> int:
    """The number of equal turns that exchange the atoms around one end of a bond."""
    if len(around) < 2 or len({classes[k] for k in around}) > 1:
        return 1
    if len(around) == 3:
        return 3
    arms = reference[[*around, other]] - reference[centre]
    arms /= np.linalg.norm(arms, axis=1, keepdims=True)
    return 2 if abs(np.linalg.det(arms)) < PLANAR else 1


def _is_amide(
    elements: Sequence[str], neighbours: Sequence[Sequence[int]], first: int, second: int
) -> bool:
    """Whether a C–N bond has an oxygen or sulphur that ends at the carbon."""
    for carbon, nitrogen in ((first, second), (second, first)):
        if elements[carbon] == "C" and elements[nitrogen] == "N":
            ends = [k for k in neighbours[carbon] if k != nitrogen and len(neighbours[k]) == 1]
            return any(elements[k] in ("O", "S") for k in ends)
    return False


def _named_torsions(molecule: Molecule) -> dict[tuple[int, int], Torsion]:
    """The torsions of peptides by their bond, so that they keep their usual names and atoms."""
    named: dict[tuple[int, int], Torsion] = {}
    for kind in KINDS:
        try:
            torsions = find_torsions(molecule, [kind])
        except OptionError:  # the molecule has none of this kind
            continue
        for torsion in torsions:
            j, k = torsion.atoms[1:3]
            name = f"{torsion.kind}_{torsion.residue}"
            entry = Torsion(name, torsion.atoms, torsion.kind, torsion.residue)
            named.setdefault((min(j, k), max(j, k)), entry)
    return named


def _bond_name(molecule: Molecule, first: int, second: int) -> str:
    """`PHE3-CB-CG` for a bond within a residue, `GLY1-C-ALA2-N` between two."""
    a, b = (molecule.topology.atom(k) for k in (first, second))
    if a.residue is b.residue:
        return f"{a.residue}-{a.name}-{b.name}"
    return f"{a.residue}-{a.name}-{b.residue}-{b.name}"
