"""Umbrella windows on landscapes that are known: MBAR brings them back with honest errors."""

import numpy as np
import pytest

from symplectic_cv.bias.umbrella import (
    Windows,
    combine_windows,
    even_windows,
    path_windows,
    read_window,
)
from symplectic_cv.errors import OptionError, OutputError

KELVIN = 300.0
KT = 8.31446261815324e-3 * KELVIN


def landscape(x):
    """kJ/mol, a barrier of 15 between two minima 4 apart."""
    return 15.0 * (x**2 - 1.0) ** 2 + 2.0 * x


def _sample(windows, energy, count, seed):
    """Independent frames of each window, by inversion on a fine grid of the first mode."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-3.0, 3.0, 6001)
    series = []
    for centre in windows.centres:
        density = np.exp(-(energy(x) + 0.5 * windows.stiffness * (x - centre[0]) ** 2) / KT)
        cumulative = np.cumsum(density) / density.sum()
        series.append(np.interp(rng.random(count), cumulative, x)[:, None])
    return series


@pytest.fixture(scope="module")
def result():
    windows = even_windows(["mode_0"], -1.5, 1.5, 13, None, KELVIN)
    return windows, combine_windows(windows, _sample(windows, landscape, 600, 0))


@pytest.mark.statistical
def test_the_landscape_comes_back_within_its_errors(result):
    _, found = result
    exact = landscape(found.axis)
    lowest = found.free_energy.argmin()
    gap = found.free_energy - (exact - exact[lowest])
    other = (np.arange(len(gap)) != lowest) & (exact - exact.min() < 20.0)
    assert other.sum() > 30
    # neighbouring bins share their errors: the average of the ratio is no better than one of them
    assert 0.3 < np.sqrt(np.mean((gap[other] / found.error[other]) ** 2)) < 2.5
    assert found.error[other].max() < 1.0
    assert found.error[lowest] == pytest.approx(0.0, abs=1e-6)


def test_windows_relative_to_the_first_are_those_of_quadrature(result):
    windows, found = result
    x = np.linspace(-3.0, 3.0, 6001)
    integral = [
        np.exp(-(landscape(x) + 0.5 * windows.stiffness * (x - c) ** 2) / KT).sum()
        for c in windows.centres[:, 0]
    ]
    exact = -KT * np.log(np.array(integral) / integral[0])
    gap = np.abs(found.window_free_energy - exact)[1:]
    assert (gap < 4.0 * found.window_error[1:]).all()
    assert found.window_error[0] == 0.0
    assert (found.overlap > 0.05).all()
    assert len(found.overlap) == len(windows) - 1


def test_the_stiffness_lets_a_window_reach_its_neighbours():
    windows = even_windows(["mode_0"], -2.0, 2.0, 9, None, KELVIN)
    np.testing.assert_allclose(np.sqrt(KT / windows.stiffness), 0.25, rtol=0.01)


def test_correlated_frames_count_for_fewer():
    windows = even_windows(["mode_0"], -1.0, 1.0, 3, None, KELVIN)
    series = _sample(windows, lambda x: 0.0 * x, 400, 1)
    slow = [np.repeat(part, 10, axis=0) for part in series]
    plain, repeated = combine_windows(windows, series), combine_windows(windows, slow)
    assert (repeated.inefficiency > 7.0).all()
    assert repeated.frames.sum() < 0.2 * sum(map(len, slow))
    assert np.median(repeated.error) > 0.7 * np.median(plain.error)


def test_places_along_a_bent_path():
    corner = Windows(["mode_0", "mode_1"], np.array([[0, 0], [1, 0], [1.0, 1.0]]), 10.0, KELVIN)
    points = np.array([[0.0, 0.0], [0.5, 0.3], [1.2, 0.5], [3.0, 3.0]])
    place, squared = corner.project(points)
    np.testing.assert_allclose(place, [0.0, 0.25, 0.75, 1.0])
    np.testing.assert_allclose(squared, [0.0, 0.09, 0.04, 8.0])
    np.testing.assert_allclose(corner.along, [0.0, 0.5, 1.0])


def test_a_free_energy_along_a_path_in_two_modes():
    """A line across a harmonic bowl: in the tube F rises as its square from the middle."""
    centres = np.linspace([-1.0, -1.0], [1.0, 1.0], 9)
    windows = Windows(["mode_0", "mode_1"], centres, 40.0, KELVIN)
    rng, bowl = np.random.default_rng(2), 6.0
    series = [
        rng.normal(40.0 * centre / (40.0 + bowl), np.sqrt(KT / (40.0 + bowl)), size=(800, 2))
        for centre in centres
    ]
    found = combine_windows(windows, series)
    exact = 0.5 * bowl * 8.0 * (found.axis - 0.5) ** 2
    inner = (found.axis > 0.1) & (found.axis < 0.9)  # at the ends frames from beyond gather
    lowest = found.free_energy.argmin()
    gap = found.free_energy - found.free_energy[lowest] - exact + exact[lowest]
    other = inner & (np.arange(len(gap)) != lowest)
    assert found.error[other].max() < 0.7
    assert 0.3 < np.sqrt(np.mean((gap[other] / found.error[other]) ** 2)) < 2.5


def test_windows_evenly_along_a_table(tmp_path):
    path = tmp_path / "path.csv"
    path.write_text("point,mode_1,mode_0\n0,0,0\n1,0,3\n2,1,3\n")
    windows = path_windows(path, ["mode_0", "mode_1"], 5, 12.0, KELVIN)
    np.testing.assert_allclose(windows.centres, [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]])
    assert windows.stiffness == 12.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode_0\n1\n2\n", "no column mode_1"),
        ("mode_0,mode_1\n1,2\n", "fewer than two points"),
        ("mode_0,mode_1\n1,2\n1,nan\n", "not finite"),
        ("mode_0,mode_1\n1,2\n1,2\n", "do not differ in mode_0, mode_1"),
        ("mode_0,mode_1\n1,two\n1,2\n", "mode_1 in row 2 is not a number"),
        ("", "not readable"),
    ],
)
def test_a_bad_path_is_refused(tmp_path, text, message):
    path = tmp_path / "path.csv"
    path.write_text(text)
    with pytest.raises(OptionError, match=message):
        path_windows(path, ["mode_0", "mode_1"], 4, None, KELVIN)


@pytest.mark.parametrize(
    ("low", "high", "count", "stiffness", "message"),
    [
        (1.0, 1.0, 4, None, "`range`"),
        (0.0, 1.0, 1, None, "`windows` must be at least 2"),
        (0.0, 1.0, 4, -1.0, "`force_constant` must be positive"),
    ],
)
def test_windows_that_make_no_sense_are_refused(low, high, count, stiffness, message):
    with pytest.raises(OptionError, match=message):
        even_windows(["mode_0"], low, high, count, stiffness, KELVIN)


def test_a_window_of_too_few_frames_is_refused():
    windows = even_windows(["mode_0"], 0.0, 1.0, 2, None, KELVIN)
    with pytest.raises(OptionError, match="window 2 has 5 frames, which are too few"):
        combine_windows(windows, [np.zeros((50, 1)), np.ones((5, 1))])


def test_a_damaged_table_of_a_window_is_refused(tmp_path):
    path = tmp_path / "colvar.csv"
    for text in ("time_ps,mode_0,bias\n1,2,3", "time_ps,mode_0,bias\n1,2,nan\n", "time_ps\n"):
        path.write_text(text)
        with pytest.raises(OutputError, match=r"colvar\.csv: not readable as the table of a"):
            read_window(path, 1)
