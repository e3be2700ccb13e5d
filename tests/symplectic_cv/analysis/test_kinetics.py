"""Kinetics on held-out time: chains whose timescales are known, and data without order."""

from dataclasses import replace

import numpy as np
import pytest
from ligands import molecule_of
from torsion_chain import BONDS, chain

from symplectic_cv.analysis.kinetics import (
    compare_kinetics,
    held_out_blocks,
    relaxation_time,
    time_step,
)
from symplectic_cv.analysis.slow_functions import MODES, PCA_SET, TICA_SET, TORSIONS
from symplectic_cv.data.periodic import spanning_links
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import OptionError, TrajectoryError
from symplectic_cv.training.torsion import fit_torsion_modes

STEP = 0.5
"""Picoseconds between frames."""
SLOW, FAST = 0.02, 0.06
"""Probabilities of a flip per frame."""


def flips(n: int, probability: float, rng: np.random.Generator) -> np.ndarray:
    """A two-state chain that flips with a probability per frame: values −1 and 1."""
    return np.where(np.cumsum(rng.random(n) < probability) % 2, 1.0, -1.0)


@pytest.fixture(scope="module")
def data() -> TrajectoryData:
    """The middle torsion flips slowly, the last one faster, the first one only jitters."""
    rng = np.random.default_rng(5)
    n = 24_000
    torsions = np.radians(
        np.stack(
            [
                60.0 + 20.0 * rng.normal(size=n),
                90.0 * flips(n, SLOW, rng) + 15.0 * rng.normal(size=n),
                90.0 * flips(n, FAST, rng) + 15.0 * rng.normal(size=n),
            ],
            axis=1,
        )
    )
    positions = chain(torsions)
    molecule = molecule_of("CCCCCC", BONDS)
    return TrajectoryData(
        positions=positions.astype(np.float32),
        lengths=[n // 2, n // 2],
        names=["one", "two"],
        molecule=molecule,
        links=spanning_links(positions[0], None, molecule.bonds),
        times_ps=np.tile(STEP * np.arange(n // 2), 2),
    )


@pytest.fixture(scope="module")
def model(data):
    return fit_torsion_modes(data, order=1).model


@pytest.mark.statistical
def test_timescales_of_a_known_chain_are_found_on_held_out_time(model, data) -> None:
    found = compare_kinetics(model, data, lag_ps=2.0)
    assert found.names == [MODES, TICA_SET, PCA_SET, TORSIONS]
    assert found.lag_ps == 2.0
    # a chain that flips with p per frame has the eigenvalue (1 − 2p) per frame
    exact = np.array([-STEP / np.log(1 - 2 * p) for p in (SLOW, FAST)])
    for place in (0, 1, 3):
        off = np.abs(found.timescales[place, :2] - exact) / found.timescale_error[place, :2]
        assert (off < 3.5).all(), (found.names[place], found.timescales[place, :2], exact)
    assert (found.vamp2_error > 0.0).all()
    assert found.difference[1] == found.difference_error[1] == 0.0
    assert abs(found.difference[0]) < 0.05
    # the constant, both flips, and their product
    eigenvalues = np.exp(-2.0 / np.array([*exact, 1 / (1 / exact).sum()]))
    assert abs(found.vamp2[0] - 1 - (eigenvalues**2).sum()) < 4 * found.vamp2_error[0]


def test_variables_without_kinetics_score_one(model, data) -> None:
    noise = np.random.default_rng(0).normal(size=(data.n_frames, 2))
    found = compare_kinetics(model, data, noise, lag_ps=2.0)
    assert found.vamp2[0] < 1.02
    assert found.vamp2[1] > 2.0
    assert found.difference[0] == found.vamp2[0] - found.vamp2[1]
    assert found.difference[0] < -10 * found.difference_error[0]


def test_held_out_time_alone_is_scored(model, data) -> None:
    """Noise in the place of the last third leaves nothing to see there."""
    x = data.positions.copy()
    rng = np.random.default_rng(1)
    for start in (0, 12_000):
        rows = np.arange(start + 8000, start + 12_000)
        x[rows] = x[rng.permutation(rows)]
    found = compare_kinetics(model, replace(data, positions=x), lag_ps=2.0)
    assert (found.vamp2 < 1.05).all()


def test_the_default_lag_is_a_fifth_of_the_slowest_relaxation(model, data) -> None:
    found = compare_kinetics(model, data)
    assert 1.5 < found.lag_ps < 4.0  # the slowest timescale is 12.2 ps
    values = np.cos(0.01 * np.arange(1000))
    expected = np.arccos(1 / np.e) / 0.01
    assert relaxation_time(values, [(0, 1000)]) == pytest.approx(expected, rel=0.2)
    with pytest.raises(TrajectoryError, match="does not relax"):
        relaxation_time(np.arange(100.0), [(0, 3)])


def test_frames_without_order_are_refused(model, data) -> None:
    assert time_step(data) == STEP
    for times, reason in (
        (None, "unknown"),
        (np.full(data.n_frames, np.nan), "unknown"),
        (data.times_ps[::-1].copy(), "not ordered"),
        (np.where(np.arange(data.n_frames) == 5, 2.7, data.times_ps), "frames 4 and 5"),
    ):
        with pytest.raises(TrajectoryError, match=reason):
            compare_kinetics(model, replace(data, times_ps=times))


def test_lags_that_make_no_sense_are_refused(model, data) -> None:
    for lag in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(OptionError, match="`lag_ps` must be positive"):
            compare_kinetics(model, data, lag_ps=lag)
    with pytest.raises(OptionError, match=r"less than the 0.5 ps between frames"):
        compare_kinetics(model, data, lag_ps=0.1)
    with pytest.raises(TrajectoryError, match=r"too short for a lag of 1000 ps.*`lag_ps`"):
        compare_kinetics(model, data, lag_ps=1000.0)
    with pytest.raises(OptionError, match="`n_modes` 3"):
        compare_kinetics(model, data, n_modes=4)


def test_blocks_stay_in_their_runs() -> None:
    blocks = held_out_blocks([(10, 110), (200, 300)], 2, 1.0)
    assert sum(b - a for a, b in blocks) == 200
    assert all((a >= 10 and b <= 110) or (a >= 200 and b <= 300) for a, b in blocks)
    assert len(blocks) == 10
