"""The figure of a latent path, or of a scan along one mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from symplectic_cv.paths.latent_path import LatentPath
from symplectic_cv.paths.path import ComparedPaths
from symplectic_cv.reports.style import (
    BLUE,
    GREEN,
    GREY,
    MOST_TORSIONS,
    ORANGE,
    PINK,
    SKY,
    VERMILLION,
    angle_axis,
    in_house_style,
    mode_label,
    save_figure,
    several_panels,
    torsion_label,
)

FIGURE = "path.png"

TORSION_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY)


@in_house_style
def plot_path(
    log_likelihood: np.ndarray,
    others: Mapping[str, np.ndarray] | None = None,
    angles: np.ndarray | None = None,
    straight_angles: np.ndarray | None = None,
    names: Sequence[str] = (),
    scan: tuple[int, np.ndarray] | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """The log-likelihood and the torsions along a latent path, or along a scan of one mode.

    Args:
        log_likelihood: The log-likelihood of the points, shape (n_points,), in nats.
        others: The log-likelihood along other paths between the same ends, by name, the straight
            line first; at most three are drawn.
        angles: The torsions of the points, shape (n_points, n_torsions), in radians.
        straight_angles: The torsions along the straight line, of the same shape.
        names: The names of the torsions; the first six are drawn.
        scan: The number of the scanned mode and its values at the points, shape (n_points,), where
            the points are a scan and no path.
        axes: The Axes to draw into, one for the log-likelihood and, with torsions, one for them;
            a new Figure is made where None.

    Returns:
        The one or two Axes.
    """
    names = names[:MOST_TORSIONS] if angles is not None else ()
    along = np.linspace(0.0, 1.0, len(log_likelihood)) if scan is None else scan[1]
    rows = 2 if names else 1
    size = (7.2, 6.2 if names else 3.6)
    panels = several_panels(axes, rows, 1, *size, sharex=True, height_ratios=[1, 1.2][:rows])[:, 0]
    label = "latent path" if scan is None else f"mode {scan[0]}, the others held"
    panels[0].plot(along, log_likelihood, color=BLUE, label=label)
    styles = zip((VERMILLION, GREEN, GREY), ("--", ":", "-."), strict=True)
    for (name, other), (colour, dashes) in zip((others or {}).items(), styles, strict=False):
        panels[0].plot(along, other, color=colour, linestyle=dashes, label=name)
    panels[0].set_ylabel("ln ρ(q) (nats, q in ps)")
    panels[0].legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1.0))
    if names and angles is not None:
        for place, (colour, name) in enumerate(zip(TORSION_COLOURS, names, strict=False)):
            curve = _unbroken(along, np.degrees(angles[:, place]))
            panels[1].plot(*curve, color=colour, label=torsion_label(name))
            if straight_angles is not None:
                curve = _unbroken(along, np.degrees(straight_angles[:, place]))
                panels[1].plot(*curve, color=colour, linestyle="--", linewidth=1.1)
        angle_axis(panels[1].yaxis)
        kinds = "" if straight_angles is None else "\nfull: latent, dashed: straight"
        panels[1].set_ylabel("torsion (degrees)" + kinds)
        panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    position = "position along the path (0: start, 1: end)"
    panels[-1].set_xlabel(position if scan is None else mode_label(scan[0]))
    panels[-1].set_xlim(float(along[0]), float(along[-1]))
    return panels


def _unbroken(along: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line of angles with gaps where it leaves at one edge and enters at the other."""
    jumps = np.flatnonzero(np.abs(np.diff(degrees)) > 180.0) + 1
    return np.insert(along, jumps, np.nan), np.insert(degrees, jumps, np.nan)


def draw_path(
    folder: str | Path,
    path: LatentPath,
    compared: ComparedPaths | None = None,
    scan: int | None = None,
) -> Path:
    """Draws path.png, a path beside the straight lines between its ends, into a folder.

    Args:
        folder: An existing folder.
        path: The path.
        compared: The path with the straight lines, from `symplectic_cv.paths.path.compare_paths`;
            they are left out where None.
        scan: The mode that moves alone along the path; None for a path between two structures.

    Returns:
        The path of the figure.
    """
    others = {} if compared is None else compared.others
    panels = plot_path(
        path.log_likelihood,
        {name: other.log_likelihood for name, other in others.items()},
        path.angles,
        None if compared is None else compared.straight.angles,
        [torsion.name for torsion in path.torsions],
        scan=None if scan is None else (scan, path.latent[:, scan]),
    )
    target = Path(folder) / FIGURE
    save_figure(panels, target)
    return target
