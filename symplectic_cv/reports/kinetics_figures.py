"""Figures of kinetics: scores and timescales of sets of variables, with their errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from symplectic_cv.analysis.kinetics import KineticComparison
from symplectic_cv.reports.style import (
    COLOURS,
    GREY,
    in_house_style,
    plain_log_axis,
    several_panels,
)

TIMESCALES = 3
"""Timescales that the figure shows at most."""


@in_house_style
def plot_kinetics(
    kinetics: KineticComparison, axes: Sequence[Axes] | np.ndarray | None = None
) -> np.ndarray:
    """VAMP-2 and implied timescales on held-out time, with standard errors.

    Args:
        kinetics: The comparison of the sets of variables.
        axes: The two Axes to draw into; a new Figure is made where None.

    Returns:
        The Axes of the scores and of the timescales.
    """
    score, times = several_panels(axes, 1, 2, 8.6, 3.6)[0]
    places = np.arange(len(kinetics.names))
    for place, colour in zip(places, COLOURS, strict=False):
        score.errorbar(
            place,
            kinetics.vamp2[place],
            kinetics.vamp2_error[place],
            fmt="o",
            color=colour,
            capsize=4,
            markersize=7,
        )
    score.set_ylabel(f"VAMP-2, lag {kinetics.lag_ps:g} ps")
    shown = kinetics.timescales[:, :TIMESCALES]
    known = shown > 0.0
    for k in range(shown.shape[1]):
        for place, colour in zip(places, COLOURS, strict=False):
            if known[place, k]:
                times.errorbar(
                    place + 0.22 * (k - 1),
                    shown[place, k],
                    kinetics.timescale_error[place, k],
                    fmt="osD"[k],
                    color=colour,
                    capsize=3,
                )
    # the lag tells nothing about processes that are much faster
    times.axhspan(1e-12, kinetics.lag_ps, color=GREY, alpha=0.12, linewidth=0)
    times.set_yscale("log")
    largest = float((shown + kinetics.timescale_error[:, :TIMESCALES]).max())
    times.set_ylim(0.5 * kinetics.lag_ps, 1.5 * max(largest, 2.0 * kinetics.lag_ps))
    plain_log_axis(times.yaxis)
    times.set_ylabel("implied timescales (ps)")
    for panel in (score, times):
        panel.set_xticks(places, kinetics.names)
        panel.set_xlim(-0.6, len(places) - 0.4)
        panel.grid(axis="x", visible=False)
    return np.array([score, times])
