"""All real roots of short trigonometric sums."""

from __future__ import annotations

import math

import numpy as np

NEAR = 1e-3
"""Distance from the unit circle at which a root of the polynomial is tried as a real angle."""
POLISH = 4
"""Newton steps of each root."""
EXACT = 1e-9
"""The greatest residual of a root, in units of the sum of all |coefficients|."""
SAME = 1e-7
"""Roots (rad) nearer to one another than this are one."""


def trigonometric_roots(
    coefficients: np.ndarray, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Angles t with Σ_m [a_m cos mt + b_m sin mt] = level, from a polynomial in e^{it}.

    Args:
        coefficients: a_m and b_m of m = 1 … M, shape (M, 2), not all zero.
        level: The values to reach, shape (B,).

    Returns:
        Angles in [0, 2π), shape (B, 2M), and which of them are roots.

    Example:
        >>> roots, real = trigonometric_roots(np.array([[1.0, 0.0]]), np.array([0.5, 2.0]))
        >>> np.sort(np.degrees(roots[0])).round(6).tolist(), real.sum(1).tolist()
        ([60.0, 300.0], [2, 0])
    """
    a, b = np.asarray(coefficients, dtype=np.float64).T
    size = np.abs(coefficients).sum()
    while len(a) > 1 and max(abs(a[-1]), abs(b[-1])) < 1e-13 * size:
        a, b = a[:-1], b[:-1]
    m = len(a)
    level = np.where(np.isfinite(level), level, 2.0 * size + 1.0)  # out of reach
    # 2 e^{iMt} times the sum less the level
    polynomial = np.zeros((len(level), 2 * m + 1), dtype=np.complex128)
    polynomial[:, m] = -2.0 * level
    for k in range(1, m + 1):
        polynomial[:, m + k] = a[k - 1] - 1j * b[k - 1]
        polynomial[:, m - k] = a[k - 1] + 1j * b[k - 1]
    companion = np.zeros((len(level), 2 * m, 2 * m), dtype=np.complex128)
    companion[:, np.arange(1, 2 * m), np.arange(2 * m - 1)] = 1.0
    companion[:, :, -1] = -polynomial[:, :-1] / polynomial[:, -1:]
    found = np.linalg.eigvals(companion)
    near = np.abs(np.log(np.maximum(np.abs(found), 1e-300))) < NEAR
    t = np.angle(found)
    turns = np.arange(1, m + 1)
    for _ in range(POLISH + 1):
        cos, sin = np.cos(t[..., None] * turns), np.sin(t[..., None] * turns)
        residual = cos @ a + sin @ b - level[:, None]
        slope = -sin @ (turns * a) + cos @ (turns * b)
        step = np.divide(residual, slope, out=np.zeros_like(t), where=np.abs(slope) > 1e-12 * size)
        t = t - np.clip(step, -0.01, 0.01)
    t = np.mod(t, 2.0 * math.pi)
    real = near & (np.abs(residual) < EXACT * size)
    for k in range(1, 2 * m):  # two starts may have found one root
        gap = np.abs(t[:, :k] - t[:, k : k + 1])
        gap = np.minimum(gap, 2.0 * math.pi - gap)
        real[:, k] &= ~((gap < SAME) & real[:, :k]).any(1)
    return t, real
