"""The figure of a model's excitation spectrum, in the style of the other figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from symplectic_cv.analysis.spectrum import PowerSpectrum, spectral_density
from symplectic_cv.reports.figures import BLUE, SKY, STYLE, VERMILLION, _figure, _write

LOG_RANGE = 30.0
"""Frequencies that span more than this are drawn on a log axis."""


def spectrum(path: Path, omega_modes: np.ndarray, power: PowerSpectrum, unit: str) -> None:
    """How many modes have which frequency, and the power spectrum S(ω) below.

    Args:
        omega_modes: learned frequencies (n,).
        power: of an observable, on the same scale.
        unit: of ω: "rad/ps" or "reduced units".
    """
    omega = np.sort(np.asarray(omega_modes, dtype=np.float64))
    log = omega[-1] > LOG_RANGE * omega[0]
    # between its lines the spectrum falls to rounding: drawn from below the weakest mode on
    weakest = float(np.interp(omega, power.omega, power.density).min())
    top = float(power.density.max())
    floor = max(1e-2 * weakest, 1e-10 * top)
    last = max(omega[-1], float(power.omega[power.density > floor].max()))
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 5.8)
        modes, lines = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.5])
        _draw_modes(modes, omega, log)
        _draw_lines(lines, omega, power, unit)
        lines.set_ylim(floor, 4.0 * top)
        lines.set_xlabel(rf"frequency $\omega$ ({unit})")
        if log:
            lines.set_xscale("log")
            lines.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
            lines.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            lines.xaxis.set_minor_formatter(NullFormatter())
            lines.set_xlim(0.6 * omega[0], 1.2 * last)
        else:
            lines.set_xlim(-0.015 * last, 1.06 * last)
        _write(figure, path)


def _draw_modes(axes: Axes, omega: np.ndarray, log: bool) -> None:
    n_bins = int(np.clip(2.0 * np.sqrt(len(omega)), 8, 40))
    low, high = (0.9 * omega[0], 1.1 * omega[-1]) if log else (0.0, 1.02 * omega[-1])
    edges = np.geomspace(low, high, n_bins + 1) if log else np.linspace(low, high, n_bins + 1)
    axes.hist(omega, edges.tolist(), color=SKY, edgecolor="white", label="modes per bin")
    if log:  # its width is relative to ω, so that it suits this axis alone
        grid, density = spectral_density(omega)
        # modes in a bin of the bars' width around ω
        modes = len(omega) * density * grid * np.log(edges[1] / edges[0])
        axes.plot(grid, modes, color=BLUE, linewidth=1.4, label="smoothed")
        axes.legend(loc="upper left")
    axes.set_ylabel("number of modes")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _draw_lines(axes: Axes, omega: np.ndarray, power: PowerSpectrum, unit: str) -> None:
    per = "ps² per rad/ps" if unit == "rad/ps" else unit
    axes.set_yscale("log")
    label = rf"$S(\omega)$, resolution {power.resolution:.2g}" + (
        f" {unit}" if unit == "rad/ps" else ""
    )
    axes.plot(power.omega, power.density, color=BLUE, linewidth=0.9, label=label)
    axes.plot(
        omega,
        np.full(len(omega), 1.03),  # above the panel, where nothing hides the marks
        "|",
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        color=VERMILLION,
        markersize=9,
        markeredgewidth=1.1,
        label=r"learned $\omega_k$",
    )
    axes.set_ylabel(rf"power spectrum $S(\omega)$" f"\n({per})")
    axes.legend(loc="upper right")
