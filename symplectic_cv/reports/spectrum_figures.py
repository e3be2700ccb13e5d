"""The figure of a model's excitation spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from symplectic_cv.analysis.spectrum import PowerSpectrum, spectral_density
from symplectic_cv.reports.style import (
    BLUE,
    SKY,
    VERMILLION,
    in_house_style,
    plain_log_axis,
    several_panels,
)

LOG_RANGE = 30.0
"""Frequencies that span more than this are drawn on a logarithmic axis."""


@in_house_style
def plot_spectrum(
    omega: np.ndarray,
    power: PowerSpectrum,
    unit: str,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Histogram of the modes' frequencies, and the power spectrum S(ω) below.

    Args:
        omega: The learned frequencies, shape (n,).
        power: The power spectrum of an observable, on the same scale.
        unit: The unit of ω: "rad/ps" or "reduced units".
        axes: The two Axes to draw into, the upper one first; a new Figure is made where None.

    Returns:
        The two Axes.
    """
    omega = np.sort(np.asarray(omega, dtype=np.float64))
    log = omega[-1] > LOG_RANGE * omega[0]
    # between its lines the spectrum falls to rounding: drawn from below the weakest mode on
    weakest = float(np.interp(omega, power.omega, power.density).min())
    top = float(power.density.max())
    floor = max(1e-2 * weakest, 1e-10 * top)
    last = max(omega[-1], float(power.omega[power.density > floor].max()))
    panels = several_panels(axes, 2, 1, 7.2, 5.8, sharex=True, height_ratios=[1, 1.5])
    modes, lines = panels[:, 0]
    _draw_modes(modes, omega, log)
    _draw_lines(lines, omega, power, unit)
    lines.set_ylim(floor, 4.0 * top)
    lines.set_xlabel(rf"frequency $\omega$ ({unit})")
    for ax in (modes, lines):
        if log:
            ax.set_xscale("log")
            plain_log_axis(ax.xaxis)
            ax.set_xlim(0.6 * omega[0], 1.2 * last)
        else:
            ax.set_xlim(-0.015 * last, 1.06 * last)
    return np.array([modes, lines])


def _draw_modes(ax: Axes, omega: np.ndarray, log: bool) -> None:
    n_bins = int(np.clip(2.0 * np.sqrt(len(omega)), 8, 40))
    low, high = (0.9 * omega[0], 1.1 * omega[-1]) if log else (0.0, 1.02 * omega[-1])
    edges = np.geomspace(low, high, n_bins + 1) if log else np.linspace(low, high, n_bins + 1)
    ax.hist(omega, edges.tolist(), color=SKY, edgecolor="white", label="modes per bin")
    if log:  # its width is relative to ω, so that it suits this axis alone
        points, density = spectral_density(omega)
        # modes in a bin of the bars' width around ω
        modes = len(omega) * density * points * np.log(edges[1] / edges[0])
        ax.plot(points, modes, color=BLUE, linewidth=1.4, label="smoothed")
        ax.legend(loc="upper left")
    ax.set_ylabel("number of modes")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _draw_lines(ax: Axes, omega: np.ndarray, power: PowerSpectrum, unit: str) -> None:
    per = "ps² per rad/ps" if unit == "rad/ps" else unit
    ax.set_yscale("log")
    label = rf"$S(\omega)$, resolution {power.resolution:.2g}" + (
        f" {unit}" if unit == "rad/ps" else ""
    )
    ax.plot(power.omega, power.density, color=BLUE, linewidth=0.9, label=label)
    ax.plot(
        omega,
        np.full(len(omega), 1.03),  # above the panel, where nothing hides the marks
        "|",
        transform=ax.get_xaxis_transform(),
        clip_on=False,
        color=VERMILLION,
        markersize=9,
        markeredgewidth=1.1,
        label=r"learned $\omega_k$",
    )
    ax.set_ylabel(rf"power spectrum $S(\omega)$" f"\n({per})")
    ax.legend(loc="upper right")
