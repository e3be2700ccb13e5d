"""The figure of a latent path, or of a scan along one mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FixedLocator

from symplectic_cv.reports.figures import (
    BLUE,
    GREEN,
    GREY,
    MOST_TORSIONS,
    ORANGE,
    PINK,
    SKY,
    STYLE,
    VERMILLION,
    _figure,
    _label,
    _mode_label,
    _write,
)


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


def _unbroken(progress: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line of angles with gaps where it leaves at one edge and enters at the other."""
    jumps = np.flatnonzero(np.abs(np.diff(degrees)) > 180.0) + 1
    return np.insert(progress, jumps, np.nan), np.insert(degrees, jumps, np.nan)
