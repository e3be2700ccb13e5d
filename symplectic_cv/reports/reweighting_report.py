"""The figures of reweighted free energies: profiles of all descriptors, and planes of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from symplectic_cv.bias.reweighted import Reweighted
from symplectic_cv.reports.free_energy_figures import plot_free_energy, plot_free_energy_profiles
from symplectic_cv.reports.style import angle_axis, descriptor_label, save_figure


def draw_reweighted(folder: str | Path, result: Reweighted) -> list[Path]:
    """Draws profiles.png and one plane_….png for each plane into a folder.

    Args:
        folder: An existing folder.
        result: The free energies with their descriptors.

    Returns:
        The paths of the figures, profiles first.
    """
    folder = Path(folder)
    units = {column.name: column.unit for column in result.columns}
    paths = [folder / "profiles.png"]
    panels = plot_free_energy_profiles(result.profiles, list(units.values()))
    save_figure(panels, paths[0])
    for plane in result.planes:
        path = folder / f"plane_{'_'.join(plane.names)}.png"
        grid = [
            np.degrees(axis) if units[name] == "rad" else axis
            for name, axis in zip(plane.names, plane.axes, strict=True)
        ]
        labels = [descriptor_label(name, units[name]) for name in plane.names]
        ax = plot_free_energy(grid, plane.free_energy, labels, binned=True)
        for axis, name in zip((ax.xaxis, ax.yaxis), plane.names, strict=False):
            if units[name] == "rad":
                angle_axis(axis)
        save_figure(ax, path)
        paths.append(path)
    return paths
