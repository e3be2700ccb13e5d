"""The figures of runs in OpenMM, from the tables in the runs' folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from symplectic_cv.bias.results import CONVERGENCE, Convergence
from symplectic_cv.bias.run import OPES, SURFACE, BiasedRun
from symplectic_cv.bias.umbrella import UmbrellaResult, Windows
from symplectic_cv.bias.well_tempered import known_free_energy
from symplectic_cv.files.tables import read_table
from symplectic_cv.reports.bias_figures import (
    plot_convergence,
    plot_modes_over_time,
    plot_umbrella,
)
from symplectic_cv.reports.free_energy_figures import (
    plot_free_energy_estimates,
    plot_free_energy_with_error,
)
from symplectic_cv.reports.style import save_figure

FREE_ENERGY = "free_energy.png"
"""The figure of a run along one mode or two."""


def draw_biased_run(folder: str | Path) -> list[Path]:
    """Draws the modes over time, the free energy and its convergence into a run's folder.

    Args:
        folder: The folder of a biased run, or the common folder of several walkers.

    Returns:
        The paths of the figures. A run along three modes has no figure of the free energy, and a
        run that found one basin has none of the convergence.

    Raises:
        OutputError: A table of the run is missing or damaged.
    """
    folder = Path(folder)
    run = BiasedRun.read(folder)
    labels = [f"{name.replace('_', ' ')} (dimensionless)" for name in run.record.modes]
    order = np.argsort(run.frames.time_ps, kind="stable")
    two_lines = [label.replace(" (", "\n(") for label in labels]
    modes = [*run.frames.modes[order].T]
    panels = plot_modes_over_time(run.frames.time_ps[order], modes, two_lines)
    paths = [folder / "modes.png"]
    save_figure(panels, paths[0])
    if len(labels) <= 2:
        paths.append(folder / FREE_ENERGY)
        save_figure(_free_energy(folder, run, labels), paths[-1])
    table = read_table(folder / CONVERGENCE)
    convergence = folder / "convergence.png"
    if len(table) > 0:
        paths.append(convergence)
        save_figure(plot_convergence(Convergence(*table.to_numpy().T)), convergence)
    else:  # there is one basin, so there is no difference to follow
        convergence.unlink(missing_ok=True)
    return paths


def _free_energy(folder: Path, run: BiasedRun, labels: list[str]) -> Axes | np.ndarray:
    record = run.record
    grid = record.grid.axes
    with np.load(folder / SURFACE) as archive:
        bias, reweighted, error = (archive[name] for name in ("bias", "reweighted", "error"))
    known = None if record.method == OPES else known_free_energy(bias, record.bias_factor)
    if len(labels) == 1:
        return plot_free_energy_with_error(grid[0], reweighted, error, labels[0], known)
    return plot_free_energy_estimates(grid, reweighted, error, labels, known)


def draw_umbrella(folder: str | Path, windows: Windows, result: UmbrellaResult) -> Path:
    """Draws umbrella.png, the free energy along umbrella windows, into a folder; its path.

    Args:
        folder: An existing folder.
        windows: The windows.
        result: What `symplectic_cv.bias.umbrella.combine_windows` made of their frames.
    """
    path = Path(folder) / "umbrella.png"
    save_figure(plot_umbrella(windows, result), path)
    return path
