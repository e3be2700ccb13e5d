"""Weights of the frames that a round learns from."""

import numpy as np
import pytest

from symplectic_cv.adaptation.flattening import flattening_weights, tempered_weights
from symplectic_cv.errors import OptionError


@pytest.mark.parametrize(("flatten", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_flattening_goes_from_all_frames_alike_to_all_places_alike(flatten, share):
    """Two stretches of equal length, nine frames in the one for each in the other."""
    cloud = np.linspace(-8.0, -1.0, 45_000)[:, None]
    few = np.linspace(1.0, 8.0, 5_000)[:, None]
    weights = flattening_weights(np.concatenate([cloud, few]), flatten)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[len(cloud) :].sum() / weights.sum() == pytest.approx(share, abs=0.015)


def test_no_single_frame_far_outside_rules_the_next_model():
    rng = np.random.default_rng(2)
    slow = np.concatenate([rng.normal(size=(10_000, 2)), [[60.0, -1e4], [7.0, 8.0]]])
    weights = flattening_weights(slow, 1.0)
    assert np.isfinite(weights).all()
    assert weights[-2:].max() <= np.quantile(weights, 0.95) * 1.001
    assert flattening_weights(slow, 0.0).tolist() == [1.0] * len(slow)


def test_a_power_that_does_not_flatten_is_refused():
    with pytest.raises(OptionError, match="`flatten` must be at most 1"):
        flattening_weights(np.zeros((5, 1)), 1.5)


def test_tempered_weights_give_the_power_of_the_unbiased_density_whatever_the_bias() -> None:
    """Frames of p exp(V) in two cells and a barrier, with V of three kinds."""
    rng = np.random.default_rng(0)
    unbiased = np.array([0.7, 0.05, 0.25])
    for bias in ([0.0, 0.0, 0.0], [0.0, 2.5, 1.0], [0.0, 5.0, 3.0]):
        sampled = unbiased * np.exp(bias)
        cell = rng.choice(3, size=30_000, p=sampled / sampled.sum())
        slow = np.stack([2.0 * cell, np.zeros(len(cell))], 1)
        exact = np.exp(-np.array(bias))[cell]
        weights = tempered_weights(slow, exact / exact.sum(), 0.8)
        share = np.bincount(cell, weights=weights) / weights.sum()
        expected = unbiased**0.2 / (unbiased**0.2).sum()
        # the 0.2nd power of shares that are known to about 3 %
        assert np.abs(share / expected - 1.0).max() < 0.03


def test_tempered_weights_leave_frames_without_weight_out() -> None:
    slow = np.zeros((4, 1))
    weights = tempered_weights(slow, np.array([0.0, 0.5, 0.25, 0.25]), 0.8)
    assert weights[0] == 0.0
    assert weights[1] / weights[2] == pytest.approx(2.0)
    plain = tempered_weights(slow, np.array([0.1, 0.4, 0.25, 0.25]), 0.0)
    assert plain == pytest.approx([0.4, 1.6, 1.0, 1.0])
