"""Basins of a free-energy surface, found from the surface itself."""

from __future__ import annotations

import numpy as np

BARRIER = 1.0
"""The lowest barrier that parts two basins, in kT; lower ones are noise of the surface."""


def find_basins(surface: np.ndarray, barrier: float) -> np.ndarray:
    """The basin of each grid point; 0 is the deepest, −1 stands where the surface is infinite.

    The method is a watershed. Points are taken in the order of their height. Where two basins meet,
    the shallower one becomes a part of the deeper one, unless its minimum lies at least `barrier`
    below the meeting point.

    Args:
        surface: The free energy on an even grid of any dimension; infinite where nothing is known.
        barrier: The least barrier, in the units of the surface.

    Returns:
        Whole numbers in the shape of the surface.

    Source: persistence-based clustering, F. Chazal, L. Guibas, S. Oudot, P. Skraba,
    J. ACM 60, 41 (2013).

    Example:
        >>> find_basins(np.array([0.0, 5.0, 1.0, 1.5, 1.2, np.inf]), 2.0).tolist()
        [0, 0, 1, 1, 1, -1]
    """
    padded = np.pad(np.asarray(surface, dtype=np.float64), 1, constant_values=np.inf)
    flat = padded.ravel()
    strides = [int(np.prod(padded.shape[k + 1 :])) for k in range(padded.ndim)]
    steps = [sign * stride for stride in strides for sign in (-1, 1)]
    label = np.full(flat.size, -1, dtype=np.int64)
    parent: list[int] = []
    depth: list[float] = []

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    order = np.argsort(flat, kind="stable")[: int(np.isfinite(flat).sum())]
    for point in order.tolist():
        height = flat[point]
        near = {root(int(label[point + step])) for step in steps if label[point + step] >= 0}
        if not near:
            label[point] = len(parent)
            parent.append(len(parent))
            depth.append(float(height))
            continue
        deepest = min(near, key=lambda basin: (depth[basin], basin))
        label[point] = deepest
        for basin in near - {deepest}:
            if height - depth[basin] < barrier:
                parent[basin] = deepest
    roots = sorted({root(basin) for basin in range(len(parent))}, key=lambda b: depth[b])
    number = {basin: place for place, basin in enumerate(roots)}
    final = np.array([number[root(basin)] for basin in range(len(parent))] + [-1])
    inside = tuple(slice(1, -1) for _ in range(padded.ndim))
    return final[label].reshape(padded.shape)[inside]
