"""Figures of a model learned from a Hamiltonian: its bound, its frequencies, its modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import MaxNLocator

from symplectic_cv.reports.figures import (
    BLUE,
    GREY,
    SKY,
    STYLE,
    VERMILLION,
    _draw,
    _figure,
    _span,
    _write,
)

MOST_DESCRIPTORS = 4
POINTS = 6000


def free_energy_history(
    path: Path, history: Mapping[str, np.ndarray], exact: float | None = None
) -> None:
    """The bound over the training.

    Args:
        history: columns `step`, `free_energy_bound`, `standard_error` and `cold`.
        exact: −ln Z in nats, where it is known.
    """
    step, bound = history["step"], history["free_energy_bound"]
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 3.8)
        axes = figure.add_subplot()
        heated = step[history["cold"] > 1.0]
        if len(heated):
            axes.axvspan(0.0, heated.max(), color="#F1F1F1", zorder=0, label="while heated")
        axes.fill_between(
            step,
            bound - history["standard_error"],
            bound + history["standard_error"],
            color=SKY,
            alpha=0.4,
            linewidth=0,
        )
        axes.plot(step, bound, color=BLUE, label="upper bound (validation)")
        finite = bound[np.isfinite(bound)]
        low = float(min([finite.min(), *([] if exact is None else [exact])]))
        late = float(np.percentile(finite[len(finite) // 3 :], 90))
        high = max(late, low + 0.5)
        if exact is not None:
            axes.axhline(exact, color=VERMILLION, linestyle="--", linewidth=1.4, label="exact")
        axes.set_ylim(low - 0.08 * (high - low), high + 0.25 * (high - low))
        axes.set_xlim(0.0, float(step.max()))
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("−ln Z (nats)")
        axes.legend(loc="upper right")
        _write(figure, path)


def learned_frequencies(path: Path, omega: np.ndarray, exact: np.ndarray | None, unit: str) -> None:
    """Learned frequencies (n,), beside the exact ones where they are known."""
    modes = np.arange(len(omega))
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 5.0 if exact is not None else 3.8)
        panels = figure.subplots(
            1 + (exact is not None),
            1,
            sharex=True,
            squeeze=False,
            height_ratios=[2, 1][: 1 + (exact is not None)],
        )[:, 0]
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
        _write(figure, path)


def modes_and_descriptors(
    path: Path,
    modes: np.ndarray,
    columns: Sequence[tuple[str, str, np.ndarray, np.ndarray]],
    seed: int = 0,
) -> None:
    """Each of a few modes against each physical quantity (the paper, figure 2).

    Args:
        modes: ω_k Q_k of the slowest modes, (F, K).
        columns: name, unit, values (F,) and mutual information (K,) in nats of each quantity;
            the first four are drawn, angles in degrees.
    """
    columns = columns[:MOST_DESCRIPTORS]
    drawn = _draw(len(modes), seed)[:POINTS]
    n_modes = modes.shape[1]
    with mpl.rc_context(STYLE):
        figure = _figure(3.7 * len(columns) + 0.4, 2.9 * n_modes)
        grid = figure.subplots(n_modes, len(columns), squeeze=False, sharex="col", sharey="row")
        for row in range(n_modes):
            for place, (name, unit, values, information) in enumerate(columns):
                axes = grid[row, place]
                angle = unit == "rad"
                shown = np.degrees(values) if angle else values
                axes.scatter(shown[drawn], modes[drawn, row], s=3, color=BLUE, alpha=0.35, lw=0)
                axes.set_ylim(_span(modes[:, row]))
                if angle:
                    axes.set_xlim(-180.0, 180.0)
                    axes.set_xticks(range(-180, 181, 90))
                axes.set_title(f"{information[row]:.2f} nats", loc="right")
                if row == n_modes - 1:
                    axes.set_xlabel(f"{name} ({'degrees' if angle else unit or 'reduced units'})")
                if place == 0:
                    axes.set_ylabel(f"mode {row}:  $\\omega_{{{row}}} Q_{{{row}}}$")
        _write(figure, path)
