"""Statistics of weighted samples."""

from __future__ import annotations

import numpy as np
import pytest

from symplectic_cv.statistics import (
    effective_share,
    effective_size,
    relative_weights,
    weighted_mean,
)


def test_effective_size_between_one_and_all():
    assert effective_size(np.ones(7)) == pytest.approx(7.0)
    assert effective_size(np.array([0.0, 3.0, 0.0])) == pytest.approx(1.0)
    assert effective_size(np.zeros(3)) == 0.0


def test_share_of_logarithms_agrees_with_the_weights_at_any_scale():
    w = np.random.default_rng(0).uniform(size=50)
    assert effective_share(np.log(w) + 800.0) == pytest.approx(effective_size(w) / 50)
    assert relative_weights(np.log(w) - 800.0) == pytest.approx(w / w.max())


def test_share_is_zero_where_no_weight_is_left():
    assert effective_share(np.full(4, -np.inf)) == 0.0


def test_weighted_mean_repeats_the_plain_one_for_equal_weights():
    values = np.random.default_rng(1).normal(size=400)
    mean, error = weighted_mean(values, np.full(400, 2.5))
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std() / np.sqrt(400))
    assert weighted_mean(values) == pytest.approx((mean, error))
