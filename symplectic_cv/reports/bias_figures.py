"""Figures of biased runs: free energies with their errors, and their convergence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from symplectic_cv.bias.results import Convergence
from symplectic_cv.bias.umbrella import UmbrellaResult, Windows
from symplectic_cv.reports.figures import (
    BLUE,
    COLOURS,
    FREE_ENERGY_LIMIT,
    GREY,
    STYLE,
    VERMILLION,
    _figure,
    _write,
)

ERROR_LIMIT = 5.0
"""Errors above this are drawn as this, kJ/mol."""


def free_energy_with_error(
    path: Path,
    axes: Sequence[np.ndarray],
    from_bias: np.ndarray | None,
    reweighted: np.ndarray,
    error: np.ndarray,
    labels: Sequence[str],
) -> None:
    """The free energy of a run along one mode, or in the plane of two.

    Args:
        axes: grid along each mode; the surfaces have one axis for each, in this order.
        from_bias: kJ/mol, infinite where unknown; None where there is but the weighted estimate.
        reweighted: from the weights of the frames, kJ/mol, infinite where unknown.
        error: standard error of `reweighted`, kJ/mol.
        labels: of the modes.
    """
    with mpl.rc_context(STYLE):
        if reweighted.ndim == 1:
            figure = _figure(6.8, 4.0)
            panel = figure.add_subplot()
            known = reweighted <= FREE_ENERGY_LIMIT
            curve = np.where(known, reweighted, np.nan)
            spread = np.where(known, np.minimum(error, ERROR_LIMIT), np.nan)
            panel.plot(axes[0], curve, color=BLUE, label="from the weights, ± standard error")
            panel.fill_between(
                axes[0], curve - spread, curve + spread, color=BLUE, alpha=0.25, linewidth=0
            )
            if from_bias is not None:
                other = np.where(from_bias <= FREE_ENERGY_LIMIT, from_bias, np.nan)
                panel.plot(axes[0], other, color=VERMILLION, linestyle="--", label="from the bias")
            panel.set_ylabel("free energy (kJ/mol)")
            panel.set_xlabel(labels[0])
            panel.set_ylim(bottom=0.0)
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2)
        else:
            shown = [("from the bias", from_bias)] if from_bias is not None else []
            shown.append(("from the weights", reweighted))
            figure = _figure(4.3 * (len(shown) + 1), 4.0)
            panels = figure.subplots(1, len(shown) + 1, sharex=True, sharey=True)
            cut = [np.where(surface <= FREE_ENERGY_LIMIT, surface, np.nan) for _, surface in shown]
            top = max(float(np.nanmax(surface)) for surface in cut)
            levels = MaxNLocator(14).tick_values(0.0, max(top, 1.0))
            for panel, (title, _), surface in zip(panels, shown, cut, strict=False):
                image = _contours(panel, axes, surface, levels, "viridis")
                panel.set_title(title)
            figure.colorbar(
                image, ax=panels[: len(shown)], label="free energy (kJ/mol)", pad=0.02, aspect=30
            )
            spread = np.where(np.isfinite(cut[-1]), np.minimum(error, ERROR_LIMIT), np.nan)
            largest = max(float(np.nanmax(spread)), 0.1)
            image = _contours(
                panels[-1], axes, spread, MaxNLocator(12).tick_values(0.0, largest), "cividis"
            )
            panels[-1].set_title("standard error of the weighted one")
            more = f", {ERROR_LIMIT:g}: this or more" if largest == ERROR_LIMIT else ""
            label = f"error (kJ/mol{more})"
            figure.colorbar(image, ax=panels[-1], label=label, pad=0.02, aspect=30)
            known = np.any([np.isfinite(surface) for surface in cut], axis=0)
            for k, set_limits in ((0, panels[0].set_xlim), (1, panels[0].set_ylim)):
                here = axes[k][known.any(1 - k)]
                room = 0.05 * (here[-1] - here[0]) + 1e-6
                set_limits(here[0] - room, here[-1] + room)
            panels[0].set_ylabel(labels[1])
            for panel in panels:
                panel.set_xlabel(labels[0])
        _write(figure, path)


def _contours(
    panel: Axes,
    axes: Sequence[np.ndarray],
    surface: np.ndarray,
    levels: Sequence[float],
    colours: str,
) -> mpl.contour.QuadContourSet:
    panel.grid(False)
    return panel.contourf(*axes, np.ma.masked_invalid(surface.T), levels=levels, cmap=colours)


def convergence_curve(path: Path, curve: Convergence) -> None:
    """ΔF of the two deepest basins over time, by the bias and by the weights."""
    long = curve.time_ps[-1] >= 10_000.0
    time = curve.time_ps / (1000.0 if long else 1.0)
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 3.7)
        panel = figure.add_subplot()
        if np.isfinite(curve.from_bias).any():
            panel.plot(
                time, curve.from_bias, color=VERMILLION, linestyle="--", label="from the bias"
            )
        panel.plot(time, curve.from_weights, color=BLUE, label="from the weights, ± standard error")
        panel.fill_between(
            time,
            curve.from_weights - curve.error,
            curve.from_weights + curve.error,
            color=BLUE,
            alpha=0.25,
            linewidth=0,
        )
        known = curve.from_weights[np.isfinite(curve.from_weights)]
        if len(known) > 0:
            panel.axhline(known[-1], color=GREY, linewidth=0.8, zorder=0, label="at the end")
        panel.set_xlabel("time (ns)" if long else "time (ps)")
        panel.set_ylabel("ΔF of the two deepest\nbasins (kJ/mol)")
        panel.margins(x=0.01)
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=3)
        _write(figure, path)


def umbrella_curve(path: Path, windows: Windows, result: UmbrellaResult, label: str) -> None:
    """The free energy along umbrella windows with its error, above the windows' histograms."""
    with mpl.rc_context(STYLE):
        figure = _figure(7.0, 5.4)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.0, 1.0])
        known = np.isfinite(result.free_energy)
        curve = np.where(known, result.free_energy, np.nan)
        spread = np.where(known, np.minimum(result.error, ERROR_LIMIT), np.nan)
        upper.plot(result.axis, curve, color=BLUE, marker=".", markersize=4)
        upper.fill_between(
            result.axis, curve - spread, curve + spread, color=BLUE, alpha=0.25, linewidth=0
        )
        upper.set_ylabel("free energy (kJ/mol)\nband: ± standard error")
        upper.set_ylim(bottom=0.0)
        step = result.axis[1] - result.axis[0]
        everything = np.concatenate(result.places)
        edges = np.arange(everything.min(), everything.max() + 2 * step, step)
        for number, part in enumerate(result.places):
            counts, _ = np.histogram(part, edges)
            colour = COLOURS[number % 2]
            lower.stairs(counts, edges, color=colour, fill=True, alpha=0.35, linewidth=0)
            lower.stairs(counts, edges, color=colour, linewidth=0.8)
        lower.plot(windows.along, np.zeros(len(windows)), "|", color="black", markersize=9)
        lower.set_ylabel("independent frames\nof each window")
        lower.set_xlabel(label)
        _write(figure, path)
