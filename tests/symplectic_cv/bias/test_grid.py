"""The grid of a bias: fine enough, not too large, the same after a file."""

import json

import numpy as np
import pytest

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.errors import OptionError


@pytest.mark.parametrize(("n", "points"), [(1, (76,)), (2, (76, 39)), (3, (39, 20, 14))])
def test_the_grid_is_as_fine_as_the_hills_need(n, points):
    grid = BiasGrid.for_widths(-3.0, 3.0, [0.2, 0.4, 0.6][:n])
    assert grid.shape == points
    for axis, width in zip(grid.axes, [0.2, 0.4, 0.6], strict=False):
        assert (axis[0], axis[-1]) == (-3.0, 3.0)
        assert axis[1] - axis[0] <= width / (2.5 if n < 3 else 1.25) + 1e-12


def test_a_grid_that_is_too_large_is_refused():
    with pytest.raises(OptionError, match="too large: give a larger `width`"):
        BiasGrid.for_widths(-6.0, 6.0, [0.1, 0.1, 0.1])


def test_modes_beyond_the_grid_are_moved_to_its_edge():
    grid = BiasGrid((-1.0, -2.0), (1.0, 3.0), (3, 6))
    modes = np.array([[0.2, 0.3], [-5.0, 9.0], [1.0, -2.5]])
    moved = grid.clamp(modes)
    np.testing.assert_array_equal(moved, [[0.2, 0.3], [-1.0, 3.0], [1.0, -2.0]])
    np.testing.assert_array_equal(grid.clamp(moved), moved)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_grid_comes_back_from_json(n):
    grid = BiasGrid.for_widths(-3.0, 2.5, [0.3] * n)
    again = BiasGrid.from_json(json.loads(json.dumps(grid.to_json())))
    assert again == grid
    assert again.shape == tuple(len(axis) for axis in again.axes)
