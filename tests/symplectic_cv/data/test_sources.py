"""Frames from MDTraj, MDAnalysis and arrays go through the checks of files."""

from __future__ import annotations

from pathlib import Path

import MDAnalysis
import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.mdshare import heavy_atom_topology
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import OptionError, SelectionError, TrajectoryError

HEAVY = [1, 4, 5, 6, 8, 10, 14, 15, 16, 18]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vacuum, relaxed) -> Path:
    """A PDB and an XTC of 6 frames of all atoms, every second one torn apart by its box."""
    folder = tmp_path_factory.mktemp("sources")
    topology = md.Topology.from_openmm(vacuum.topology)
    x = relaxed + 0.002 * np.random.default_rng(0).normal(size=(6, 22, 3)) - relaxed.mean(0)
    x[1::2] %= 3.0
    trajectory = md.Trajectory(x, topology, time=4.0 * np.arange(6) + 2.0)
    trajectory.unitcell_vectors = np.broadcast_to(3.0 * np.eye(3), (6, 3, 3))
    trajectory.save(str(folder / "run.xtc"))
    trajectory[0].save(str(folder / "run.pdb"))
    return folder


@pytest.fixture(scope="module")
def from_files(folder) -> TrajectoryData:
    return read_trajectories(folder / "run.xtc")


def test_one_path_is_enough_and_times_are_those_of_the_file(from_files, folder):
    assert from_files.names == [str(folder / "run.xtc")]
    assert from_files.molecule.indices.tolist() == HEAVY
    np.testing.assert_allclose(from_files.times_ps, 4.0 * np.arange(6) + 2.0)


def test_mdtraj_gives_the_same_frames(from_files, folder):
    loaded = md.load(str(folder / "run.xtc"), top=str(folder / "run.pdb"))
    data = TrajectoryData.from_mdtraj(loaded)
    np.testing.assert_array_equal(data.positions, from_files.positions)
    np.testing.assert_array_equal(data.times_ps, from_files.times_ps)
    assert (data.lengths, data.names) == ([6], ["trajectory"])


@pytest.mark.parametrize("shape", ["edges", "vectors", "per frame"])
def test_an_array_with_its_box_gives_the_same_frames(from_files, folder, shape):
    loaded = md.load(str(folder / "run.xtc"), top=str(folder / "run.pdb"))
    box = {"edges": np.full(3, 3.0), "vectors": 3.0 * np.eye(3)}.get(
        shape, np.tile(3.0 * np.eye(3), (6, 1, 1))
    )
    data = TrajectoryData.from_array(loaded.xyz, folder / "run.pdb", box=box)
    np.testing.assert_allclose(data.positions, from_files.positions, atol=1e-6)
    assert np.isnan(data.times_ps).all()


def test_topologies_of_mdtraj_and_openmm_and_files_are_the_same(vacuum, relaxed, folder):
    x = relaxed[None]
    openmm = TrajectoryData.from_array(x, vacuum.topology)
    for topology in (md.Topology.from_openmm(vacuum.topology), folder / "run.pdb"):
        other = TrajectoryData.from_array(x, topology)
        np.testing.assert_array_equal(openmm.positions, other.positions)
        np.testing.assert_array_equal(openmm.molecule.masses, other.molecule.masses)
        assert openmm.molecule.bonds == other.molecule.bonds
    read = read_trajectories(folder / "run.xtc", top=vacuum.topology)
    assert read.molecule.indices.tolist() == HEAVY
    with pytest.raises(OptionError, match=r"`topology` must be a topology .* got int"):
        TrajectoryData.from_array(x, 22)
    with pytest.raises(OptionError, match=r"`top` must be a topology .* got Trajectory"):
        read_trajectories(folder / "run.xtc", top=md.load(str(folder / "run.pdb")))


def test_mdanalysis_gives_the_same_frames_in_nm(from_files, folder):
    universe = MDAnalysis.Universe(str(folder / "run.pdb"), str(folder / "run.xtc"))
    universe.trajectory[2]
    data = TrajectoryData.from_mdanalysis(universe)
    np.testing.assert_allclose(data.positions, from_files.positions, atol=2e-6)
    np.testing.assert_allclose(data.times_ps, from_files.times_ps, atol=1e-4)
    assert set(data.molecule.bonds) == set(from_files.molecule.bonds)
    assert [str(a) for a in data.molecule.topology.atoms] == [
        str(a) for a in from_files.molecule.topology.atoms
    ]
    np.testing.assert_array_equal(data.molecule.masses, from_files.molecule.masses)
    assert data.names == [str(folder / "run.xtc")]
    assert universe.trajectory.frame == 2


def test_an_atom_group_is_its_own_selection_unless_atoms_are_named(folder):
    universe = MDAnalysis.Universe(str(folder / "run.pdb"), str(folder / "run.xtc"))
    group = universe.select_atoms("resname ALA and name N CA CB C")
    assert TrajectoryData.from_mdanalysis(group).molecule.indices.tolist() == [6, 8, 10, 14]
    named = TrajectoryData.from_mdanalysis(group, atoms="resname ACE and not element H")
    assert named.molecule.indices.tolist() == [1, 4, 5]


def test_bonds_of_the_universe_join_the_standard_ones(folder):
    universe = MDAnalysis.Universe(str(folder / "run.pdb"), str(folder / "run.xtc"))
    universe.add_TopologyAttr("bonds", [(8, 6), (6, 10)])
    data = TrajectoryData.from_mdanalysis(universe, atoms=[6, 8, 10, 14])
    assert sorted(data.molecule.bonds) == [(0, 1), (0, 2), (1, 2), (1, 3)]


@pytest.mark.parametrize("way", ["mdtraj", "mdanalysis", "array"])
def test_broken_frames_are_refused_wherever_they_come_from(folder, way):
    loaded = md.load(str(folder / "run.xtc"), top=str(folder / "run.pdb"))
    x = loaded.xyz.copy()
    x[3, 8, 1] = np.nan

    def read(positions):
        if way == "array":
            return TrajectoryData.from_array(positions, loaded.topology)
        if way == "mdtraj":
            return TrajectoryData.from_mdtraj(md.Trajectory(positions, loaded.topology))
        universe = MDAnalysis.Universe(str(folder / "run.pdb"), 10.0 * positions)
        return TrajectoryData.from_mdanalysis(universe)

    with pytest.raises(TrajectoryError, match=r"frame 3 has NaN or infinite .* \(atom 9\)"):
        read(x)
    with pytest.raises(TrajectoryError, match="nm apart, and the file holds no box"):
        read(loaded.xyz)


def test_arrays_that_do_not_fit_are_refused():
    x = np.zeros((4, 10, 3))
    topology = heavy_atom_topology()
    with pytest.raises(TrajectoryError, match=r"`positions` has shape \(10, 3\)"):
        TrajectoryData.from_array(x[0], topology)
    with pytest.raises(TrajectoryError, match="has 9 atoms, its topology has 10"):
        TrajectoryData.from_array(x[:, :9], topology)
    with pytest.raises(TrajectoryError, match=r"`box` has shape \(2,\)"):
        TrajectoryData.from_array(x, topology, box=np.ones(2))
    with pytest.raises(TrajectoryError, match="`box` must have its first vector along x"):
        TrajectoryData.from_array(x, topology, box=np.ones((3, 3)))
    with pytest.raises(TrajectoryError, match="holds no frame"):
        TrajectoryData.from_array(x[:0], topology)


@pytest.mark.parametrize(
    ("atoms", "words"),
    [([0, 1, 1], "twice"), ([0, 1, 10], "0 to 9"), ([0.5, 1, 2], "indices"), ([0, 1], "2 atoms")],
)
def test_listed_atoms_that_are_none_are_refused(atoms, words):
    with pytest.raises(SelectionError, match=words):
        TrajectoryData.from_array(np.zeros((4, 10, 3)), heavy_atom_topology(), atoms)
