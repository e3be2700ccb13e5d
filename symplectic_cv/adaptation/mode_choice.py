"""The choice of the modes that the next round biases."""

from __future__ import annotations

import numpy as np

from symplectic_cv.analysis.latent import SLOW_AMONG, slow_modes

MOST_MODES = 3
"""Most modes that are biased at once, and the number of modes along which states are found."""


def modes_to_bias(omega: np.ndarray) -> list[int]:
    """The slow modes below the widest gap in ln ω: at least two, at most three.

    Args:
        omega: The frequencies of all modes of a model, (n,) in rad/ps, slowest first.

    Example:
        >>> modes_to_bias(np.array([2.7, 5.1, 5.5, 19.7, 36.0, 40.0]))
        [0, 1, 2]
    """
    count = min(slow_modes(np.asarray(omega)[:SLOW_AMONG]), MOST_MODES, len(omega))
    return list(range(count))
