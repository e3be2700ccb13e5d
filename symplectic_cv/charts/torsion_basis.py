"""Harmonics of torsions: the functions that modes of least frequency are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symplectic_cv.errors import OptionError

MOST_ORDERS = 3


def check_order(order: int) -> None:
    """Raises OptionError for an order that is not 1, 2 or 3."""
    if order not in range(1, MOST_ORDERS + 1):
        raise OptionError(f"`order` must be 1, 2 or {MOST_ORDERS}; got {order!r}")


def torsion_features(
    angles: np.ndarray, folds: Sequence[int], order: int
) -> tuple[np.ndarray, np.ndarray]:
    """The basis functions of torsions, and their derivatives by their own torsion.

    Args:
        angles: Torsions in rad, shape (n_frames, n_bonds).
        folds: The fold n_i of each bond.
        order: The highest harmonic, 1 to 3.

    Returns:
        ψ and ∂ψ/∂s, both of shape (n_frames, n_bonds · 2 · order): bond after bond, for each bond
        harmonic after harmonic, the cosine before the sine.

    Raises:
        OptionError: The order is not 1, 2 or 3.

    Example:
        >>> psi, slope = torsion_features(np.array([[0.0, np.pi / 2]]), [1, 2], 1)
        >>> psi.round(6).tolist(), slope.round(6).tolist()
        ([[1.0, 0.0, -1.0, 0.0]], [[-0.0, 1.0, -0.0, -2.0]])
    """
    check_order(order)
    harmonics = np.arange(1, order + 1) * np.asarray(folds)[:, None]
    phase = angles[:, :, None] * harmonics
    cosine, sine = np.cos(phase), np.sin(phase)
    features = np.stack([cosine, sine], -1).reshape(len(angles), -1)
    slopes = np.stack([-harmonics * sine, harmonics * cosine], -1).reshape(len(angles), -1)
    return features, slopes
