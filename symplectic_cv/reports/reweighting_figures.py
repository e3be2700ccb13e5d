"""The figures of reweighted free energies: profiles of all descriptors, and planes of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from symplectic_cv.bias.reweighting import Reweighted
from symplectic_cv.reports.figures import free_energy_surface
from symplectic_cv.reports.free_energy_figures import axis_label, free_energy_profiles


def draw_reweighted(folder: Path, result: Reweighted) -> list[Path]:
    """Draws profiles.png and one plane_….png for each plane into a folder.

    Args:
        folder: an existing folder.
        result: free energies with their descriptors.

    Returns:
        Paths of the figures, profiles first.
    """
    units = {column.name: column.unit for column in result.columns}
    paths = [folder / "profiles.png"]
    free_energy_profiles(paths[0], result.profiles, [column.unit for column in result.columns])
    for plane in result.planes:
        path = folder / f"plane_{'_'.join(plane.names)}.png"
        axes = [
            np.degrees(axis) if units[name] == "rad" else axis
            for name, axis in zip(plane.names, plane.axes, strict=True)
        ]
        labels = [axis_label(name, units[name]) for name in plane.names]
        free_energy_surface(path, axes, plane.free_energy, labels, binned=True)
        paths.append(path)
    return paths
