"""What all figures share: Matplotlib without a display, colours that the colour-blind tell apart.

Every function draws one PNG and writes it whole. Angles come in radians and are drawn in
degrees; modes are the dimensionless ω_k Q_k.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FixedLocator, MaxNLocator

from symplectic_cv.files.atomic import write_atomically

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PINK, GREY = "#E69F00", "#56B4E9", "#CC79A7", "#6B6B6B"
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY, "#000000")
"""Okabe and Ito's colours, most distinct first."""

FREE_ENERGY_LIMIT = 40.0
"""Free energies above this are left blank, kJ/mol."""

DPI = 130
MOST_POINTS = 20_000
MOST_TORSIONS = 6

STYLE: Any = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "figure.facecolor": "white",
}


def free_energy_surface(
    path: Path,
    axes: Sequence[np.ndarray],
    free_energy: np.ndarray,
    labels: Sequence[str],
    maximum: float = FREE_ENERGY_LIMIT,
    binned: bool = False,
) -> None:
    """Free energy along one CV (a curve) or two (filled contours).

    Args:
        axes: grid values of each CV; `free_energy[i, j]` is at (axes[0][i], axes[1][j]).
        free_energy: (A,) or (A, B) in kJ/mol; its least finite value is drawn as 0.
        labels: of the CVs, with units.
        maximum: what lies above is cut, kJ/mol.
        binned: whether the grid values are the middles of bins, each of which is then drawn, or
            points of a smooth surface, which is drawn between them.
    """
    surface = np.array(free_energy, dtype=np.float64)
    surface[~np.isfinite(surface)] = np.inf
    surface = surface - surface.min()
    with mpl.rc_context(STYLE):
        if surface.ndim == 1:
            figure = _figure(6.4, 3.9)
            panel = figure.add_subplot()
            curve = np.where(surface <= maximum, surface, np.nan)
            panel.plot(axes[0], curve, color=BLUE)
            panel.fill_between(axes[0], curve, color=BLUE, alpha=0.12, linewidth=0)
            panel.set_ylim(0.0, 1.05 * min(maximum, max(float(np.nanmax(curve)), 1.0)))
            panel.set_ylabel("free energy (kJ/mol)")
        else:
            figure = _figure(6.0, 4.8)
            panel = figure.add_subplot()
            panel.grid(False)
            drawn = np.ma.masked_greater(surface.T, maximum)
            top = min(maximum, max(float(drawn.max()), 1.0))
            image: ScalarMappable
            levels = MaxNLocator(16).tick_values(0.0, top)
            if binned:
                image = panel.pcolormesh(*axes, drawn, norm=BoundaryNorm(levels, 256))
            else:
                image = panel.contourf(*axes, drawn, levels=levels)
                panel.contour(*axes, drawn, levels=levels[::2], colors="white", linewidths=0.4)
            ticks = MaxNLocator(7)
            figure.colorbar(image, ax=panel, label="free energy (kJ/mol)", pad=0.02, ticks=ticks)
            panel.set_ylabel(labels[1])
        panel.set_xlabel(labels[0])
        _write(figure, path)


def time_series(
    path: Path, time_ps: np.ndarray, columns: Sequence[np.ndarray], labels: Sequence[str]
) -> None:
    """Values over time, one panel each.

    Args:
        time_ps: (F,) in ps; drawn in ns from 10 ns on.
        columns: each (F,).
        labels: of the columns, with units.
    """
    long = len(time_ps) > 0 and time_ps[-1] >= 10_000.0
    time = np.asarray(time_ps) / (1000.0 if long else 1.0)
    with mpl.rc_context(STYLE):
        figure = _figure(7.6, 0.6 + 1.75 * len(columns))
        panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
        for number, (panel, column, label) in enumerate(zip(panels, columns, labels, strict=True)):
            colour = COLOURS[number % len(COLOURS)]
            panel.plot(time, column, ",", color=colour, alpha=0.9)
            if len(time) <= MOST_POINTS:
                panel.plot(time, column, color=colour, linewidth=0.5, alpha=0.6)
            panel.set_ylabel(label)
        panels[-1].set_xlabel("time (ns)" if long else "time (ps)")
        panels[-1].margins(x=0.01)
        figure.align_ylabels(panels)
        _write(figure, path)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _write(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    write_atomically(Path(path), content.getvalue())


def _draw(n_frames: int, seed: int) -> np.ndarray:
    """Frames to draw, in random order: later points hide earlier ones."""
    return np.random.default_rng(seed).permutation(n_frames)[:MOST_POINTS]


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [0.05, 99.95])
    room = 0.06 * (high - low) + 1e-6
    return float(low - room), float(high + room)


def _label(name: str) -> str:
    """`phi_ALA2` as φ ALA2."""
    greek = {"phi": "φ", "psi": "ψ", "omega": "ω", **{f"chi{k}": f"χ{k}" for k in range(1, 6)}}
    kind, _, rest = name.partition("_")
    return f"{greek[kind]} {rest}".strip() if kind in greek else name


def _mode_label(mode: int) -> str:
    return rf"mode {mode}, $\omega_{{{mode}}}Q_{{{mode}}}$ (dimensionless)"


def _bare(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _torsion_axes(axes: Axes) -> None:
    axes.set_xlim(-180, 180)
    axes.set_ylim(-180, 180)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(range(-180, 181, 60)))
