"""DCD files that grow, are cut at a checkpoint and go on."""

import os

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import app, unit

from symplectic_cv.files.trajectories import recount_dcd, trajectory_in, without_counts

FRAME = {True: 56, False: 0}


@pytest.fixture(params=[False, True], ids=["vacuum", "box"])
def written(request, tmp_path):
    """A DCD file of OpenMM of 7 frames of 4 atoms, and the size of a frame."""
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for _ in range(4):
        topology.addAtom("A", app.element.carbon, residue)
    if request.param:
        topology.setPeriodicBoxVectors(np.eye(3) * 3.0 * unit.nanometer)
    path = tmp_path / "trajectory.dcd"
    x = np.random.default_rng(0).normal(size=(7, 4, 3))
    with open(path, "w+b") as file:
        dcd = app.DCDFile(file, topology, 0.001, 10, 10)
        for frame in x:
            dcd.writeModel([openmm.Vec3(*row) for row in frame] * unit.nanometer)
    return path, topology, x, FRAME[request.param] + 3 * (8 + 16)


def test_a_cut_file_says_how_many_frames_it_has_and_goes_on(written):
    path, topology, x, size = written
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 3 * size)
    assert recount_dcd(path) == 4
    with open(path, "r+b") as file:
        dcd = app.DCDFile(file, topology, 0.001, 10, 10, append=True)
        for frame in x[4:]:
            dcd.writeModel([openmm.Vec3(*row) for row in frame] * unit.nanometer)
    assert path.read_bytes() == whole
    np.testing.assert_allclose(md.load(str(path), top=_top()).xyz, x, atol=1e-6)


def _top():
    topology = md.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(4):
        topology.add_atom("A", md.element.carbon, residue)
    return topology


def test_what_changes_in_a_header_is_left_out_wherever_a_block_begins(written):
    path, _, _, size = written
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 3 * size)
    recount_dcd(path)
    part = path.read_bytes()
    assert part != whole[: len(part)]
    assert without_counts(part, 0) == without_counts(whole[: len(part)], 0)
    for cut in (5, 9, 21, 40):
        pieces = without_counts(part[:cut], 0) + without_counts(part[cut:], cut)
        assert pieces == without_counts(part, 0)


def test_the_lossless_trajectory_comes_first(tmp_path):
    assert trajectory_in(tmp_path).name == "trajectory.xtc"
    (tmp_path / "trajectory.dcd").write_bytes(b"")
    assert trajectory_in(tmp_path).name == "trajectory.dcd"
