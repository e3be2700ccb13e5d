"""Rounded coordinates are found in the numbers, whatever file they came through."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.rounding import rounding_of
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.training.fit import fit


@pytest.mark.parametrize("shift", [0.0, 8.0, 60.0])
@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
def test_the_step_is_found_in_single_precision(step, shift):
    x = np.random.default_rng(1).normal(size=(20, 8, 3)) + shift
    rounded = (np.round(x / step) * step).astype(np.float32)
    found = rounding_of(rounded)
    # far from the origin single precision hides a step of 0.0001 nm
    assert found == (step if step > 1e-4 or shift < 10.0 else found)
    assert rounding_of(x.astype(np.float32)) == 0.0


def test_few_numbers_and_zeros_say_nothing():
    assert rounding_of(np.zeros((5, 10, 3))) == 0.0
    assert rounding_of(np.full((1, 3, 3), 0.5)) == 0.0


@pytest.mark.parametrize(
    ("suffix", "step"),
    [(".xtc", 1e-3), (".pdb", 1e-4), (".dcd", 0.0), (".trr", 0.0), (".h5", 0.0), (".nc", 0.0)],
)
def test_files_have_the_step_of_their_format(tmp_path, topology, wobble, suffix, step):
    trajectory = md.Trajectory(wobble(20).astype(np.float32), topology)
    trajectory[0].save(str(tmp_path / "top.pdb"))
    trajectory.save(str(tmp_path / f"run{suffix}"))
    assert read_trajectories(tmp_path / f"run{suffix}", tmp_path / "top.pdb").rounding == step


def test_a_file_converted_from_xtc_stays_rounded(tmp_path, topology, wobble):
    trajectory = md.Trajectory(wobble(20).astype(np.float32), topology)
    trajectory[0].save(str(tmp_path / "top.pdb"))
    trajectory.save(str(tmp_path / "run.xtc"))
    md.load(str(tmp_path / "run.xtc"), top=topology).save(str(tmp_path / "run.dcd"))
    assert read_trajectories(tmp_path / "run.dcd", tmp_path / "top.pdb").rounding == 1e-3


def test_energies_are_not_learned_from_rounded_frames(topology, wobble):
    frames = wobble(60)
    data = TrajectoryData.from_array(frames.round(3), topology, name="run.xtc")
    with pytest.raises(TrajectoryError, match=r"run.xtc: .* rounded to 0.001 nm.*`flexible`"):
        fit(data, chart="internal", energies=np.zeros(60))
