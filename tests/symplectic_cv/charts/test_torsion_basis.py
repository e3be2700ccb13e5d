"""Harmonics of torsions: order, folds and derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from symplectic_cv.charts.torsion_basis import torsion_features
from symplectic_cv.errors import OptionError

STEP = 1e-6


def test_features_stand_bond_after_bond_and_harmonic_after_harmonic() -> None:
    angles = np.array([[0.3, -1.2]])
    features, _ = torsion_features(angles, [1, 2], 2)
    expected = [
        *(f(m * 0.3) for m in (1, 2) for f in (np.cos, np.sin)),
        *(f(m * 2 * -1.2) for m in (1, 2) for f in (np.cos, np.sin)),
    ]
    assert np.abs(features[0] - expected).max() < 1e-14


def test_slopes_are_those_of_finite_differences() -> None:
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (50, 3))
    _, slopes = torsion_features(angles, [1, 2, 3], 3)
    up, down = (torsion_features(angles + h, [1, 2, 3], 3)[0] for h in (STEP, -STEP))
    assert np.abs((up - down) / (2 * STEP) - slopes).max() < 1e-8


@pytest.mark.parametrize("order", [0, 4, 1.5, "2"])
def test_an_order_that_there_is_not(order: object) -> None:
    with pytest.raises(OptionError, match="`order` must be 1, 2 or 3"):
        torsion_features(np.zeros((1, 1)), [1], order)  # type: ignore[arg-type]
