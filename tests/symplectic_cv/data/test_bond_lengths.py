"""Bonds that are none, molecules that part, molecules that are torn: the frames tell them apart."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.bond_lengths import expected_length, molecules_of
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import DataWarning, TrajectoryError


def chain_of(names, elements, residues, bonds, chains=None):
    topology = md.Topology()
    made, last = {}, None
    for place, (name, element, residue) in enumerate(zip(names, elements, residues, strict=True)):
        where = 0 if chains is None else chains[place]
        if where != last:
            chain, last = topology.add_chain(), where
        if (where, residue) not in made:
            made[where, residue] = topology.add_residue(
                residue.split(":")[0], chain, resSeq=len(made) + 1
            )
        topology.add_atom(name, md.element.get_by_symbol(element), made[where, residue])
    for first, second in bonds:
        topology.add_bond(topology.atom(first), topology.atom(second))
    return topology


@pytest.fixture
def two_residues():
    """Two chains of four carbons; MDTraj would join the first residue's end with the second."""
    topology = chain_of(
        [f"C{k}" for k in range(8)],
        "CCCCCCCC",
        ["AAA:1"] * 4 + ["BBB:2"] * 4,
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)],
    )
    x = np.array([[0.15 * k, 0.03 * (k % 2), 0.01 * k] for k in range(4)])
    start = np.concatenate([x, x + np.array([0.0, 0.6, 0.0])])
    frames = start + 0.004 * np.random.default_rng(0).normal(size=(50, 8, 3))
    return topology, frames


def test_a_bond_that_is_long_in_every_frame_is_dropped(two_residues):
    topology, frames = two_residues
    with pytest.warns(DataWarning, match=r"bond between AAA1-C3 .* and BBB2-C4 .* dropped"):
        data = TrajectoryData.from_array(frames, topology, atoms="all")
    np.testing.assert_allclose(data.positions, frames, atol=1e-6)
    assert len(data.molecule.bonds) == 6
    assert (3, 4) not in data.molecule.bonds


@pytest.mark.parametrize("order", range(4))
def test_dropped_bonds_do_not_keep_pieces_from_being_made_whole(two_residues, order):
    topology, frames = two_residues
    box = np.array([2.0, 2.0, 2.0])
    rng = np.random.default_rng(order)
    torn = frames + box * rng.integers(-1, 2, size=(50, 8, 3))
    with pytest.warns(DataWarning, match="dropped"):
        data = TrajectoryData.from_array(torn, topology, atoms="all", box=box)
    shift = data.positions - frames
    np.testing.assert_allclose(shift - shift[:, :1], 0.0, atol=1e-5)


def test_a_bond_that_is_long_in_some_frames_is_torn(two_residues):
    topology, frames = two_residues
    near = frames.copy()
    near[:, 4:] += near[:, [3]] - near[:, [4]] + [0.15, 0.0, 0.0]
    TrajectoryData.from_array(near, topology, atoms="all")
    near[7, 4:] += [0.0, 3.0, 0.0]
    with pytest.raises(TrajectoryError, match=r"frame 7: .* nm apart, and the file holds no box"):
        TrajectoryData.from_array(near, topology, atoms="all")


@pytest.fixture
def complex_of_two():
    """A peptide's Cα atoms and a ligand without bonds."""
    names = ["CA"] * 4 + ["C1", "C2", "N1"]
    topology = chain_of(
        names,
        "CCCCCCN",
        ["ALA:1", "GLY:2", "ALA:3", "GLY:4"] + ["LIG:5"] * 3,
        [],
        [0] * 4 + [1] * 3,
    )
    x = np.array([[0.38 * k, 0.05 * (k % 2), 0.0] for k in range(4)])
    ligand = np.array([[0.5, 0.5, 0.0], [0.64, 0.5, 0.05], [0.75, 0.6, 0.0]])
    rng = np.random.default_rng(1)
    return topology, np.concatenate([x, ligand]) + 0.01 * rng.normal(size=(40, 7, 3))


@pytest.mark.parametrize("box", [None, 20.0])
def test_a_ligand_that_leaves_is_kept_and_told(complex_of_two, box):
    topology, frames = complex_of_two
    frames[20:, 4:] += np.linspace(0.1, 6.0, 20)[:, None, None] * [0.0, 1.0, 0.0]
    edges = None if box is None else np.full(3, box)
    with pytest.warns(DataWarning, match=r"LIG5-.* part, from frame 2\d on .* kept"):
        data = TrajectoryData.from_array(frames, topology, atoms="all", box=edges)
    np.testing.assert_allclose(data.positions, frames, atol=1e-5)


def test_a_ligand_that_is_wrapped_is_made_whole_or_refused(complex_of_two):
    topology, frames = complex_of_two
    wrapped = frames.copy()
    wrapped[10:20, 4:] += [0.0, 5.0, 0.0]
    data = TrajectoryData.from_array(wrapped, topology, atoms="all", box=np.full(3, 5.0))
    np.testing.assert_allclose(data.positions, frames, atol=1e-5)
    with pytest.raises(TrajectoryError, match=r"frame 10: .* of two molecules .* at once"):
        TrajectoryData.from_array(wrapped, topology, atoms="all")


def test_frames_in_another_order_than_their_topology_are_doubted(topology, wobble):
    frames = wobble(20)
    frames[:, [4, 5]] = frames[:, [5, 4]]  # Cα and Cβ
    with pytest.warns(DataWarning, match="nm long in most frames.*in the order of the topology"):
        TrajectoryData.from_array(frames, topology)


def test_molecules_are_told_apart_with_and_without_bonds(complex_of_two, two_residues):
    assert len(set(molecules_of(complex_of_two[0]))) == 2
    assert len(set(molecules_of(two_residues[0]))) == 1


def test_expected_lengths_are_those_of_textbooks(topology):
    found = {
        f"{b.atom1.element.symbol}{b.atom2.element.symbol}": expected_length(b.atom1, b.atom2)
        for b in topology.bonds
    }
    assert found["CC"] == pytest.approx(0.154, abs=0.005)
    assert found["CN"] == pytest.approx(0.147, abs=0.005)
