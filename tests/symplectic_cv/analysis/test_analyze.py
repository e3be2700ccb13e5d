"""Analyses of modes of torsions: their tables, and the kinetics beside them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ligands import molecule_of
from torsion_chain import BONDS, chain

import symplectic_cv as sc
from symplectic_cv.analysis.latent import TorsionAnalysis
from symplectic_cv.data.periodic import spanning_links
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.reports.analysis_report import write_analysis_report

N_FRAMES = 3000


@pytest.fixture(scope="module")
def data() -> TrajectoryData:
    rng = np.random.default_rng(3)
    side = np.where(np.cumsum(rng.random(N_FRAMES) < 0.03) % 2, 90.0, -90.0)
    torsions = np.radians(15.0 * rng.normal(size=(N_FRAMES, 3)) + np.outer(side, [0.0, 1.0, 0.0]))
    positions = chain(torsions)
    molecule = molecule_of("CCCCCC", BONDS)
    return TrajectoryData(
        positions=positions.astype(np.float32),
        lengths=[N_FRAMES],
        names=["run.xtc"],
        molecule=molecule,
        links=spanning_links(positions[0], None, molecule.bonds),
        times_ps=np.arange(float(N_FRAMES)),
    )


@pytest.fixture(scope="module")
def model(data):
    return sc.fit_torsion_modes(data, order=2).model


@pytest.fixture(scope="module")
def analysis(model, data):
    return sc.analyze(model, data, lag_ps=5.0)


def test_tables_hold_what_the_model_and_the_frames_are(analysis, model, data, tmp_path) -> None:
    assert isinstance(analysis, TorsionAnalysis)
    analysis.save(tmp_path)
    modes = pd.read_csv(tmp_path / "modes.csv")
    np.testing.assert_allclose(modes["omega_rad_per_ps"], model.omega, rtol=1e-6)
    np.testing.assert_allclose(modes["omega_error_rad_per_ps"], model.omega_error, rtol=1e-6)
    np.testing.assert_allclose(modes["omega_held_out_rad_per_ps"], model.omega_held_out, rtol=1e-6)
    np.testing.assert_allclose(modes["steepness"], model.steepness, rtol=1e-6)
    shares = modes[[f"share_{bond.name}" for bond in model.bonds]].to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(shares, model.shares(), rtol=1e-6)
    frames = pd.read_csv(tmp_path / "modes_per_frame.csv")
    np.testing.assert_allclose(frames["mode_0"], model.modes(data, 0)[:, 0], atol=1e-5)
    for bond, angle in zip(model.bonds, model.torsions(data).T, strict=True):
        np.testing.assert_allclose(frames[f"{bond.name}_deg"], np.degrees(angle), atol=1e-3)
    assert frames["time_ps"].tolist() == data.times_ps.tolist()
    kinetics = pd.read_csv(tmp_path / "kinetics.csv").set_index("variables")
    assert kinetics.index.tolist() == ["modes", "TICA", "PCA", "all torsions"]
    np.testing.assert_allclose(kinetics["vamp2"], analysis.kinetics.vamp2, rtol=1e-4)


def test_own_torsions_are_compared_where_there_is_no_backbone(analysis, model) -> None:
    assert [torsion.name for torsion in analysis.torsions] == [bond.name for bond in model.bonds]
    # the torsion that flips is the one that mode 0 knows
    assert analysis.mutual_information[0].argmax() == 1
    assert model.carried(0)[0][0] == model.bonds[1].name


def test_shuffled_frames_have_no_kinetics_and_say_so(model, data) -> None:
    order = np.random.default_rng(0).permutation(N_FRAMES)
    shuffled = replace(data, positions=data.positions[order], times_ps=data.times_ps[order])
    found = sc.analyze(model, shuffled, torsions=[])
    assert found.kinetics is None
    assert "not ordered in time" in found.no_kinetics
    with pytest.raises(TrajectoryError, match="not ordered in time"):
        sc.analyze(model, shuffled, torsions=[], lag_ps=5.0)


def test_the_page_shows_torsions_and_kinetics(analysis, model, data, tmp_path) -> None:
    page = write_analysis_report(tmp_path, analysis, model).read_text()
    assert "of least frequency in torsions" in page
    assert "det A" not in page
    assert "VAMP-2" in page
    for name in ("shares", "circles", "kinetics", "free_energy"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    plain = sc.analyze(model, replace(data, times_ps=None), torsions=[])
    page = write_analysis_report(tmp_path / "plain", plain, model).read_text()
    assert "Left out: the times of the frames are unknown" in page
    assert not (tmp_path / "plain" / "kinetics.png").exists()
