"""Basins of surfaces whose minima and barriers are known."""

import numpy as np
import pytest

from symplectic_cv.bias.basins import find_basins


def _double_well(points=61):
    """F = 8 (x² − 1)² + x + 4 y²: minima near (∓1, 0), 2 kJ/mol apart, the barrier near 8."""
    axis = np.linspace(-1.6, 1.6, points)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return axis, 8.0 * (x**2 - 1.0) ** 2 + x + 4.0 * y**2


def test_a_double_well_has_two_basins_divided_at_the_barrier():
    axis, surface = _double_well()
    basins = find_basins(surface, 2.0)
    assert set(np.unique(basins)) == {0, 1}
    middle = len(axis) // 2
    assert (basins[axis < -0.1][:, middle] == 0).all()  # the deeper one
    assert (basins[axis > 0.1][:, middle] == 1).all()


def test_a_barrier_that_is_too_low_does_not_count():
    _, surface = _double_well()
    assert find_basins(surface, 8.0).max() == 0
    noisy = surface + 0.3 * np.random.default_rng(0).normal(size=surface.shape)
    assert find_basins(noisy, 3.0).max() == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_basins_in_any_dimension_and_unknown_places(n):
    axis = np.linspace(-2.0, 2.0, 21)
    mesh = np.meshgrid(*[axis] * n, indexing="ij")
    surface = 3.0 * (mesh[-1] ** 2 - 1.0) ** 2 + sum(x**2 for x in mesh[:-1]) + 0.1 * mesh[-1]
    surface[mesh[-1] > 1.75] = np.inf
    basins = find_basins(surface, 1.0)
    assert basins.max() == 1
    np.testing.assert_array_equal(basins == -1, np.isinf(surface))
    centre = (10,) * (n - 1)
    assert basins[(*centre, 5)] == 0
    assert basins[(*centre, 15)] == 1


def test_nothing_known_is_no_basin():
    assert find_basins(np.full((4, 5), np.inf), 1.0).tolist() == [[-1] * 5] * 4


def test_basins_do_not_depend_on_the_direction_of_the_axes():
    rng = np.random.default_rng(8)
    x = np.linspace(-1.0, 1.0, 41)
    surface = (
        4.0 * np.cos(5.0 * x)[:, None] + 3.0 * np.sin(4.0 * x)[None] + 0.1 * rng.random((41, 41))
    )
    found = find_basins(surface, 1.0)
    assert found.max() >= 2
    np.testing.assert_array_equal(find_basins(surface[::-1], 1.0)[::-1], found)
    np.testing.assert_array_equal(find_basins(surface.T, 1.0).T, found)
    np.testing.assert_array_equal(find_basins(surface + 7.0, 1.0), found)
