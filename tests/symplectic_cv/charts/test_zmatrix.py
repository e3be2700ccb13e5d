"""Z-matrices of molecules."""

import numpy as np
import pytest
from ligands import molecule_of

from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.zmatrix import molecule_z_matrix, torsion_rows, z_matrix
from symplectic_cv.errors import SelectionError


def test_rows_join_what_is_bonded(molecule):
    table = molecule_z_matrix(molecule)
    bonds = {frozenset(pair) for pair in molecule.bonds}
    assert sorted(table.atoms.tolist()) == list(range(10))
    for row, (atom, (a, b, c)) in enumerate(zip(table.atoms, table.references, strict=True)):
        before = set(table.atoms[:row].tolist())
        assert {k for k in (a, b, c) if k >= 0} <= before
        if row >= 1:
            assert frozenset((int(atom), int(a))) in bonds
        if row >= 2:
            assert frozenset((int(a), int(b))) in bonds
        if row >= 3:
            assert len({int(atom), int(a), int(b), int(c)}) == 4
            assert frozenset((int(b), int(c))) in bonds or frozenset((int(a), int(c))) in bonds


def test_branches_of_a_bond_share_one_soft_torsion():
    """Ethane: one torsion about C–C; the other hydrogens are placed against a first one."""
    bonds = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (1, 7)]
    table = z_matrix(8, bonds, [True, True, *[False] * 6])
    about = [
        row
        for atom, row in zip(table.atoms.tolist()[3:], table.references.tolist()[3:], strict=True)
        if {row[0], row[1]} == {0, 1} and frozenset((row[1], row[2])) in map(frozenset, bonds)
        and row[2] not in [a for a, r in zip(table.atoms, table.references, strict=True)
                           if r[0] == row[0]]
    ]  # fmt: skip
    assert len(about) == 1


def test_rings_are_cut_and_pieces_refused():
    table = z_matrix(5, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)])
    assert sorted(table.atoms.tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(SelectionError, match="atoms 1 and 4 of the model are not joined"):
        z_matrix(5, [(0, 1), (1, 2), (3, 4)])
    with pytest.raises(SelectionError, match="at least 3 atoms"):
        z_matrix(2, [(0, 1)])


LIGANDS = {
    "chain": molecule_of("CCOCNC", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]),
    "benzyl": molecule_of(
        "NCCCCCCCC",
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 2), (4, 8)],
    ),
    "branched": molecule_of(
        "CCCCCOOCCH",
        [(0, 1), (1, 2), (2, 3), (2, 4), (4, 5), (4, 6), (3, 7), (7, 8), (8, 9)],
    ),
}


@pytest.mark.parametrize("name", LIGANDS)
def test_every_rotatable_torsion_is_a_row(name):
    ligand = LIGANDS[name]
    shape = np.random.default_rng(0).normal(size=(ligand.n_atoms, 3))
    bonds = [bond for bond in find_rotatable_bonds(ligand, shape) if not bond.in_ring]
    # either end of a torsion may be another neighbour than the table would take by itself
    torsions = [bond.atoms for bond in bonds]
    table = molecule_z_matrix(ligand, torsions)
    rows = torsion_rows(table, torsions)
    assert len(set(rows)) == len(bonds) > 0
    for torsion, row in zip(torsions, rows, strict=True):
        placed = (int(table.atoms[row]), *table.references[row].tolist())
        assert placed in (torsion, torsion[::-1])
    assert sorted(table.atoms.tolist()) == list(range(ligand.n_atoms))


def test_the_dipeptide_has_its_named_torsions(molecule, dipeptide):
    torsions = [bond.atoms for bond in find_rotatable_bonds(molecule, dipeptide)]
    rows = torsion_rows(molecule_z_matrix(molecule, torsions), torsions)
    assert len(set(rows)) == 4


def test_a_torsion_that_is_no_row_is_refused():
    with pytest.raises(ValueError, match="not in list"):
        torsion_rows(z_matrix(4, [(0, 1), (1, 2), (2, 3)]), [(0, 2, 1, 3)])
