"""Atoms of a file in any order and under any names: found, or refused with the first mismatch."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.identity import match_atoms, place_atoms
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import DataWarning, SelectionError
from symplectic_cv.molecule import Molecule, select_atoms


def build(atoms, bonds=(), residues=None):
    """A topology of atoms (name, element), in residues (name, number) of one chain."""
    topology = md.Topology()
    chain = topology.add_chain()
    made = {}
    for place, (name, element) in enumerate(atoms):
        label = ("UNK", 1) if residues is None else residues[place]
        if label not in made:
            made[label] = topology.add_residue(label[0], chain, resSeq=label[1])
        topology.add_atom(name, md.element.get_by_symbol(element), made[label])
    for first, second in bonds:
        topology.add_bond(topology.atom(first), topology.atom(second))
    return topology


def reordered(topology, order, names=None, numbers=None):
    """The same molecule with its atom `order[k]` in place k; bonds go with the atoms."""
    atoms = [topology.atom(int(k)) for k in order]
    place = {int(atom): k for k, atom in enumerate(order)}
    return build(
        [
            (atom.name if names is None else names[atom.index], atom.element.symbol)
            for atom in atoms
        ],
        [(place[b.atom1.index], place[b.atom2.index]) for b in topology.bonds],
        [
            (atom.residue.name, atom.residue.resSeq if numbers is None else numbers)
            for atom in atoms
        ],
    )


@pytest.fixture
def chain():
    """Methyl formate beside an amine: no two atoms of its bond graph are alike."""
    atoms = [("C1", "C"), ("C2", "C"), ("C3", "C"), ("O1", "O"), ("N1", "N"), ("C4", "C")]
    return build(atoms, [(0, 1), (1, 2), (2, 3), (2, 4), (4, 5), (1, 5)])


@pytest.mark.parametrize("seed", range(8))
def test_atoms_in_any_order_are_found_by_name_and_residue(topology, molecule, seed):
    order = np.random.default_rng(seed).permutation(10)
    match = match_atoms(molecule, reordered(topology, order), "file")
    np.testing.assert_array_equal(order[match.places], np.arange(10))
    assert "another order" in match.note
    assert "by name and residue" in match.note


@pytest.mark.parametrize("seed", range(4))
def test_atoms_with_other_names_are_found_by_their_bonds(chain, seed):
    known = select_atoms(chain, "all")
    order = np.random.default_rng(seed).permutation(6)
    names = [f"X{k}" for k in range(6)]
    match = match_atoms(known, reordered(chain, order, names), "file")
    np.testing.assert_array_equal(order[match.places], np.arange(6))
    assert match.note


def test_other_names_in_the_same_order_are_taken_when_the_bonds_agree(topology, molecule):
    names = [f"X{k}" for k in range(10)]
    match = match_atoms(molecule, reordered(topology, range(10), names), "file")
    np.testing.assert_array_equal(match.places, np.arange(10))
    assert match.note.startswith("file: atom 1 is ACE1-X0 where the model has ACE1-CH3")


def test_a_graph_that_fits_in_two_ways_is_refused():
    # propane's ends are alike: without names nobody knows which is which
    atoms = [("C1", "C"), ("C2", "C"), ("C3", "C")]
    known = select_atoms(build(atoms, [(0, 1), (1, 2)]), "all")
    other = build([("A", "C"), ("B", "C"), ("C", "C")], [(1, 0), (0, 2)])
    with pytest.raises(SelectionError, match="atom 1 is UNK1-A where the model has UNK1-C1"):
        match_atoms(known, other, "file")


def test_without_names_and_bonds_atoms_are_refused(topology, molecule):
    nameless = build([("X", atom.element.symbol) for atom in topology.atoms])
    with pytest.raises(SelectionError, match="neither names nor bonds show which atom is which"):
        match_atoms(molecule, nameless, "file")


def test_the_same_names_with_other_bonds_are_another_molecule():
    atoms = [("C1", "C"), ("C2", "C"), ("C3", "C"), ("C4", "C")]
    known = select_atoms(build(atoms, [(0, 1), (1, 2), (2, 3)]), "all")
    branched = build(atoms, [(0, 1), (1, 2), (1, 3)])
    with pytest.raises(SelectionError, match=r"UNK1-C4 .* is bonded to UNK1-C2.*to UNK1-C3"):
        match_atoms(known, branched, "file")


def test_bonds_that_a_file_does_not_list_are_no_mismatch(topology, molecule):
    bare = build(
        [(atom.name, atom.element.symbol) for atom in topology.atoms],
        residues=[(atom.residue.name, atom.residue.resSeq) for atom in topology.atoms],
    )
    assert match_atoms(molecule, bare, "file").note == ""


def test_residues_that_are_numbered_otherwise_are_the_same(topology, molecule):
    renumbered = md.Topology()
    chain = renumbered.add_chain()
    for residue in topology.residues:
        new = renumbered.add_residue(residue.name, chain, resSeq=residue.resSeq + 40)
        for atom in residue.atoms:
            renumbered.add_atom(atom.name, atom.element, new)
    renumbered.create_standard_bonds()
    match = match_atoms(molecule, renumbered, "file")
    assert match.note == ""
    np.testing.assert_array_equal(match.places, np.arange(10))


def test_equal_residues_in_another_order_are_told_apart_by_their_numbers():
    atoms = [("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O")] * 2
    residues = [("GLY", 1)] * 4 + [("GLY", 2)] * 4
    known = select_atoms(build(atoms, residues=residues), "all")
    swapped = build(atoms, residues=residues[4:] + residues[:4])
    match = match_atoms(known, swapped, "file")
    np.testing.assert_array_equal(match.places, [4, 5, 6, 7, 0, 1, 2, 3])


def test_atoms_are_found_among_others_that_the_model_did_not_know(topology, molecule):
    water = md.Topology()
    residue = water.add_residue("HOH", water.add_chain())
    for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
        water.add_atom(name, md.element.get_by_symbol(element), residue)
    placed = Molecule(molecule.topology, molecule.masses, np.arange(20, 30), 40)
    match = match_atoms(placed, water.join(topology), "file")
    np.testing.assert_array_equal(match.places, np.arange(3, 13))


def test_a_swap_is_read_as_the_same_frames_and_told(tmp_path, topology, molecule, wobble):
    frames = wobble(5).astype(np.float32)
    order = np.array([0, 2, 1, 3, 5, 4, 6, 7, 8, 9])  # O before C of ACE, CB before CA
    swapped = reordered(topology, order)
    trajectory = md.Trajectory(frames[:, order], swapped)
    trajectory.save(str(tmp_path / "swapped.dcd"))
    trajectory[0].save(str(tmp_path / "swapped.pdb"))
    with pytest.warns(DataWarning, match=r"swapped.dcd: the atoms are in another order"):
        data = read_trajectories([tmp_path / "swapped.dcd"], molecule=molecule)
    np.testing.assert_allclose(data.positions, frames, atol=1e-6)


def test_a_model_gives_the_same_modes_whatever_the_order(make_model, topology, wobble):
    model = make_model()
    frames = wobble(5).astype(np.float32)
    order = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    swapped = reordered(topology, order)
    expected = model.modes(frames)
    with pytest.warns(DataWarning, match="another order"):
        found = model.modes(md.Trajectory(frames[:, order], swapped))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.warns(DataWarning, match="another order"):
        found = model.modes(TrajectoryData.from_array(frames[:, order], swapped))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_places_are_given_with_a_warning_only_where_something_was_done(topology, molecule, recwarn):
    np.testing.assert_array_equal(place_atoms(molecule, topology, "file"), np.arange(10))
    assert not recwarn.list
