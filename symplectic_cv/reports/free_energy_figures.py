"""Figures of free energies: along one variable, in a plane of two, with their errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.contour import QuadContourSet
from matplotlib.ticker import MaxNLocator

from symplectic_cv.bias.surfaces import BinnedSurface
from symplectic_cv.reports.style import (
    BLUE,
    VERMILLION,
    angle_axis,
    descriptor_label,
    in_house_style,
    one_panel,
    several_panels,
)

FREE_ENERGY_LIMIT = 40.0
"""Free energies above this are left blank, kJ/mol."""
ERROR_LIMIT = 5.0
"""Errors above this are drawn as this, kJ/mol."""
ROUND = [1, 2, 2.5, 5, 10]
"""Steps of the contours and of the marks of a colour bar, times powers of ten."""
BAND = 2.0
"""Standard errors to each side of a profile that its band spans: about 95 %."""


@in_house_style
def plot_free_energy(
    grid: Sequence[np.ndarray],
    free_energy: np.ndarray,
    labels: Sequence[str],
    maximum: float = FREE_ENERGY_LIMIT,
    binned: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """A free energy along one variable, as a curve, or in the plane of two, as filled contours.

    Args:
        grid: The grid points along each variable; `free_energy[i, j]` is at
            `(grid[0][i], grid[1][j])`.
        free_energy: The free energy on the grid in kJ/mol. Its lowest finite value is drawn as 0.
        labels: The labels of the variables, with units.
        maximum: The free energy in kJ/mol above which nothing is drawn.
        binned: Whether the grid points are the middles of bins, each of which is drawn, or points
            of a smooth surface, which is drawn between them.
        ax: The Axes to draw into; a new Figure is made where None.

    Example:
        >>> x = np.linspace(-2.0, 2.0, 41)
        >>> plot_free_energy([x], 5.0 * (x**2 - 1.0) ** 2, ["mode 0"]).get_ylabel()
        'free energy (kJ/mol)'
    """
    surface = np.array(free_energy, dtype=np.float64)
    surface[~np.isfinite(surface)] = np.inf
    surface = surface - surface.min()
    if surface.ndim == 1:
        ax = one_panel(ax, 6.4, 3.9)
        curve = np.where(surface <= maximum, surface, np.nan)
        ax.plot(grid[0], curve, color=BLUE)
        ax.fill_between(grid[0], curve, color=BLUE, alpha=0.12, linewidth=0)
        ax.set_ylim(0.0, 1.05 * min(maximum, max(float(np.nanmax(curve)), 1.0)))
        ax.set_ylabel("free energy (kJ/mol)")
    else:
        ax = one_panel(ax, 6.0, 4.8)
        ax.grid(False)
        drawn = np.ma.masked_greater(surface.T, maximum)
        top = min(maximum, max(float(drawn.max()), 1.0))
        image: ScalarMappable
        levels = MaxNLocator(20, steps=ROUND).tick_values(0.0, top)
        if binned:
            image = ax.pcolormesh(*grid, drawn, norm=BoundaryNorm(levels, 256))
        else:
            image = ax.contourf(*grid, drawn, levels=levels)
            ax.contour(*grid, drawn, levels=levels[::2], colors="white", linewidths=0.4)
        ticks = MaxNLocator(7, steps=ROUND)
        ax.figure.colorbar(image, ax=ax, label="free energy (kJ/mol)", pad=0.02, ticks=ticks)
        ax.set_ylabel(labels[1])
    ax.set_xlabel(labels[0])
    return ax


@in_house_style
def plot_free_energy_with_error(
    grid: np.ndarray,
    reweighted: np.ndarray,
    error: np.ndarray,
    label: str,
    from_bias: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The free energy of a biased run along one mode, with its standard error.

    Args:
        grid: The grid points along the mode, shape (n_points,).
        reweighted: The free energy from the weights of the frames in kJ/mol, infinite where
            unknown.
        error: The standard error of `reweighted` in kJ/mol.
        label: The label of the mode, with its unit.
        from_bias: The free energy from the bias in kJ/mol, where there is one.
        ax: The Axes to draw into; a new Figure is made where None.
    """
    ax = one_panel(ax, 6.8, 4.0)
    known = reweighted <= FREE_ENERGY_LIMIT
    curve = np.where(known, reweighted, np.nan)
    spread = np.where(known, np.minimum(error, ERROR_LIMIT), np.nan)
    ax.plot(grid, curve, color=BLUE, label="from the weights, ± standard error")
    ax.fill_between(grid, curve - spread, curve + spread, color=BLUE, alpha=0.25, linewidth=0)
    if from_bias is not None:
        other = np.where(from_bias <= FREE_ENERGY_LIMIT, from_bias, np.nan)
        ax.plot(grid, other, color=VERMILLION, linestyle="--", label="from the bias")
    ax.set_ylabel("free energy (kJ/mol)")
    ax.set_xlabel(label)
    ax.set_ylim(bottom=0.0)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2)
    return ax


@in_house_style
def plot_free_energy_estimates(
    grid: Sequence[np.ndarray],
    reweighted: np.ndarray,
    error: np.ndarray,
    labels: Sequence[str],
    from_bias: np.ndarray | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """The free energy of a biased run in the plane of two modes: its estimates and their error.

    Args:
        grid: The grid points along each mode.
        reweighted: The free energy from the weights of the frames, shape (n_points_0, n_points_1),
            in kJ/mol, infinite where unknown.
        error: The standard error of `reweighted` in kJ/mol.
        labels: The labels of the modes, with units.
        from_bias: The free energy from the bias in kJ/mol, where there is one.
        axes: The Axes to draw into, one for each estimate and one for the error; a new Figure is
            made where None.

    Returns:
        The Axes of the estimate from the bias where there is one, of the estimate from the weights,
        and of the error.
    """
    shown = [("from the bias", from_bias)] if from_bias is not None else []
    shown.append(("from the weights", reweighted))
    n_panels = len(shown) + 1
    size = (3.7 * n_panels, 3.7)
    panels = several_panels(axes, 1, n_panels, *size, sharex=True, sharey=True)[0]
    cut = [np.where(surface <= FREE_ENERGY_LIMIT, surface, np.nan) for _, surface in shown]
    top = max(float(np.nanmax(surface)) for surface in cut)
    levels = MaxNLocator(20, steps=ROUND).tick_values(0.0, max(top, 1.0))
    for panel, (title, _), surface in zip(panels, shown, cut, strict=False):
        image = _contours(panel, grid, surface, levels, "viridis")
        panel.set_title(title)
    figure = panels[0].figure
    estimates = list(panels[: len(shown)])
    ticks = MaxNLocator(7, steps=ROUND)
    label = "free energy (kJ/mol)"
    figure.colorbar(image, ax=estimates, label=label, pad=0.02, aspect=30, ticks=ticks)
    spread = np.where(np.isfinite(cut[-1]), np.minimum(error, ERROR_LIMIT), np.nan)
    largest = max(float(np.nanmax(spread)), 0.1)
    levels = MaxNLocator(12, steps=ROUND).tick_values(0.0, largest)
    image = _contours(panels[-1], grid, spread, levels, "cividis")
    panels[-1].set_title("standard error, from the weights")
    more = f", {ERROR_LIMIT:g}: this or more" if largest == ERROR_LIMIT else ""
    label = f"error (kJ/mol{more})"
    ticks = MaxNLocator(7, steps=ROUND)
    figure.colorbar(image, ax=panels[-1], label=label, pad=0.02, aspect=30, ticks=ticks)
    known = np.any([np.isfinite(surface) for surface in cut], axis=0)
    for panel in panels:
        panel.set_xlim(_limits(grid[0], known.any(1)))
        panel.set_ylim(_limits(grid[1], known.any(0)))
        panel.set_xlabel(labels[0])
        panel.xaxis.set_major_locator(MaxNLocator(5))
    panels[0].set_ylabel(labels[1])
    return panels


@in_house_style
def plot_free_energy_profiles(
    profiles: Sequence[BinnedSurface],
    units: Sequence[str],
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Free energies along one descriptor each, with bands of two standard errors to each side.

    Args:
        profiles: The free energies, each of one descriptor.
        units: The units of the descriptors: "rad", "nm" or "" for none. Angles are drawn in
            degrees.
        axes: The Axes to draw into, one for each profile; a new Figure is made where None.

    Returns:
        The Axes, one for each profile.
    """
    columns = min(3, len(profiles)) if axes is None else len(profiles)
    rows = -(-len(profiles) // columns)
    grid = several_panels(axes, rows, columns, 3.5 * columns, 3.0 * rows)
    for unused in grid.flat[len(profiles) :]:
        unused.set_visible(False)
    panels = grid.ravel()[: len(profiles)]
    for ax, profile, unit in zip(panels, profiles, units, strict=True):
        x = np.degrees(profile.axes[0]) if unit == "rad" else profile.axes[0]
        line = np.where(profile.free_energy <= FREE_ENERGY_LIMIT, profile.free_energy, np.nan)
        low, high = line - BAND * profile.error, line + BAND * profile.error
        ax.fill_between(x, low, high, color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(x, line, color=BLUE)
        beside = np.isfinite(np.pad(line, 1, constant_values=np.nan))
        alone = ~beside[:-2] & ~beside[2:]  # no line reaches them
        ax.plot(x[alone], line[alone], ".", color=BLUE)
        ax.set_xlabel(descriptor_label(profile.names[0], unit))
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        if unit == "rad":
            angle_axis(ax.xaxis, 90)
    for row in grid:
        row[0].set_ylabel(f"free energy (kJ/mol)\nband: ± {BAND:g} standard errors")
    return panels


def _contours(
    ax: Axes,
    grid: Sequence[np.ndarray],
    surface: np.ndarray,
    levels: Sequence[float],
    colours: str,
) -> QuadContourSet:
    ax.grid(False)
    return ax.contourf(*grid, np.ma.masked_invalid(surface.T), levels=levels, cmap=colours)


def _limits(points: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that show all known points, with some room."""
    here = points[known]
    room = 0.05 * (here[-1] - here[0]) + 1e-6
    return float(here[0] - room), float(here[-1] + room)
