"""Figures of biased runs: modes over time, convergence, umbrella windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from symplectic_cv.bias.results import Convergence
from symplectic_cv.bias.umbrella import UmbrellaResult, Windows
from symplectic_cv.reports.free_energy_figures import ERROR_LIMIT
from symplectic_cv.reports.style import (
    BLUE,
    COLOURS,
    GREY,
    MOST_POINTS,
    VERMILLION,
    in_house_style,
    one_panel,
    several_panels,
    time_axis,
)


@in_house_style
def plot_modes_over_time(
    time_ps: np.ndarray,
    columns: Sequence[np.ndarray],
    labels: Sequence[str],
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Values over time, one panel for each.

    Args:
        time_ps: The times of the frames, shape (n_frames,), in ps. They are drawn in ns from
            10 ns on.
        columns: The values, each of shape (n_frames,).
        labels: The labels of the values, with units.
        axes: The Axes to draw into, one for each column; a new Figure is made where None.

    Returns:
        The Axes, one for each column.

    Example:
        >>> time = np.arange(100.0)
        >>> axes = plot_modes_over_time(time, [np.sin(time)], ["mode 0 (dimensionless)"])
        >>> axes[0].get_xlabel()
        'time (ps)'
    """
    time, label = time_axis(time_ps)
    size = (7.6, 0.6 + 1.75 * len(columns))
    panels = several_panels(axes, len(columns), 1, *size, sharex=True)[:, 0]
    for number, (ax, column, name) in enumerate(zip(panels, columns, labels, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        ax.plot(time, column, ",", color=colour, alpha=0.9)
        if len(time) <= MOST_POINTS:
            ax.plot(time, column, color=colour, linewidth=0.5, alpha=0.6)
        ax.set_ylabel(name)
        ax.margins(x=0.01)
    panels[-1].set_xlabel(label)
    if axes is None:
        panels[0].figure.align_ylabels(panels)
    return panels


@in_house_style
def plot_convergence(curve: Convergence, ax: Axes | None = None) -> Axes:
    """The free-energy difference of the two deepest basins over time, from bias and weights.

    Args:
        curve: The estimates over time, as `symplectic_cv.bias.results.convergence` gives them.
        ax: The Axes to draw into; a new Figure is made where None.
    """
    ax = one_panel(ax, 7.2, 3.7)
    time, label = time_axis(curve.time_ps)
    if np.isfinite(curve.from_bias).any():
        ax.plot(time, curve.from_bias, color=VERMILLION, linestyle="--", label="from the bias")
    ax.plot(time, curve.from_weights, color=BLUE, label="from the weights, ± standard error")
    low, high = curve.from_weights - curve.error, curve.from_weights + curve.error
    ax.fill_between(time, low, high, color=BLUE, alpha=0.25, linewidth=0)
    known = curve.from_weights[np.isfinite(curve.from_weights)]
    if len(known) > 0:
        ax.axhline(known[-1], color=GREY, linewidth=0.8, zorder=0, label="at the end")
    ax.set_xlabel(label)
    ax.set_ylabel("ΔF of the two deepest\nbasins (kJ/mol)")
    ax.margins(x=0.01)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


@in_house_style
def plot_umbrella(
    windows: Windows,
    result: UmbrellaResult,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """The free energy along umbrella windows with its error, above the windows' histograms.

    Args:
        windows: The windows.
        result: What `symplectic_cv.bias.umbrella.combine_windows` made of their frames.
        axes: The two Axes to draw into, the upper one first; a new Figure is made where None.

    Returns:
        The two Axes.
    """
    panels = several_panels(axes, 2, 1, 7.0, 5.4, sharex=True, height_ratios=[2.0, 1.0])
    upper, lower = panels[:, 0]
    known = np.isfinite(result.free_energy)
    curve = np.where(known, result.free_energy, np.nan)
    spread = np.where(known, np.minimum(result.error, ERROR_LIMIT), np.nan)
    upper.plot(result.axis, curve, color=BLUE, marker=".", markersize=4)
    low, high = curve - spread, curve + spread
    upper.fill_between(result.axis, low, high, color=BLUE, alpha=0.25, linewidth=0)
    upper.set_ylabel("free energy (kJ/mol)\nband: ± standard error")
    upper.set_ylim(bottom=0.0)
    step = result.axis[1] - result.axis[0]
    everything = np.concatenate(result.places)
    edges = np.arange(everything.min(), everything.max() + 2 * step, step)
    for number, window in enumerate(result.places):
        counts, _ = np.histogram(window, edges)
        colour = COLOURS[number % 2]
        lower.stairs(counts, edges, color=colour, fill=True, alpha=0.35, linewidth=0)
        lower.stairs(counts, edges, color=colour, linewidth=0.8)
    lower.plot(windows.along, np.zeros(len(windows)), "|", color="black", markersize=9)
    lower.set_ylabel("independent frames\nof each window")
    one_mode = len(windows.modes) == 1
    lower.set_xlabel(
        f"{windows.modes[0].replace('_', ' ')} (dimensionless)"
        if one_mode
        else "position along the path (0: first window, 1: last)"
    )
    return np.array([upper, lower])
