"""Rotatable bonds of molecules made here: which there are, their folds, rings and amides."""

from __future__ import annotations

import mdtraj as md
import numpy as np
import pytest
from ligands import molecule_of

from openmm_plugin.systems import built_in_pdb
from symplectic_cv.charts.rotatable_bonds import (
    beyond_bond,
    equivalent_atoms,
    find_rotatable_bonds,
    heavy_neighbours,
)
from symplectic_cv.errors import OptionError, SelectionError
from symplectic_cv.molecule import Molecule, select_atoms


def scattered(n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 3))


def with_plane(n: int, centre: int, around: list[int]) -> np.ndarray:
    """Random positions, but for one atom whose three neighbours lie in a plane with it."""
    x = scattered(n)
    x[centre] = 0.0
    for place, atom in enumerate(around):
        turn = 2 * np.pi * place / 3
        x[atom] = [np.cos(turn), np.sin(turn), 0.0]
    return x


def with_pyramid(n: int, centre: int, around: list[int]) -> np.ndarray:
    x = with_plane(n, centre, around)
    x[around, 2] = 0.35
    return x


def test_a_chain_has_a_torsion_for_every_inner_bond() -> None:
    butane = molecule_of("CCCCC", [(0, 1), (1, 2), (2, 3), (3, 4)])
    bonds = find_rotatable_bonds(butane, scattered(5))
    assert [bond.atoms for bond in bonds] == [(0, 1, 2, 3), (1, 2, 3, 4)]
    assert all(bond.fold == 1 and not bond.in_ring and not bond.amide for bond in bonds)


def test_a_carboxylate_turns_by_half_circles_and_an_isopropyl_group_does_not() -> None:
    bonds = [(0, 1), (1, 2), (2, 3), (2, 4)]
    acid = molecule_of("CCCOO", bonds)
    (flat,) = find_rotatable_bonds(acid, with_plane(5, 2, [3, 4, 1]))
    assert flat.fold == 2
    alkane = molecule_of("CCCCC", bonds)
    (bent,) = find_rotatable_bonds(alkane, with_pyramid(5, 2, [3, 4, 1]))
    assert bent.fold == 1


def test_an_acid_whose_hydrogen_is_not_modelled_is_no_carboxylate() -> None:
    bonds = [(0, 1), (1, 2), (2, 3), (2, 4)]
    plane = with_plane(5, 2, [3, 4, 1])
    heavy = [0, 1, 2, 3, 4]
    acid = select_atoms(molecule_of("CCCOOH", [*bonds, (4, 5)]).topology, heavy)
    (bond,) = find_rotatable_bonds(acid, plane)
    assert bond.fold == 1
    assert acid.hydrogens.tolist() == [0, 0, 0, 0, 1]
    (read,) = find_rotatable_bonds(Molecule.from_json(acid.to_json()), plane)
    assert read.fold == 1
    # the ion, and a molecule of an earlier version, which knew its own atoms alone
    ion = select_atoms(molecule_of("CCCOOH", [*bonds, (0, 5)]).topology, heavy)
    assert find_rotatable_bonds(ion, plane)[0].fold == 2
    old = acid.to_json()
    for atom in old["atoms"]:
        del atom["hydrogens"]
    assert find_rotatable_bonds(Molecule.from_json(old), plane)[0].fold == 2


def test_three_equivalent_neighbours_turn_by_thirds() -> None:
    alcohol = molecule_of("CCCFFF", [(0, 1), (1, 2), (2, 3), (2, 4), (2, 5)])
    (bond,) = find_rotatable_bonds(alcohol, scattered(6))
    assert bond.fold == 3
    mixed = molecule_of("CCCFFO", [(0, 1), (1, 2), (2, 3), (2, 4), (2, 5)])
    assert find_rotatable_bonds(mixed, scattered(6))[0].fold == 1


def test_a_ring_has_all_its_torsions_along_itself() -> None:
    ring = [(k, (k + 1) % 6) for k in range(6)]
    bonds = find_rotatable_bonds(molecule_of("CCCCCC", ring), scattered(6))
    assert len(bonds) == 6
    assert all(bond.in_ring for bond in bonds)
    for bond in bonds:
        i, j, k, m = bond.atoms
        assert {(i - j) % 6, (j - k) % 6, (k - m) % 6} <= {1, 5}


def test_a_phenyl_ring_turns_by_half_circles_about_the_bond_that_holds_it() -> None:
    ring = [(2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 2)]
    phenyl = molecule_of("CCCCCCCC", [(0, 1), (1, 2), *ring])
    x = with_plane(8, 2, [3, 7, 1])
    found = {bond.atoms[1:3]: bond for bond in find_rotatable_bonds(phenyl, x)}
    assert found[1, 2].fold == 2
    assert not found[1, 2].in_ring
    assert sum(bond.in_ring for bond in found.values()) == 6


def test_amides_are_known_from_the_graph_alone() -> None:
    # CH3-C(=O)-N-CH3: the oxygen ends at the carbon
    amide = molecule_of("CCONC", [(0, 1), (1, 2), (1, 3), (3, 4)])
    (bond,) = find_rotatable_bonds(amide, scattered(5))
    assert bond.amide
    amine = molecule_of("CCCNC", [(0, 1), (1, 2), (1, 3), (3, 4)])
    assert not find_rotatable_bonds(amine, scattered(5))[0].amide


def test_peptide_torsions_keep_their_names() -> None:
    pdb = built_in_pdb("tetra-alanine")
    topology = md.Topology.from_openmm(pdb.topology)
    molecule = select_atoms(topology, None)
    x = np.array(pdb.positions.value_in_unit(pdb.positions.unit))[molecule.indices]
    bonds = find_rotatable_bonds(molecule, x)
    names = [bond.name for bond in bonds]
    assert names[:4] == ["psi_ALA1", "omega_ALA1", "phi_ALA2", "psi_ALA2"]
    assert [bond.name for bond in bonds if bond.amide] == ["omega_ALA1", "omega_ALA2", "omega_ALA3"]
    assert [bond.fold for bond in bonds] == [1] * 9 + [2]  # the last is the carboxylate
    assert len(set(names)) == len(names)


def test_hydrogens_do_not_carry_torsions() -> None:
    ethane = molecule_of("CCHH", [(0, 1), (0, 2), (1, 3)])
    with pytest.raises(SelectionError, match="no rotatable bond"):
        find_rotatable_bonds(ethane, scattered(4))


def test_a_reference_of_other_atoms_is_refused() -> None:
    chain = molecule_of("CCCC", [(0, 1), (1, 2), (2, 3)])
    with pytest.raises(OptionError, match="`reference` has shape"):
        find_rotatable_bonds(chain, scattered(5))


def test_classes_tell_apart_what_the_graph_tells_apart() -> None:
    toluene = molecule_of("CCCCCCC", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)])
    classes = equivalent_atoms(["C"] * 7, heavy_neighbours(toluene))
    assert classes[2] == classes[6]
    assert classes[3] == classes[5]
    assert len(set(classes)) == 5


def test_what_lies_beyond_a_bond() -> None:
    chain = heavy_neighbours(molecule_of("CCCCC", [(0, 1), (1, 2), (2, 3), (2, 4)]))
    assert beyond_bond(chain, 1, 2) == [2, 3, 4]
    assert beyond_bond(chain, 2, 1) == [0, 1]
