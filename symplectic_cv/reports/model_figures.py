"""Figures of a model: frequencies, what modes tell of torsions, the latent plane, the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from symplectic_cv.reports.figures import (
    BLUE,
    GREY,
    MOST_TORSIONS,
    SKY,
    STYLE,
    VERMILLION,
    _bare,
    _draw,
    _figure,
    _label,
    _mode_label,
    _span,
    _torsion_axes,
    _write,
)

MOST_RESIDUES = 4


def frequency_spectrum(path: Path, omega: np.ndarray, n_slow: int) -> None:
    """Frequencies (n,) in rad/ps on a log scale; the `n_slow` slowest stand out."""
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 3.9)
        axes = figure.add_subplot()
        modes = np.arange(len(omega))
        axes.set_yscale("log")
        axes.plot(modes, omega, color="#B8B8B8", linewidth=1.0, zorder=1)
        axes.scatter(modes[n_slow:], omega[n_slow:], s=26, color=GREY, label="other modes")
        listed = ", ".join(f"{value:.3g}" for value in omega[: min(n_slow, 5)])
        label = f"slow modes: {listed}{', …' if n_slow > 5 else ''} rad/ps"
        axes.scatter(modes[:n_slow], omega[:n_slow], s=58, color=VERMILLION, zorder=3, label=label)
        axes.set_xlabel("mode number k")
        axes.set_ylabel(r"frequency $\omega_k$ (rad/ps)")
        axes.set_ylim(omega.min() / 1.8, omega.max() * 1.8)
        axes.set_xlim(-0.7, len(omega) - 0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=13))
        period = axes.secondary_yaxis("right", functions=(_reciprocal, _reciprocal))
        period.set_ylabel(r"period $2\pi/\omega_k$ (ps)")
        for axis in (axes.yaxis, period.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.legend(loc="lower right")
        _write(figure, path)


def information_map(path: Path, information: np.ndarray, names: Sequence[str]) -> None:
    """Mutual information (K, T) in nats of K modes with T named torsions."""
    n_modes, n_torsions = information.shape
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = _figure(max(4.8, 0.62 * n_modes + 2.2), 1.5 + 0.45 * n_torsions)
        axes = figure.add_subplot()
        top = max(float(information.max()), 1e-3)
        image = axes.imshow(information.T, cmap="cividis", vmin=0.0, vmax=top, aspect="auto")
        for mode in range(n_modes):
            for torsion in range(n_torsions):
                value = information[mode, torsion]
                colour = "black" if value > 0.55 * top else "white"
                text = f"{value:.2f}"
                axes.text(mode, torsion, text, ha="center", va="center", color=colour, fontsize=8.5)
        axes.set_xticks(range(n_modes))
        axes.set_yticks(range(n_torsions), [_label(name) for name in names])
        axes.set_xlabel("mode number k (0 is the slowest)")
        _bare(axes)
        figure.colorbar(image, ax=axes, label="mutual\ninformation (nats)", pad=0.02)
        _write(figure, path)


def latent_plane(
    path: Path, modes: np.ndarray, angles: np.ndarray, names: Sequence[str], seed: int = 0
) -> None:
    """Frames in the plane of modes 0 and 1, one panel per torsion that colours them.

    Args:
        modes: (F, n), dimensionless, n at least 2.
        angles: (F, T) in radians; without torsions one plain panel is drawn.
    """
    drawn = _draw(len(modes), seed)
    n_panels = max(1, min(len(names), MOST_TORSIONS))
    columns = min(n_panels, 3) if n_panels != 4 else 2
    rows = -(-n_panels // columns)
    limits = [_span(modes[:, k]) for k in (0, 1)]
    with mpl.rc_context(STYLE):
        # the cyclic map is nearly white in its middle: a darker ground keeps every point visible
        figure = _figure(3.9 * columns + 0.9, 3.7 * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        points = None
        for panel, axes in enumerate(grid.flat):
            if panel >= n_panels:
                axes.set_visible(False)
                continue
            if names:
                axes.set_facecolor("#A9ADB3")
                axes.grid(False)
                points = axes.scatter(
                    *modes[drawn, :2].T,
                    c=np.degrees(angles[drawn, panel]),
                    cmap="twilight",
                    vmin=-180.0,
                    vmax=180.0,
                    s=2.5,
                    linewidths=0,
                )
                axes.set_title(f"coloured by {_label(names[panel])}")
            else:
                axes.scatter(*modes[drawn, :2].T, s=2.5, color=BLUE, alpha=0.4, linewidths=0)
            axes.set_xlim(limits[0])
            axes.set_ylim(limits[1])
            axes.set_xlabel(_mode_label(0))
            axes.set_ylabel(_mode_label(1))
            axes.label_outer()
        if points is not None:
            _degree_bar(figure, points, grid, "torsion (degrees)")
        _write(figure, path)


def ramachandran(
    path: Path,
    modes: np.ndarray,
    planes: Sequence[tuple[str, np.ndarray, np.ndarray]],
    seed: int = 0,
) -> None:
    """Frames in the plane of phi and psi coloured by modes 0 and 1.

    Args:
        modes: (F, n), dimensionless.
        planes: for each residue its name (may be empty), phi and psi (F,) in radians.
    """
    drawn = _draw(len(modes), seed)
    planes = planes[:MOST_RESIDUES]
    shown = range(min(2, modes.shape[1]))
    with mpl.rc_context(STYLE):
        figure = _figure(4.7 * len(shown), 3.7 * len(planes))
        grid = figure.subplots(len(planes), len(shown), squeeze=False)
        for row, (residue, phi, psi) in zip(grid, planes, strict=True):
            for mode, axes in zip(shown, row, strict=True):
                low, high = np.percentile(modes[:, mode], [1.0, 99.0])
                points = axes.scatter(
                    np.degrees(phi[drawn]),
                    np.degrees(psi[drawn]),
                    c=modes[drawn, mode],
                    cmap="viridis",
                    vmin=low,
                    vmax=high,
                    s=2.5,
                    linewidths=0,
                )
                _torsion_axes(axes)
                axes.set_xlabel(f"φ {residue}".strip() + " (degrees)")
                axes.set_ylabel(f"ψ {residue}".strip() + " (degrees)")
                axes.set_title(f"coloured by mode {mode}")
                figure.colorbar(points, ax=axes, label=_mode_label(mode), extend="both", pad=0.02)
        _write(figure, path)


def training_history(
    path: Path, history: Mapping[str, np.ndarray], start: float | None = None
) -> None:
    """Loss over the training.

    Args:
        history: columns `step`, `train_nll` and `validation_nll` (nats per frame).
        start: validation NLL of the quasi-harmonic start, nats.
    """
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 3.4)
        axes = figure.add_subplot()
        axes.plot(history["step"], history["train_nll"], color=SKY, label="training")
        axes.plot(history["step"], history["validation_nll"], color=BLUE, label="validation")
        if start is not None:
            axes.axhline(start, color=VERMILLION, linestyle="--", linewidth=1.3)
            axes.annotate(
                "quasi-harmonic start",
                (1.0, start),
                xycoords=("axes fraction", "data"),
                xytext=(-4, -4),
                textcoords="offset points",
                ha="right",
                va="top",
                color=VERMILLION,
                fontsize=9,
            )
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("NLL of phase space (nats per frame)")
        axes.margins(x=0.02, y=0.1)
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.86))
        _write(figure, path)


def _reciprocal(value: ArrayLike) -> ArrayLike:
    """ω in rad/ps to the period in ps and back; Matplotlib also asks for 0."""
    return 2 * np.pi / np.maximum(np.asarray(value, dtype=np.float64), 1e-12)


def _degree_bar(figure: Figure, points: Any, grid: np.ndarray, label: str) -> None:
    bar = figure.colorbar(points, ax=grid, label=label, pad=0.02)
    bar.set_ticks(list(range(-180, 181, 60)))
