"""Statistics of weighted samples: the effective sample size and the weighted mean.

Source: L. Kish, Survey Sampling (1965), section 11.7, for the effective sample size.
"""

from __future__ import annotations

import numpy as np


def effective_size(weights: np.ndarray) -> float:
    """Effective number of weighted samples, (Σw)²/Σw².

    Args:
        weights: Non-negative weights, shape (N,); their scale does not matter.

    Returns:
        A number from 1 (one sample holds all weight) to N (all weights are equal); 0 where all
        weights are zero.

    Example:
        >>> effective_size(np.array([1.0, 1.0, 0.0]))
        2.0
    """
    w = np.asarray(weights, dtype=np.float64)
    square = (w * w).sum()
    return float(w.sum() ** 2 / square) if square > 0.0 else 0.0


def effective_share(log_weights: np.ndarray) -> float:
    """Effective share of importance samples, (Σw)²/(N Σw²), from the logarithms of the weights.

    Args:
        log_weights: ln w up to a constant, in nats, shape (N,); −∞ for a weight of zero.

    Returns:
        A number from 1/N to 1; 0 where all weights vanish.

    Example:
        >>> effective_share(np.log([1.0, 1.0, 0.5, 0.5]))
        0.9
    """
    return effective_size(relative_weights(log_weights)) / len(log_weights)


def relative_weights(log_weights: np.ndarray) -> np.ndarray:
    """Weights over the largest of them, shape (N,), from their logarithms.

    Args:
        log_weights: ln w up to a constant, in nats, shape (N,); −∞ for a weight of zero.

    Example:
        >>> relative_weights(np.log([8.0, 4.0]))
        array([1. , 0.5])
    """
    values = np.asarray(log_weights, dtype=np.float64)
    top = values.max()
    return np.exp(values - top) if np.isfinite(top) else np.zeros_like(values)


def weighted_mean(values: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Mean Σwv/Σw of independent samples, and its standard error.

    The standard error is (Σ w²(v − mean)²)^½ / Σw, that of a ratio estimator.

    Args:
        values: Values of the samples, shape (N,).
        weights: Non-negative weights of the samples, shape (N,); all equal where None.

    Returns:
        The mean and its standard error, both in the unit of `values`.

    Example:
        >>> weighted_mean(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
        (2.0, 0.7071067811865476)
    """
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = (w * v).sum() / w.sum()
    return float(mean), float(np.sqrt(np.square(w * (v - mean)).sum()) / w.sum())
