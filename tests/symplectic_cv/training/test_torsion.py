"""Torsion modes of trajectories made here: what they find, and what they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ligands import molecule_of
from torsion_chain import BONDS, chain

import symplectic_cv as sc
from symplectic_cv.data.periodic import spanning_links
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import (
    FrameError,
    OptionError,
    OutputError,
    SelectionError,
    TrajectoryError,
)
from symplectic_cv.training.torsion import blocks_of_runs, fit_torsion_modes


def data_of(positions: np.ndarray, lengths: list[int] | None = None) -> TrajectoryData:
    molecule = molecule_of("CCCCCC", BONDS)
    links = spanning_links(positions[0], None, molecule.bonds)
    return TrajectoryData(
        positions=positions.astype(np.float32),
        lengths=lengths or [len(positions)],
        names=["run"] * len(lengths or [0]),
        molecule=molecule,
        links=links,
    )


def two_state(n_frames: int, seed: int = 0) -> np.ndarray:
    """The middle torsion flips between two wells, the outer ones jitter: (F, 3) in rad."""
    rng = np.random.default_rng(seed)
    middle = np.where(rng.random(n_frames) < 0.4, 1.0, -2.0) + rng.normal(0.0, 0.25, n_frames)
    outer = rng.normal(0.0, 0.3, (n_frames, 2)) + np.array([3.0, -1.0])
    return np.stack([outer[:, 0], middle, outer[:, 1]], 1)


def test_the_slowest_mode_is_the_flip() -> None:
    torsions = two_state(3000)
    result = fit_torsion_modes(data_of(chain(torsions)), order=1)
    model = result.model
    assert model.shares()[0].argmax() == 1
    assert model.shares()[0, 1] > 0.9
    mode = model.modes(chain(torsions).astype(np.float32))[:, 0]
    state = torsions[:, 1] > -0.5
    assert abs(np.corrcoef(mode, state)[0, 1]) > 0.95
    assert model.omega[1] > 1.5 * model.omega[0]
    assert (model.omega_error[:2] < 0.1 * model.omega[:2]).all()


def test_training_frames_have_unit_variance_and_zero_mean() -> None:
    x = chain(two_state(2000))
    weights = np.random.default_rng(5).uniform(0.5, 1.5, 2000)
    model = fit_torsion_modes(data_of(x), weights=weights).model
    values = model.modes(data_of(x).positions)
    mean = np.average(values, axis=0, weights=weights)
    assert np.abs(mean).max() < 1e-9
    assert np.abs(np.average(values**2, axis=0, weights=weights) - 1.0).max() < 1e-9


def test_250_shuffled_frames_span_the_same_slow_space() -> None:
    x = chain(two_state(20_000))
    full = fit_torsion_modes(data_of(x), order=1).model
    chosen = np.random.default_rng(8).choice(20_000, 250, replace=False)
    few = fit_torsion_modes(data_of(x[chosen]), order=1).model
    bases = [np.linalg.qr(m.modes(x, [0, 1]) - m.modes(x, [0, 1]).mean(0))[0] for m in (full, few)]
    overlap = (np.linalg.svd(bases[0].T @ bases[1])[1] ** 2).sum()
    assert overlap > 1.95


def test_both_metrics_find_the_flip_and_the_inverse_of_m_is_the_smaller() -> None:
    x = chain(two_state(2000))
    loose = fit_torsion_modes(data_of(x), order=1).model
    tight = fit_torsion_modes(data_of(x), order=1, metric="momentum").model
    assert tight.shares()[0].argmax() == loose.shares()[0].argmax() == 1
    assert tight.omega[0] < loose.omega[0]


def test_blocks_do_not_span_runs() -> None:
    blocks = blocks_of_runs([50, 950])
    assert np.concatenate(blocks).tolist() == list(range(1000))
    assert all(block.max() < 50 or block.min() >= 50 for block in blocks)


def test_too_few_frames_for_the_functions() -> None:
    with pytest.raises(TrajectoryError, match=r"12 frames cannot determine 12 functions.*`order`"):
        fit_torsion_modes(data_of(chain(two_state(12))))


def test_one_effective_frame_is_too_few() -> None:
    weights = np.zeros(500)
    weights[3] = 1.0
    with pytest.raises(TrajectoryError, match="1 frames cannot determine"):
        fit_torsion_modes(data_of(chain(two_state(500))), weights=weights)


def test_a_torsion_that_never_moves_is_named() -> None:
    torsions = two_state(500)
    torsions[:, 0] = 2.0
    result = fit_torsion_modes(data_of(chain(torsions)))
    assert any("LIG0-C1-C2 never moves" in line for line in result.warnings)


def test_no_torsion_moves() -> None:
    torsions = np.tile([[2.0, 1.0, -1.0]], (500, 1))
    with pytest.raises(FrameError, match="no torsion moves"):
        fit_torsion_modes(data_of(chain(torsions)))


def test_a_frame_on_a_line_is_named() -> None:
    x = chain(two_state(100))
    x[41, 1] = 0.5 * (x[41, 0] + x[41, 2])
    with pytest.raises(FrameError, match="frame 41: "):
        fit_torsion_modes(data_of(x))


def test_a_molecule_without_rotatable_bonds() -> None:
    molecule = molecule_of("CCC", [(0, 1), (1, 2)])
    x = np.random.default_rng(0).normal(size=(100, 3, 3)).astype(np.float32)
    links = spanning_links(x[0], None, molecule.bonds)
    data = TrajectoryData(x, [100], ["run"], molecule, links)
    with pytest.raises(SelectionError, match="no rotatable bond"):
        fit_torsion_modes(data)


def test_an_unknown_metric() -> None:
    with pytest.raises(OptionError, match="`metric` must be velocity or momentum"):
        fit_torsion_modes(data_of(chain(two_state(100))), metric="mass")


def test_resuming_never_replaces_another_model(tmp_path: Path) -> None:
    data = data_of(chain(two_state(200)))
    folder = tmp_path / "modes"
    sc.fit(data, chart="torsion", folder=folder)
    with pytest.raises(OutputError, match="already holds another run"):
        sc.fit(data, chart="torsion", folder=folder)
    again = sc.fit(data, chart="torsion", order=1, folder=folder, resume=True)
    assert sc.load_torsion_model(folder).order == again.model.order == 1
    cartesian = next((Path(__file__).parents[1] / "models/version_0_1").rglob("config.json")).parent
    other = Path(shutil.copytree(cartesian, tmp_path / "other"))
    before = (other / "config.json").read_bytes()
    with pytest.raises(OutputError, match="already holds another run"):
        sc.fit(data, chart="torsion", folder=other, resume=True)
    assert (other / "config.json").read_bytes() == before
