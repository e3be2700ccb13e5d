"""Statistics of Markov chains: autocorrelation time, R̂ and standard error.

Sources: A. D. Sokal, Monte Carlo Methods in Statistical Mechanics (1996), for the window of
the autocorrelation time; A. Gelman et al., Bayesian Data Analysis (3rd ed., 2013), section
11.4, for R̂ of split chains.
"""

from __future__ import annotations

import numpy as np

WINDOW = 5.0
"""The sum of autocorrelations ends after this number of autocorrelation times, or of steps."""


def autocorrelation_time(series: np.ndarray) -> float:
    """The integrated autocorrelation time g = 1 + 2 Σ ρ(k) of chains, in steps.

    The mean over all S·C values has the variance σ² g / (S·C). Deviations are taken from the mean
    of all chains, so that chains that disagree count as correlated. A series that never changes has
    g = S·C, because it is one value.

    Args:
        series: The values of C chains at S steps, shape (S, C).

    Example:
        >>> white = np.random.default_rng(0).normal(size=(2000, 8))
        >>> bool(abs(autocorrelation_time(white) - 1.0) < 0.1)
        True
    """
    values = np.asarray(series, dtype=np.float64)
    n_steps, n_chains = values.shape
    deviations = values - values.mean()
    variance = float(np.mean(deviations**2))
    if not variance > 1e-24 * max(1.0, float(np.mean(values**2))):
        return float(n_steps * n_chains)
    transform = np.fft.rfft(deviations, 2 * n_steps, axis=0)
    products = np.fft.irfft(np.abs(transform) ** 2, axis=0)[:n_steps].sum(1)
    correlation = products / (n_chains * np.arange(n_steps, 0, -1)) / variance
    times = 2.0 * np.cumsum(correlation) - 1.0
    inside = np.arange(n_steps) >= WINDOW * np.maximum(times, 1.0)
    place = int(np.argmax(inside)) if inside.any() else n_steps - 1
    return float(np.clip(times[place], 1e-2, n_steps * n_chains))


def split_rhat(series: np.ndarray) -> float:
    """R̂ of chains that are cut in two; it is near 1 where all halves have the same mean.

    Args:
        series: The values of C chains at S steps, shape (S, C).

    Returns:
        R̂; NaN for fewer than four steps, infinite where chains stand still at different values.

    Example:
        >>> white = np.random.default_rng(0).normal(size=(500, 4))
        >>> bool(split_rhat(white) < 1.01 < split_rhat(white + np.arange(4)))
        True
    """
    values = np.asarray(series, dtype=np.float64)
    half = len(values) // 2
    if half < 2:
        return float("nan")
    halves = np.concatenate([values[:half], values[-half:]], 1)
    within = float(halves.var(0, ddof=1).mean())
    between = float(halves.mean(0).var(ddof=1))
    if within == 0.0:
        return 1.0 if between == 0.0 else float("inf")
    return float(np.sqrt((half - 1) / half + between / within))


def standard_error(series: np.ndarray) -> float:
    """The standard error of the mean of correlated chains.

    Args:
        series: The values of C chains at S steps, shape (S, C).

    Example:
        >>> white = np.random.default_rng(0).normal(size=(2500, 4))
        >>> round(standard_error(white), 2)
        0.01
    """
    values = np.asarray(series, dtype=np.float64)
    return float(values.std() * np.sqrt(autocorrelation_time(values) / values.size))
