"""The house style: figures draw into Axes, write nothing, and leave Matplotlib as it was."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from symplectic_cv.errors import OptionError
from symplectic_cv.reports.model_figures import plot_frequencies
from symplectic_cv.reports.style import new_panels, save_figure, several_panels, time_axis

OMEGA = np.array([1.0, 2.0, 30.0, 50.0])


def test_matplotlibs_settings_are_the_same_after_a_figure_as_before(tmp_path):
    before = dict(mpl.rcParams)
    save_figure(plot_frequencies(OMEGA, 2), tmp_path / "figure.png")
    assert dict(mpl.rcParams) == before


def test_nothing_is_written_but_by_saving(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ax = plot_frequencies(OMEGA, 2)
    assert list(tmp_path.iterdir()) == []
    save_figure(ax, tmp_path / "figure.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_a_figure_draws_into_given_axes_and_returns_them():
    given = Figure().subplots()
    assert plot_frequencies(OMEGA, 2, given) is given
    assert given.get_xlabel() == "mode number k (0 is the slowest)"


def test_a_figure_a_panel_and_an_array_of_panels_save_the_same(tmp_path):
    panels = new_panels(1, 2, 5.0, 3.0)
    for number, figure in enumerate([panels, panels[0, 0], panels[0, 0].figure, [panels[0, 1]]]):
        save_figure(figure, tmp_path / f"{number}.png")
    contents = {(tmp_path / f"{number}.png").read_bytes() for number in range(4)}
    assert len(contents) == 1


def test_a_figure_looks_the_same_with_the_users_own_settings(tmp_path):
    save_figure(plot_frequencies(OMEGA, 2), tmp_path / "plain.png")
    own = {"font.size": 20.0, "xtick.color": "red", "axes.grid": False, "grid.color": "red"}
    with mpl.rc_context(own):
        save_figure(plot_frequencies(OMEGA, 2), tmp_path / "own.png")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_another_number_of_panels_is_refused():
    panels = new_panels(1, 3, 5.0, 3.0)
    with pytest.raises(OptionError, match=r"`axes` must have 2 panels \(2 rows of 1\); got 3"):
        several_panels(panels, 2, 1, 5.0, 3.0)
    assert several_panels(panels, 3, 1, 5.0, 3.0).shape == (3, 1)


def test_long_times_are_drawn_in_ns():
    assert time_axis(np.array([0.0, 9999.0]))[1] == "time (ps)"
    time, label = time_axis(np.array([0.0, 20_000.0]))
    assert label == "time (ns)"
    assert time[-1] == 20.0
    assert time_axis(np.array([]))[1] == "time (ps)"


def test_pyplot_is_not_used():
    code = "import sys; from symplectic_cv.reports import model_figures; "
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
