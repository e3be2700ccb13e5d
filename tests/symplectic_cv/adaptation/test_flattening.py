"""Weights of the frames that a round learns from."""

import numpy as np
import pytest

from symplectic_cv.adaptation.flattening import flattening_weights
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
