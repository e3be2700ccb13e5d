"""Roots of trigonometric sums: all of them, none twice, against a fine scan."""

import numpy as np
import pytest

from symplectic_cv.sampling.trigonometric import trigonometric_roots


def value(coefficients, t):
    turns = np.arange(1, len(coefficients) + 1) * np.asarray(t)[..., None]
    return np.cos(turns) @ coefficients[:, 0] + np.sin(turns) @ coefficients[:, 1]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_all_roots_are_found(order):
    rng = np.random.default_rng(order)
    grid = np.linspace(0.0, 2.0 * np.pi, 20_001)
    for _ in range(20):
        coefficients = rng.normal(size=(order, 2))
        levels = rng.normal(size=30)
        roots, real = trigonometric_roots(coefficients, levels)
        curve = value(coefficients, grid)
        for level, angles, there in zip(levels, roots, real, strict=True):
            assert (np.abs(value(coefficients, angles[there]) - level) < 1e-9).all()
            expected = grid[:-1][np.diff(np.sign(curve - level)) != 0]
            assert there.sum() == len(expected)
            np.testing.assert_allclose(np.sort(angles[there]), expected, atol=4e-4)


def test_higher_harmonics_may_be_missing():
    roots, real = trigonometric_roots(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([1.0, 2.5]))
    assert real.sum(1).tolist() == [2, 0]
    np.testing.assert_allclose(np.sort(np.degrees(roots[0, real[0]])), [30.0, 150.0])


def test_levels_that_are_no_numbers_have_no_roots():
    _, real = trigonometric_roots(np.array([[1.0, 0.5]]), np.array([np.nan, np.inf, 0.0]))
    assert real.sum(1).tolist() == [0, 0, 2]
