"""Importance weights: their scale, and the tail that shows whether they can be trusted."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import genpareto

RELIABLE_TAIL = 0.7
"""Averages can be trusted up to this Pareto exponent of the largest weights (A. Vehtari et al.,
arXiv:1507.02646)."""


def normalised_weights(log_weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The logarithm of the mean weight, and the weights over their mean, shape (N,).

    Args:
        log_weights: ln w in nats, shape (N,); −∞ for a weight of zero.

    Example:
        >>> log_mean, weights = normalised_weights(np.log([1.0, 3.0]))
        >>> round(float(np.exp(log_mean)), 12), weights
        (2.0, array([0.5, 1.5]))
    """
    top = log_weights.max()
    w = np.exp(log_weights - top)
    mean = w.mean()
    return float(top + math.log(mean)), w / mean


def pareto_k(weights: np.ndarray) -> float:
    """Exponent of the generalised Pareto distribution of the largest weights.

    Args:
        weights: Non-negative weights, shape (N,); their scale does not matter.

    Returns:
        The exponent; 0 where all weights are equal. Above `RELIABLE_TAIL` the averages depend on a
        few samples.
    """
    n_tail = int(min(0.2 * len(weights), 3.0 * math.sqrt(len(weights))))
    tail = np.sort(weights)[-n_tail - 1 :]
    excess = tail[1:] - tail[0]
    if n_tail < 5 or excess[-1] <= 1e-9 * tail[0]:
        return 0.0
    return float(genpareto.fit(excess, floc=0.0)[0])
