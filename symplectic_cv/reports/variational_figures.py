"""Figures of a model learned from a Hamiltonian: its bound, its frequencies, its modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from symplectic_cv.reports.style import (
    BLUE,
    GREY,
    SKY,
    VERMILLION,
    angle_axis,
    frames_to_draw,
    in_house_style,
    mode_label,
    one_panel,
    several_panels,
    span,
)

MOST_DESCRIPTORS = 4
POINTS = 6000


@in_house_style
def plot_free_energy_bound(
    history: Mapping[str, np.ndarray], exact: float | None = None, ax: Axes | None = None
) -> Axes:
    """The upper bound on −ln Z over the training.

    Args:
        history: The columns `step`, `free_energy_bound`, `standard_error` (both in nats) and
            `cold`, the factor by which the temperature was raised.
        exact: The exact −ln Z in nats, where it is known.
        ax: The Axes to draw into; a new Figure is made where None.
    """
    step, bound = history["step"], history["free_energy_bound"]
    ax = one_panel(ax, 7.2, 3.8)
    heated = step[history["cold"] > 1.0]
    if len(heated):
        ax.axvspan(0.0, heated.max(), color="#F1F1F1", zorder=0, label="while heated")
    low_band, high_band = bound - history["standard_error"], bound + history["standard_error"]
    ax.fill_between(step, low_band, high_band, color=SKY, alpha=0.4, linewidth=0)
    ax.plot(step, bound, color=BLUE, label="upper bound (validation)")
    finite = bound[np.isfinite(bound)]
    low = float(min([finite.min(), *([] if exact is None else [exact])]))
    late = float(np.percentile(finite[len(finite) // 3 :], 90))
    high = max(late, low + 0.5)
    if exact is not None:
        ax.axhline(exact, color=VERMILLION, linestyle="--", linewidth=1.4, label="exact")
    ax.set_ylim(low - 0.08 * (high - low), high + 0.25 * (high - low))
    ax.set_xlim(0.0, float(step.max()))
    ax.set_xlabel("optimizer step")
    ax.set_ylabel("−ln Z (nats)")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    return ax


@in_house_style
def plot_learned_frequencies(
    omega: np.ndarray,
    unit: str,
    exact: np.ndarray | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Learned frequencies, and their error where the exact ones are known.

    Args:
        omega: The learned frequencies, shape (n,).
        unit: The unit of ω: "rad/ps" or "reduced units".
        exact: The exact frequencies of the normal modes, shape (n,), where they are known.
        axes: The Axes to draw into, two where `exact` is known; a new Figure is made where None.

    Returns:
        The one or two Axes.
    """
    modes = np.arange(len(omega))
    rows = 1 if exact is None else 2
    size = (7.2, 3.8 if exact is None else 5.0)
    panels = several_panels(axes, rows, 1, *size, sharex=True, height_ratios=[2, 1][:rows])[:, 0]
    if exact is not None:
        panels[0].plot(modes, exact, color=GREY, linewidth=1.2, label="exact normal modes")
    panels[0].scatter(modes, omega, s=34, color=VERMILLION, zorder=3, label="learned")
    if omega.max() > 30.0 * omega.min():
        panels[0].set_yscale("log")
    else:
        panels[0].set_ylim(0.0, 1.12 * float(omega.max()))
    panels[0].set_ylabel(f"frequency $\\omega_k$ ({unit})")
    panels[0].legend(loc="lower right")
    if exact is not None:
        error = 100.0 * (omega / exact - 1.0)
        panels[1].axhline(0.0, color=GREY, linewidth=1.0)
        panels[1].vlines(modes, 0.0, error, color=BLUE, linewidth=1.6)
        panels[1].scatter(modes, error, s=16, color=BLUE, zorder=3)
        panels[1].set_ylabel("error (%)")
    panels[-1].set_xlabel("mode number k (0 is the slowest)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return panels


@in_house_style
def plot_modes_against_descriptors(
    modes: np.ndarray,
    columns: Sequence[tuple[str, str, np.ndarray, np.ndarray]],
    seed: int = 0,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Each of a few modes against each physical quantity (the paper, figure 2).

    Args:
        modes: The slowest modes ω_k Q_k, shape (n_frames, n_modes), dimensionless.
        columns: For each quantity its name, its unit, its values of shape (n_frames,), and its
            mutual information with the modes, shape (n_modes,), in nats. The first four are drawn,
            angles (unit "rad") in degrees.
        seed: The seed by which frames are chosen where there are too many to draw.
        axes: The Axes to draw into, mode by mode; a new Figure is made where None.

    Returns:
        The Axes, shape (n_modes, n_quantities).
    """
    columns = columns[:MOST_DESCRIPTORS]
    drawn = frames_to_draw(len(modes), seed, POINTS)
    n_modes = modes.shape[1]
    size = (3.7 * len(columns) + 0.4, 2.9 * n_modes)
    grid = several_panels(axes, n_modes, len(columns), *size, sharex="col", sharey="row")
    for row in range(n_modes):
        for place, (name, unit, values, information) in enumerate(columns):
            ax = grid[row, place]
            angle = unit == "rad"
            shown = np.degrees(values) if angle else values
            ax.scatter(shown[drawn], modes[drawn, row], s=3, color=BLUE, alpha=0.35, lw=0)
            ax.set_ylim(span(modes[:, row]))
            if angle:
                angle_axis(ax.xaxis, 90)
            ax.set_title(f"{information[row]:.2f} nats", loc="right")
            if row == n_modes - 1:
                ax.set_xlabel(f"{name} ({'degrees' if angle else unit or 'reduced units'})")
            if place == 0:
                ax.set_ylabel(mode_label(row))
    return grid
