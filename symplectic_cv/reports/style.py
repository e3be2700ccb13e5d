"""The house style of the figures, and how a figure is made and saved.

Every figure is a function `plot_…(…, ax=None)` that draws into given Axes, or makes a Figure in
the house style, and returns the Axes. It writes nothing; `save_figure` does. Matplotlib's own
settings are the same after a call as before it, and pyplot is not used: the Axes' `figure` shows
itself where it is the last line of a notebook's cell. Angles are given in radians and drawn in
degrees.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import write_atomically

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PINK, GREY = "#E69F00", "#56B4E9", "#CC79A7", "#6B6B6B"
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY, "#000000")
"""Okabe and Ito's colours, which the colour-blind tell apart, most distinct first."""

DPI = 130
MOST_POINTS = 20_000
"""Frames that a scatter plot shows at most."""
MOST_TORSIONS = 6
"""Torsions that one figure shows at most."""
LONG_PS = 10_000.0
"""Times from here on are drawn in ns."""

INK = "#444444"
STYLE: Any = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
}

P = ParamSpec("P")
R = TypeVar("R")


def in_house_style(plot: Callable[P, R]) -> Callable[P, R]:
    """Makes a function draw in the house style; Matplotlib's settings return to what they were."""

    @functools.wraps(plot)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return plot(*args, **kwargs)

    return styled


@in_house_style
def new_panels(rows: int, columns: int, width: float, height: float, **kwargs: Any) -> np.ndarray:
    """The Axes of a new Figure in the house style, an array of shape (rows, columns).

    Args:
        rows: The number of rows of panels.
        columns: The number of columns of panels.
        width: The width of the figure in inches.
        height: The height of the figure in inches.
        kwargs: What `Figure.subplots` takes besides, such as `sharex`.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for panel in panels.flat:
        # ticks are made when the figure is drawn, with the settings of that time
        panel.tick_params(
            color=INK,
            labelcolor=INK,
            labelsize=STYLE["font.size"],
            grid_color=STYLE["grid.color"],
            grid_linewidth=STYLE["grid.linewidth"],
        )
    return panels


def one_panel(ax: Axes | None, width: float, height: float) -> Axes:
    """The given Axes, or those of a new Figure of this width and height in inches."""
    if ax is not None:
        return ax
    panel: Axes = new_panels(1, 1, width, height)[0, 0]
    return panel


def several_panels(
    axes: Sequence[Axes] | np.ndarray | None,
    rows: int,
    columns: int,
    width: float,
    height: float,
    **kwargs: Any,
) -> np.ndarray:
    """The given Axes as an array (rows, columns), or those of a new Figure.

    Args:
        axes: The panels, row by row; a new Figure is made where None.
        rows: The number of rows of panels.
        columns: The number of columns of panels.
        width: The width of a new figure in inches.
        height: The height of a new figure in inches.
        kwargs: What `Figure.subplots` takes besides.

    Raises:
        OptionError: `axes` has another number of panels.
    """
    if axes is None:
        return new_panels(rows, columns, width, height, **kwargs)
    given = np.array(axes, dtype=object).ravel()
    if len(given) != rows * columns:
        raise OptionError(
            f"`axes` must have {rows * columns} panels ({rows} rows of {columns}); got {len(given)}"
        )
    return given.reshape(rows, columns)


def save_figure(figure: Figure | Axes | Sequence[Axes] | np.ndarray, path: str | Path) -> None:
    """Writes a figure as PNG, whole or not at all.

    Args:
        figure: The figure, or Axes of it as the plotting functions return them.
        path: The file to write.
    """
    if isinstance(figure, Figure):
        whole = figure
    else:
        panel: Axes = np.array(figure, dtype=object).flat[0]
        whole = panel.get_figure(root=True)  # type: ignore[assignment]
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        whole.savefig(content, format="png", dpi=DPI)
    write_atomically(Path(path), content.getvalue())


def frames_to_draw(n_frames: int, seed: int = 0, most: int = MOST_POINTS) -> np.ndarray:
    """Indices of frames in random order, because later points hide earlier ones."""
    return np.random.default_rng(seed).permutation(n_frames)[:most]


def span(values: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that leave out the outermost 0.05 % of the values on each side."""
    low, high = np.percentile(values, [0.05, 99.95])
    room = 0.06 * (high - low) + 1e-6
    return float(low - room), float(high + room)


def torsion_label(name: str) -> str:
    """The name of a torsion with Greek letters.

    Example:
        >>> torsion_label("phi_ALA2")
        'φ ALA2'
    """
    greek = {"phi": "φ", "psi": "ψ", "omega": "ω", **{f"chi{k}": f"χ{k}" for k in range(1, 6)}}
    kind, _, rest = name.partition("_")
    return f"{greek[kind]} {rest}".strip() if kind in greek else name


def mode_label(mode: int) -> str:
    """The label of an axis along one mode."""
    return rf"mode {mode}, $\omega_{{{mode}}}Q_{{{mode}}}$ (dimensionless)"


def descriptor_label(name: str, unit: str) -> str:
    """The label of an axis along a mode, torsion or distance.

    Example:
        >>> descriptor_label("phi", "rad")
        'φ (degrees)'
    """
    shown = {"rad": " (degrees)", "nm": " (nm)", "": " (dimensionless)"}[unit]
    return torsion_label(name).replace("mode_", "mode ") + shown


def time_axis(time_ps: np.ndarray) -> tuple[np.ndarray, str]:
    """Times to draw and the label of their axis: in ps, and in ns from 10 ns on."""
    time = np.asarray(time_ps, dtype=np.float64)
    if len(time) > 0 and time[-1] >= LONG_PS:
        return time / 1000.0, "time (ns)"
    return time, "time (ps)"


def without_frame(ax: Axes) -> None:
    """Takes away the spines and tick marks of a panel."""
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)


def angle_axis(axis: Any, step: int = 60) -> None:
    """Makes an axis (`ax.xaxis` or `ax.yaxis`) span all angles in degrees."""
    axis.axes.set(**{f"{axis.axis_name}lim": (-180, 180)})
    axis.set_major_locator(FixedLocator(range(-180, 181, step)))


def torsion_axes(ax: Axes) -> None:
    """Makes a panel the plane of two torsions in degrees."""
    angle_axis(ax.xaxis)
    angle_axis(ax.yaxis)


def plain_log_axis(axis: Any) -> None:
    """Writes the numbers of a logarithmic axis as 1, 2, 5, 10, …, not as powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
