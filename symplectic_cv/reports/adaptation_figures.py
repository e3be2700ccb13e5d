"""The figure of an adaptive loop: how often each round crosses, and its slowest frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.adaptation.round_folders import RoundModel
from symplectic_cv.reports.style import (
    BLUE,
    GREY,
    VERMILLION,
    in_house_style,
    plain_log_axis,
    several_panels,
)

MOST_FREQUENCIES = 10


@in_house_style
def plot_rounds(
    progress: Sequence[RoundProgress],
    models: Sequence[RoundModel],
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Crossings per ns of every round with the length of its run, and its slowest frequencies.

    Args:
        progress: What each round brought; round 0 is the data that the loop began with.
        models: The models of rounds 1, 2, …
        axes: The two Axes to draw into; a new Figure is made where None.

    Returns:
        The two Axes.
    """
    # a bar is as wide as what is written below it
    size = (max(8.2, 1.3 * len(progress)), 3.6)
    left, right = several_panels(axes, 1, 2, *size)[0]
    rounds = [row.round for row in progress]
    heights = [0.0 if np.isnan(row.crossings_per_ns) else row.crossings_per_ns for row in progress]
    bars = left.bar(rounds, heights, 0.6, color=[GREY if r == 0 else BLUE for r in rounds])
    left.bar_label(bars, [_rate(row) for row in progress], padding=2)
    left.set_ylim(0.0, 1.15 * max([*heights, 1.0]))
    left.set_xticks(rounds, [_run(row) for row in progress], fontsize=9.0)
    left.set_xlim(min(rounds) - 0.6, max(rounds) + 0.6)
    left.set_xlabel("round, and the length of its run")
    left.set_ylabel("crossings between states (1/ns)")
    right.set_yscale("log")
    for number, model in enumerate(models, 1):
        omega = np.array(model.omega[:MOST_FREQUENCIES])
        biased = np.isin(np.arange(len(omega)), model.modes)
        x = np.full(len(omega), number)
        right.scatter(x[~biased], omega[~biased], s=22, color=GREY)
        right.scatter(x[biased], omega[biased], s=44, color=VERMILLION)
    right.scatter([], [], s=44, color=VERMILLION, label="biased")
    right.scatter([], [], s=22, color=GREY, label="the next slowest")
    right.legend(loc="lower left", ncols=2, bbox_to_anchor=(0.0, 1.0))
    right.set_xlabel("round")
    right.set_ylabel(r"frequency $\omega_k$ (rad/ps)")
    plain_log_axis(right.yaxis)
    right.set_xlim(0.5, len(models) + 0.5)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    return np.array([left, right])


def _rate(row: RoundProgress) -> str:
    """Crossings per ns, to stand above a bar; their number where the time is unknown."""
    rate = row.crossings_per_ns
    if np.isnan(rate):
        return f"{row.crossings} in all"
    return f"{rate:,.0f}" if rate >= 100.0 else f"{rate:.3g}"


def _run(row: RoundProgress) -> str:
    """The label of a bar: its run and the length of the run."""
    name = str(row.round) if row.round else "start"
    return f"{name}\n" + ("unknown" if np.isnan(row.time_ns) else f"{row.time_ns:g} ns")
