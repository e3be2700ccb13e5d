"""Figures: Matplotlib without a display, colours that colour-blind readers tell apart.

Every function draws one PNG and writes it whole. Angles come in radians and are drawn in
degrees; modes are the dimensionless ω_k Q_k.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from symplectic_cv.storage import write_atomically

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PINK, GREY = "#E69F00", "#56B4E9", "#CC79A7", "#6B6B6B"
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY, "#000000")
"""Okabe and Ito's colours, most distinct first."""

FREE_ENERGY_LIMIT = 40.0
"""Free energies above this are left blank, kJ/mol."""

DPI = 130
MOST_POINTS = 20_000
MOST_TORSIONS = 6
MOST_RESIDUES = 4

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


def free_energy_surface(
    path: Path,
    axes: Sequence[np.ndarray],
    free_energy: np.ndarray,
    labels: Sequence[str],
    maximum: float = FREE_ENERGY_LIMIT,
) -> None:
    """Free energy along one CV (a curve) or two (filled contours).

    Args:
        axes: grid values of each CV; `free_energy[i, j]` is at (axes[0][i], axes[1][j]).
        free_energy: (A,) or (A, B) in kJ/mol; its least finite value is drawn as 0.
        labels: of the CVs, with units.
        maximum: what lies above is cut, kJ/mol.
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
            levels = MaxNLocator(16).tick_values(0.0, top)
            image = panel.contourf(*axes, drawn, levels=levels, cmap="viridis", extend="neither")
            panel.contour(*axes, drawn, levels=levels[::2], colors="white", linewidths=0.4)
            figure.colorbar(image, ax=panel, label="free energy (kJ/mol)", pad=0.02)
            panel.set_ylabel(labels[1])
        panel.set_xlabel(labels[0])
        _write(figure, path)


def latent_path(
    path: Path,
    log_likelihood: np.ndarray,
    others: Mapping[str, np.ndarray],
    angles: np.ndarray,
    straight_angles: np.ndarray | None,
    names: Sequence[str],
    axis: tuple[int, np.ndarray] | None = None,
) -> None:
    """A latent path beside others between the same structures, or a scan of one mode.

    Args:
        log_likelihood: along the latent path, (P,) in nats.
        others: the same along other paths, by name; the straight line first.
        angles: torsions along the path, (P, T) in radians.
        straight_angles: those along the straight line, or None.
        names: of the torsions; the first six are drawn.
        axis: a scanned mode and its values, (P,), where it is no path.
    """
    progress = np.linspace(0.0, 1.0, len(log_likelihood)) if axis is None else axis[1]
    names = names[:MOST_TORSIONS]
    with mpl.rc_context(STYLE):
        figure = _figure(7.2, 6.2 if names else 3.6)
        panels = figure.subplots(
            2 if names else 1,
            1,
            sharex=True,
            squeeze=False,
            height_ratios=[1, 1.2][: 1 + bool(names)],
        )[:, 0]
        label = "latent path" if axis is None else f"mode {axis[0]}, the others held"
        panels[0].plot(progress, log_likelihood, color=BLUE, label=label)
        lines = zip(others.items(), (VERMILLION, GREEN, GREY), ("--", ":", "-."), strict=False)
        for (name, along), colour, style in lines:
            panels[0].plot(progress, along, color=colour, linestyle=style, label=name)
        panels[0].set_ylabel("ln ρ(q) (nats, q in ps)")
        panels[0].legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1.0))
        for place, (colour, name) in enumerate(
            zip((BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY), names, strict=False)
        ):
            along = np.degrees(angles[:, place])
            panels[1].plot(*_unbroken(progress, along), color=colour, label=_label(name))
            if straight_angles is not None:
                direct = np.degrees(straight_angles[:, place])
                panels[1].plot(
                    *_unbroken(progress, direct), color=colour, linestyle="--", linewidth=1.1
                )
        if names:
            panels[1].set_ylim(-180, 180)
            panels[1].yaxis.set_major_locator(FixedLocator(range(-180, 181, 60)))
            kinds = "" if straight_angles is None else "\nfull: latent, dashed: straight"
            panels[1].set_ylabel("torsion (degrees)" + kinds)
            panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        along_what = "position along the path (0: start, 1: end)"
        panels[-1].set_xlabel(along_what if axis is None else _mode_label(axis[0]))
        panels[-1].set_xlim(float(progress[0]), float(progress[-1]))
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


def _reciprocal(value: ArrayLike) -> ArrayLike:
    """ω in rad/ps to the period in ps and back; Matplotlib also asks for 0."""
    return 2 * np.pi / np.maximum(np.asarray(value, dtype=np.float64), 1e-12)


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


def _degree_bar(figure: Figure, points: Any, grid: np.ndarray, label: str) -> None:
    bar = figure.colorbar(points, ax=grid, label=label, pad=0.02)
    bar.set_ticks(list(range(-180, 181, 60)))


def _unbroken(progress: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line of angles with gaps where it leaves at one edge and enters at the other."""
    jumps = np.flatnonzero(np.abs(np.diff(degrees)) > 180.0) + 1
    return np.insert(progress, jumps, np.nan), np.insert(degrees, jumps, np.nan)
