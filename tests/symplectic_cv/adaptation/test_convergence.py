"""The change of free energies between rounds of an adaptive loop."""

from __future__ import annotations

import numpy as np
import pytest

from symplectic_cv.adaptation.convergence import LIMIT, profile_change
from symplectic_cv.bias.surfaces import BinnedSurface


def profile(values: list[float]) -> BinnedSurface:
    n = len(values)
    return BinnedSurface(["x"], [np.arange(n)], np.array(values), np.zeros(n), np.ones(n))


def test_a_constant_and_high_bins_do_not_count() -> None:
    before = [profile([0.0, 4.0, 8.0, 50.0]), profile([0.0, 1.0])]
    after = [profile([1.0, 5.0, 9.0, 25.0]), profile([0.0, 1.0])]
    assert profile_change(before, after) == pytest.approx(0.0)


def test_the_largest_change_of_all_profiles_counts() -> None:
    before = [profile([0.0, 4.0, 8.0]), profile([0.0, 1.0])]
    after = [profile([0.0, 4.0, 8.0]), profile([0.0, 7.0])]
    assert profile_change(before, after) == pytest.approx(3.0)


def test_a_bin_that_was_empty_is_a_change() -> None:
    change = profile_change([profile([0.0, np.inf])], [profile([0.0, 10.0])])
    assert change == pytest.approx(LIMIT / np.sqrt(2.0))
