"""A trajectory in the latent space: from Python, in batches, saved."""

import mdtraj as md
import numpy as np
import pandas as pd
import pytest

import symplectic_cv as sc
from symplectic_cv.analysis.latent import latent_frames, slow_modes
from symplectic_cv.data.torsions import compute_torsions, find_torsions
from symplectic_cv.errors import OptionError, TrajectoryError

N_FRAMES = 40


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def data(tmp_path_factory, topology, wobble, model):
    folder = tmp_path_factory.mktemp("latent")
    every = md.Trajectory(wobble(N_FRAMES, seed=3).astype(np.float32), topology)
    every[:30].save_xtc(str(folder / "a.xtc"))
    every[30:].save_xtc(str(folder / "b.xtc"))
    every[0].save_pdb(str(folder / "topology.pdb"))
    files = [folder / "a.xtc", folder / "b.xtc"]
    return sc.read_trajectories(files, folder / "topology.pdb", molecule=model.molecule)


def test_an_analysis_compares_every_mode_with_every_torsion(model, data, tmp_path):
    parts = []
    analysis = sc.analyze(model, data, seed=1, progress=parts.append)
    assert [torsion.name for torsion in analysis.torsions] == ["phi", "psi"]
    assert analysis.mutual_information.shape == (model.dimension, 2)
    expected = compute_torsions(data.positions, find_torsions(model.molecule), data.molecule)
    np.testing.assert_array_equal(analysis.angles, expected)
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1.0)
    analysis.save(tmp_path / "analysis")
    table = pd.read_csv(tmp_path / "analysis" / "mutual_information.csv", index_col="mode")
    np.testing.assert_allclose(table, analysis.mutual_information, rtol=1e-5)
    modes = pd.read_csv(tmp_path / "analysis" / "modes.csv")
    np.testing.assert_allclose(modes["omega_rad_per_ps"], analysis.omega, rtol=1e-7)
    with np.load(tmp_path / "analysis" / "latent.npz") as archive:
        assert archive["run"].tolist() == [0] * 30 + [1] * 10


def test_the_comparison_can_be_left_out(model, data, tmp_path):
    analysis = sc.analyze(model, data, torsions=[])
    assert analysis.mutual_information.shape == (model.dimension, 0)
    analysis.save(tmp_path)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["latent.npz", "modes.csv", "modes_per_frame.csv"]
    assert analysis.kinetics is None
    assert analysis.no_kinetics


def test_a_torsion_that_does_not_exist_is_refused(model, data):
    with pytest.raises(OptionError, match="chi1"):
        sc.analyze(model, data, torsions=["chi1"])


def test_too_few_frames_are_refused(model, topology, wobble, tmp_path):
    few = md.Trajectory(wobble(5).astype(np.float32), topology)
    few.save_xtc(str(tmp_path / "few.xtc"))
    few[0].save_pdb(str(tmp_path / "topology.pdb"))
    data = sc.read_trajectories([tmp_path / "few.xtc"], molecule=model.molecule)
    with pytest.raises(TrajectoryError, match=r"few.xtc: 5 frames are too few.*at least 10"):
        sc.analyze(model, data)


def test_batches_do_not_change_the_result(model, data, monkeypatch):
    whole = latent_frames(model, data)
    monkeypatch.setattr("symplectic_cv.analysis.latent.BATCH", 7)
    parts = latent_frames(model, data)
    np.testing.assert_allclose(parts.modes, whole.modes, atol=1e-5)
    assert parts.health.frame == whole.health.frame


def test_slow_modes_lie_below_the_widest_gap():
    assert slow_modes(np.array([1.0, 1.2, 1.5, 9.0, 10.0])) == 3
    assert slow_modes(np.array([1.0, 9.0, 9.5, 15.0])) == 3
    assert slow_modes(np.array([2.0, 3.0])) == 2
    # a gap above the slowest ten does not count
    assert slow_modes(np.array([1.0, 3.0, *np.linspace(3.2, 4.0, 10), 100.0])) == 2
