"""Whole frames of binary files, wherever they are cut."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.frame_counts import count_frames
from symplectic_cv.data.mdshare import heavy_atom_topology

FRAMES = 6


@pytest.fixture(params=[(10, False), (10, True), (4, False)], ids=["vacuum", "box", "few atoms"])
def trajectory(request):
    n_atoms, box = request.param
    x = np.random.default_rng(0).normal(size=(FRAMES, n_atoms, 3)).astype(np.float32)
    found = md.Trajectory(x, heavy_atom_topology().subset(range(n_atoms)))
    if box:
        found.unitcell_vectors = np.broadcast_to(np.eye(3) * 5.0, (FRAMES, 3, 3))
    return found


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd"])
def test_every_cut_leaves_the_frames_before_it(tmp_path, trajectory, suffix):
    path = tmp_path / f"run{suffix}"
    trajectory.save(str(path))
    content = path.read_bytes()
    assert count_frames(path).whole == FRAMES
    assert not count_frames(path).missing
    wholes = []
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        found = count_frames(path)
        wholes.append(found.whole)
        assert (
            found.missing
            or size == 0
            or found.whole * len(content) == FRAMES * size
            or (suffix == ".xtc")
        )
    assert sorted(set(wholes)) == list(range(FRAMES))
    assert wholes == sorted(wholes)
