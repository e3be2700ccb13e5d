"""Chains of six atoms with given torsions, for tests of modes of torsions."""

from __future__ import annotations

import numpy as np

BONDS = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def chain(torsions: np.ndarray, seed: int = 0) -> np.ndarray:
    """Chains of six atoms with these three torsions (F, 3) in rad, bonds of 0.15 nm, (F, 6, 3)."""
    n = len(torsions)
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 6, 3))
    x[:, 1] = [0.15, 0.0, 0.0]
    x[:, 2] = [0.2, 0.14, 0.0]
    for atom in range(3, 6):
        c, b, a = x[:, atom - 3], x[:, atom - 2], x[:, atom - 1]
        u = (a - b) / np.linalg.norm(a - b, axis=1, keepdims=True)
        m = c - b
        m -= (m * u).sum(1, keepdims=True) * u
        m /= np.linalg.norm(m, axis=1, keepdims=True)
        turn = torsions[:, atom - 3, None]
        across = np.cos(turn) * m + np.sin(turn) * np.cross(u, m)
        angle = np.radians(70.0) + rng.normal(0.0, 0.03, (n, 1))
        x[:, atom] = a + 0.15 * (np.cos(angle) * u + np.sin(angle) * across)
    return x
