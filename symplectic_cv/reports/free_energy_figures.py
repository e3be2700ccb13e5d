"""Figures of reweighted free energies, with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FixedLocator

from symplectic_cv.bias.surfaces import BinnedSurface
from symplectic_cv.reports.figures import (
    BLUE,
    FREE_ENERGY_LIMIT,
    STYLE,
    _figure,
    _label,
    _write,
)

SPAN = 2.0
"""Standard errors on each side of the line that the band spans: about 95 %."""


def axis_label(name: str, unit: str) -> str:
    """`phi` in rad as φ (degrees)."""
    shown = {"rad": " (degrees)", "nm": " (nm)", "": " (dimensionless)"}[unit]
    return _label(name).replace("mode_", "mode ") + shown


def free_energy_profiles(
    path: Path, profiles: Sequence[BinnedSurface], units: Sequence[str]
) -> None:
    """Free energies along one descriptor each, with bands of two standard errors.

    Args:
        profiles: of one descriptor each.
        units: of the descriptors; `rad` is drawn in degrees.
    """
    columns = min(3, len(profiles))
    rows = -(-len(profiles) // columns)
    with mpl.rc_context(STYLE):
        figure = _figure(4.4 * columns, 3.4 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for panel in grid.flat[len(profiles) :]:
            panel.set_visible(False)
        for panel, profile, unit in zip(grid.flat, profiles, units, strict=False):
            x = np.degrees(profile.axes[0]) if unit == "rad" else profile.axes[0]
            line = np.where(profile.free_energy <= FREE_ENERGY_LIMIT, profile.free_energy, np.nan)
            panel.fill_between(
                x,
                line - SPAN * profile.error,
                line + SPAN * profile.error,
                color=BLUE,
                alpha=0.25,
                linewidth=0,
            )
            panel.plot(x, line, color=BLUE)
            beside = np.isfinite(np.pad(line, 1, constant_values=np.nan))
            alone = ~beside[:-2] & ~beside[2:]  # no line reaches them
            panel.plot(x[alone], line[alone], ".", color=BLUE)
            panel.set_xlabel(axis_label(profile.names[0], unit))
            panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
            if unit == "rad":
                panel.set_xlim(-180, 180)
                panel.xaxis.set_major_locator(FixedLocator(range(-180, 181, 90)))
        for row in grid:
            row[0].set_ylabel(f"free energy (kJ/mol)\nband: ± {SPAN:g} standard errors")
        _write(figure, path)
