"""Figures of a model."""

import numpy as np

from symplectic_cv.reports.model_figures import (
    plot_latent_plane,
    plot_mutual_information,
    plot_ramachandran,
    plot_training,
)
from symplectic_cv.reports.style import new_panels
from symplectic_cv.reports.variational_figures import (
    plot_free_energy_bound,
    plot_learned_frequencies,
    plot_modes_against_descriptors,
)

RNG = np.random.default_rng(0)
MODES = RNG.normal(size=(300, 3))
ANGLES = RNG.uniform(-np.pi, np.pi, size=(300, 8))
NAMES = [f"phi_ALA{k}" for k in range(8)]


def test_the_latent_plane_has_a_panel_for_each_of_six_torsions(is_drawn):
    for count, panels in ((0, 1), (1, 1), (4, 4), (8, 6)):
        drawn = plot_latent_plane(MODES, ANGLES[:, :count], NAMES[:count])
        assert len(drawn) == panels
        assert is_drawn(drawn)
    given = new_panels(1, 2, 6.0, 3.0)
    assert list(plot_latent_plane(MODES, ANGLES, NAMES[:2], axes=given)) == list(given.ravel())
    assert given[0, 1].get_title() == "coloured by φ ALA1"


def test_the_ramachandran_figure_has_a_row_for_each_residue(is_drawn):
    planes = [("ALA2", ANGLES[:, 0], ANGLES[:, 1]), ("", ANGLES[:, 2], ANGLES[:, 3])]
    drawn = plot_ramachandran(MODES, planes)
    assert drawn.shape == (2, 2)
    assert drawn[0, 0].get_xlabel() == "φ ALA2 (degrees)"
    assert drawn[1, 0].get_xlabel() == "φ (degrees)"
    assert plot_ramachandran(MODES[:, :1], planes).shape == (2, 1)
    assert is_drawn(drawn)


def test_information_and_training_are_drawn(is_drawn):
    ax = plot_mutual_information(np.abs(MODES[:4]), NAMES[:3])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["φ ALA0", "φ ALA1", "φ ALA2"]
    assert is_drawn(ax)
    step = np.arange(1.0, 20.0)
    history = {"step": step, "train_nll": -step, "validation_nll": -0.9 * step}
    ax = plot_training(history, -1.0)
    assert "(nats per frame)" in ax.get_ylabel()
    assert is_drawn(ax)


def test_a_model_of_a_hamiltonian_is_drawn_beside_what_is_exact(is_drawn):
    step = np.arange(1.0, 20.0)
    history = {
        "step": step,
        "free_energy_bound": 1.0 / step,
        "standard_error": 0.1 / step,
        "cold": np.maximum(1.0, 5.0 - step),
    }
    assert is_drawn(plot_free_energy_bound(history, 0.0))
    omega = np.array([1.0, 2.0, 3.0])
    assert len(plot_learned_frequencies(omega, "rad/ps")) == 1
    panels = plot_learned_frequencies(omega, "rad/ps", 1.01 * omega)
    assert [ax.get_ylabel() for ax in panels] == ["frequency $\\omega_k$ (rad/ps)", "error (%)"]
    assert is_drawn(panels)
    columns = [("angle", "rad", ANGLES[:, 0], omega), ("r", "", MODES[:, 0], omega)]
    grid = plot_modes_against_descriptors(MODES, columns)
    assert grid.shape == (3, 2)
    assert [ax.get_xlabel() for ax in grid[-1]] == ["angle (degrees)", "r (reduced units)"]
    assert is_drawn(grid)
