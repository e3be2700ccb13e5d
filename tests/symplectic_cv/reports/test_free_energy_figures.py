"""Figures of free energies."""

import numpy as np
import pytest
from matplotlib.image import imread

from symplectic_cv.bias.surfaces import BinnedSurface
from symplectic_cv.reports.free_energy_figures import (
    plot_free_energy,
    plot_free_energy_estimates,
    plot_free_energy_profiles,
    plot_free_energy_with_error,
)
from symplectic_cv.reports.style import new_panels, save_figure


def test_free_energies_are_drawn_where_they_are_finite(is_drawn):
    x = np.linspace(-2, 2, 21)
    curve = 5.0 * x**2
    curve[3] = np.inf
    assert is_drawn(plot_free_energy([x], curve, ["mode 0"]))
    surface = curve[:, None] + curve[None, :15]
    surface[0, 0] = np.nan
    assert is_drawn(plot_free_energy([x, x[:15]], surface, ["mode 0", "mode 1"]))
    flat = np.zeros((4, 4))
    assert is_drawn(plot_free_energy([x[:4], x[:4]], flat, ["a", "b"]))


def test_a_bin_without_neighbours_is_drawn(tmp_path):
    x = np.arange(10.0)
    surface = np.full((10, 10), np.inf)
    surface[4, 6] = 0.0
    save_figure(plot_free_energy([x, x], surface, ["a", "b"], binned=True), tmp_path / "f.png")
    picture = imread(tmp_path / "f.png")
    panel = picture[:, : int(0.8 * picture.shape[1]), :3]  # left of the colour bar
    lowest = np.abs(panel - [0.267, 0.005, 0.329]).max(-1) < 0.02
    assert 1000 < lowest.sum() < 0.02 * lowest.size


@pytest.mark.parametrize("from_bias", [True, False])
def test_estimates_have_a_panel_each_and_one_for_the_error(is_drawn, from_bias):
    x = np.linspace(-2, 2, 21)
    surface = 5.0 * (x[:, None] ** 2 + x**2)
    error = np.full_like(surface, 0.5)
    labels = ["mode 0 (dimensionless)", "mode 1 (dimensionless)"]
    panels = plot_free_energy_estimates(
        [x, x], surface, error, labels, surface if from_bias else None
    )
    titles = ["from the weights", "standard error, from the weights"]
    assert [ax.get_title() for ax in panels] == ["from the bias"] * from_bias + titles
    assert is_drawn(panels)
    curve = plot_free_energy_with_error(x, surface[10], error[10], labels[0])
    assert curve.get_ylabel() == "free energy (kJ/mol)"
    assert is_drawn(curve)


def test_profiles_have_a_panel_each(is_drawn):
    x = np.linspace(-3, 3, 12)
    lonely = np.where(np.arange(12) == 5, 1.0, np.inf)
    profiles = [
        BinnedSurface(["phi"], [x], x**2, np.full(12, 0.5), np.full(12, 9)),
        BinnedSurface(["mode_1"], [x], lonely, np.full(12, np.nan), np.full(12, 9)),
    ]
    panels = plot_free_energy_profiles(profiles, ["rad", ""])
    assert [ax.get_xlabel() for ax in panels] == ["φ (degrees)", "mode 1 (dimensionless)"]
    assert is_drawn(panels)
    given = new_panels(2, 1, 5.0, 6.0)
    drawn = plot_free_energy_profiles(profiles, ["rad", ""], given)
    assert list(drawn) == list(given.ravel())


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("with_bias", [True, False])
def test_figures_of_surfaces_with_unknown_places(tmp_path, n, with_bias):
    axis = np.linspace(-2.0, 2.0, 31)
    mesh = np.meshgrid(*[axis] * n, indexing="ij")
    surface = 5.0 * sum(x**2 for x in mesh)
    surface[surface > 12.0] = np.inf
    error = np.where(np.isfinite(surface), 0.3, np.inf)
    path = tmp_path / "f.png"
    known = surface if with_bias else None
    if n == 1:
        drawn = plot_free_energy_with_error(axis, surface, error, "mode 0", known)
    else:
        labels = ["mode 0", "mode 1"]
        drawn = plot_free_energy_estimates([axis] * n, surface, error, labels, known)
    save_figure(drawn, path)
    assert path.stat().st_size > 10_000
