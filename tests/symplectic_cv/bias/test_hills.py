"""Hills: their sum on a grid and at points, their file, several walkers."""

import numpy as np
import pytest
from biased_by_hand import hills_by_hand, write_hills

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import Hills, merge, read_hills
from symplectic_cv.errors import OutputError


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_bias_at_grid_points_is_the_bias_on_the_grid(n):
    hills, grid = hills_by_hand(n), BiasGrid.for_widths(-3.0, 3.0, [0.5] * n)
    mesh = np.stack(np.meshgrid(*grid.axes, indexing="ij"), -1)
    at = hills.at(mesh.reshape(-1, n)).reshape(grid.shape)
    np.testing.assert_allclose(hills.on_grid(grid), at, atol=1e-12)
    place = tuple(int(size * 0.4) for size in grid.shape)
    by_hand = sum(
        height * np.exp(-0.5 * (((mesh[place] - centre) / width) ** 2).sum())
        for centre, width, height in zip(hills.centres, hills.widths, hills.heights, strict=True)
    )
    assert at[place] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hills_come_back_from_their_file(tmp_path, n):
    hills = hills_by_hand(n)
    write_hills(tmp_path / "hills.csv", hills)
    back = read_hills(tmp_path / "hills.csv")
    for name in ("time_ps", "centres", "widths", "heights"):
        np.testing.assert_allclose(getattr(back, name), getattr(hills, name), rtol=1e-11)


def test_rows_between_two_places_of_the_file(tmp_path):
    path = tmp_path / "hills.csv"
    write_hills(path, hills_by_hand(2))
    lines = path.read_bytes().splitlines(keepends=True)
    sizes = np.cumsum([len(line) for line in lines])
    part = read_hills(path, int(sizes[5]), int(sizes[2]))
    np.testing.assert_array_equal(part.time_ps, [3.0, 4.0, 5.0])
    assert len(read_hills(path, int(sizes[0]))) == 0
    np.testing.assert_array_equal(read_hills(path, int(sizes[2]), 0).time_ps, [1.0, 2.0])
    for size in (int(sizes[3]) - 4, int(sizes[-1]) + 10):
        with pytest.raises(OutputError, match="its last row is cut"):
            read_hills(path, size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its last row is cut"),
        ("time_ps,a,b\n1,2,3\n", "not the columns of hills"),
        ("time_ps,m,width_m,height_kj_per_mol\n1,2,0.3,1", "its last row is cut"),
        (
            "time_ps,m,width_m,height_kj_per_mol\n1,2,0.3,nan\n",
            "height_kj_per_mol in row 2 is not finite",
        ),
        ("time_ps,m,width_m,height_kj_per_mol\n1,2,0,1\n", "width that is not positive"),
        ("time_ps,m,width_m,height_kj_per_mol\n1,2,0.3\n", "rows of another length"),
        ("time_ps,m,width_m,height_kj_per_mol\n1,two,0.3,1\n", "m in row 2 is not a number: 'two'"),
    ],
)
def test_a_damaged_table_of_hills_is_refused(tmp_path, text, message):
    (tmp_path / "hills.csv").write_text(text)
    with pytest.raises(OutputError, match=rf"hills\.csv: not readable as hills \(.*({message})"):
        read_hills(tmp_path / "hills.csv")


def test_merged_hills_are_sorted_by_time():
    joined = merge([hills_by_hand(2, 3, 1), hills_by_hand(2, 4, 2)])
    np.testing.assert_array_equal(joined.time_ps, [1, 1, 2, 2, 3, 3, 4])
    at = np.zeros((1, 2))
    expected = hills_by_hand(2, 3, 1).at(at) + hills_by_hand(2, 4, 2).at(at)
    np.testing.assert_allclose(joined.at(at), expected, rtol=1e-12)


def test_the_sum_of_hills_is_additive_and_does_not_depend_on_the_chunk(monkeypatch):
    hills, places = hills_by_hand(2, 9), np.random.default_rng(5).normal(size=(40, 2))
    whole = hills.at(places)
    np.testing.assert_allclose(hills[:4].at(places) + hills[4:].at(places), whole, rtol=1e-12)
    grid = BiasGrid.for_widths(-2.0, 2.0, [0.5, 0.5])
    on_grid = hills.on_grid(grid)
    monkeypatch.setattr("symplectic_cv.bias.hills.CHUNK", 20)
    np.testing.assert_allclose(hills.at(places), whole, rtol=1e-12)
    np.testing.assert_allclose(hills.on_grid(grid), on_grid, rtol=1e-12)


def test_a_hill_has_its_height_at_its_centre_and_its_integral():
    """∫ h exp(−s²/2σ²) ds = √(2π) h σ along each mode."""
    hill = Hills(np.ones(1), np.zeros((1, 2)), np.array([[0.3, 0.7]]), np.array([1.7]))
    assert hill.at(np.zeros((1, 2)))[0] == pytest.approx(1.7)
    grid = BiasGrid((-6.0, -6.0), (6.0, 6.0), (601, 601))
    cell = (12.0 / 600) ** 2
    expected = 1.7 * 2.0 * np.pi * 0.3 * 0.7
    assert hill.on_grid(grid).sum() * cell == pytest.approx(expected, rel=1e-9)
