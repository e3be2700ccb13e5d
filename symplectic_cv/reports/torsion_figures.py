"""Figures of modes of torsions: what each mode is made of, and where the torsions are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from symplectic_cv.charts.torsion_basis import torsion_features
from symplectic_cv.models.torsion_model import CARRIED, TorsionModel
from symplectic_cv.reports.style import (
    MOST_TORSIONS,
    in_house_style,
    one_panel,
    several_panels,
    torsion_label,
    without_frame,
)

BINS = 72
"""Bins of a circle."""
SHOWN = 3
"""Modes among which the one is sought that a torsion matters most for."""
MOST_BONDS = 16
"""Torsions that the map of shares shows at most."""


@in_house_style
def plot_shares(model: TorsionModel, most_modes: int = 10, ax: Axes | None = None) -> Axes:
    """The share of each torsion in each mode, as a map with the numbers in it.

    Args:
        model: The modes.
        most_modes: The number of the slowest modes to show.
        ax: The Axes to draw into; a new Figure is made where None.
    """
    shares = model.shares()[:most_modes]
    bonds = np.sort(np.argsort(-shares.max(0))[:MOST_BONDS])
    shares = shares[:, bonds]
    ax = one_panel(ax, max(4.8, 0.62 * len(shares) + 2.8), 1.5 + 0.42 * len(bonds))
    ax.grid(False)
    image = ax.imshow(100.0 * shares.T, cmap="cividis", vmin=0.0, vmax=100.0, aspect="auto")
    for mode, row in enumerate(shares):
        for place, share in enumerate(row):
            colour = "black" if share > 0.55 else "white"
            text = f"{100.0 * share:.0f}"
            ax.text(mode, place, text, ha="center", va="center", color=colour, fontsize=8.5)
    ax.set_xticks(range(len(shares)))
    ax.set_yticks(range(len(bonds)), [torsion_label(model.bonds[k].name) for k in bonds])
    ax.set_xlabel("mode number k (0 is the slowest)")
    without_frame(ax)
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10])
    ax.figure.colorbar(image, ax=ax, label="share of a torsion\nin a mode (%)", ticks=ticks)
    return ax


@in_house_style
def plot_circles(
    model: TorsionModel,
    angles: np.ndarray,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Torsions on the circle: how often each value occurs, coloured by a mode along it.

    A mode is a sum of one function per torsion. The colour of a bar is that function of the mode
    that the torsion has the largest share in, among the three slowest.

    Args:
        model: The modes.
        angles: The torsions of the frames, shape (n_frames, n_bonds), in rad.
        axes: The polar Axes to draw into; a new Figure is made where None.

    Returns:
        The Axes, one for each torsion that is drawn: those with a share of more than a tenth, at
        most six.
    """
    shares = model.shares()[:SHOWN]
    best = np.argsort(-shares.max(0))[:MOST_TORSIONS]
    drawn = np.sort(best[shares.max(0)[best] > CARRIED])
    columns = min(3, len(drawn)) if axes is None else len(drawn)
    rows = -(-len(drawn) // columns)
    size = (3.1 * columns + 0.8, 3.3 * rows)
    grid = several_panels(axes, rows, columns, *size, subplot_kw={"projection": "polar"})
    for unused in grid.flat[len(drawn) :]:
        unused.set_visible(False)
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    parts = {}
    for bond in drawn:
        mode = int(shares[:, bond].argmax())
        features, _ = torsion_features(middle[:, None], [model.folds[bond]], model.order)
        parts[bond] = mode, features @ model.coefficients[mode, bond].ravel()
    largest = max(float(np.abs(values).max()) for _, values in parts.values())
    norm = Normalize(-largest, largest)
    colours = ScalarMappable(norm, "coolwarm")
    panels = grid.ravel()[: len(drawn)]
    for ax, bond in zip(panels, drawn, strict=True):
        mode, values = parts[bond]
        density = np.histogram(angles[:, bond], edges)[0] / len(angles)
        # the area of a bar, not its length, is what the eye compares
        height = np.sqrt(density)
        ax.bar(middle, height, 2 * np.pi / BINS, color=colours.to_rgba(values), linewidth=0)
        top = 1.3 * float(height.max())
        # a ring of the function itself, also where no frame is
        ax.bar(middle, 0.08 * top, 2 * np.pi / BINS, top, color=colours.to_rgba(values))
        ax.set_ylim(0.0, 1.08 * top)
        ax.set_yticks([])
        ax.set_theta_zero_location("N")
        ax.set_theta_direction(-1)
        ax.set_xticks(np.radians([0, 60, 120, 180, 240, 300]))
        ax.set_xticklabels(["0°", "60°", "120°", "180°", "−120°", "−60°"])
        share = 100.0 * shares[mode, bond]
        ax.set_title(f"{torsion_label(model.bonds[bond].name)}: {share:.0f} % of mode {mode}")
    panels[0].figure.colorbar(
        colours, ax=grid, label="part of the mode along\nthe torsion (dimensionless)", pad=0.04
    )
    return panels
