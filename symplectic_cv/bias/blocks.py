"""Standard errors of weighted frames from blocks of time.

Frames that are near in time are correlated. Errors are therefore estimated by a bootstrap of whole
blocks: each resample draws as many blocks as there are, with replacement, and keeps the weights of
their frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCKS = 20
"""The default number of blocks."""
RESAMPLES = 200
"""The number of bootstrap resamples."""
LEAST_BLOCKS = 3
"""The smallest number of blocks that gives a standard error, unless the runs have fewer."""


def block_of_frames(lengths: Sequence[int], blocks: int = BLOCKS) -> np.ndarray:
    """The block that each frame belongs to, (F,). Longer runs get more of the blocks.

    Args:
        lengths: The number of frames of each continuous run.
        blocks: The smallest number of blocks in all; every run has at least one.

    Example:
        >>> block_of_frames([4, 2], blocks=3)
        array([0, 0, 1, 1, 2, 2])
    """
    total, first, labels = sum(lengths), 0, []
    for length in lengths:
        here = min(length, max(1, round(blocks * length / total)))
        labels.append(first + np.arange(length) * here // length)
        first += here
    return np.concatenate(labels).astype(np.int64)


def log_share_error(weights: np.ndarray, seed: int = 0) -> np.ndarray:
    """Standard error of the logarithm of each place's share of all weight.

    Args:
        weights: The sum of the weights in each block at each place, (n_blocks, P).
        seed: The seed of the resamples.

    Returns:
        The errors, (P,), without unit; NaN where too few blocks hold the place.

    Example:
        >>> log_share_error(np.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])).round(6).tolist()
        [0.0, 0.0, nan]
    """
    known = _known(weights)
    drawn = _resamples(len(weights), seed) @ weights
    error = np.full(weights.shape[1], np.nan)
    with np.errstate(divide="ignore"):
        logarithms = np.log(drawn[:, known] / drawn.sum(1, keepdims=True))
    error[known] = _spread(logarithms)
    return error


def log_ratio_error(one: np.ndarray, two: np.ndarray, seed: int = 0) -> float:
    """Standard error of the logarithm of the ratio of two weights, ln(Σ one / Σ two).

    Args:
        one: The sum of the weights of the numerator in each block, (n_blocks,).
        two: The sum of the weights of the denominator in each block, (n_blocks,).
        seed: The seed of the resamples.

    Returns:
        The error, without unit; NaN where too few blocks hold either of the two.

    Example:
        >>> round(log_ratio_error(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])), 12)
        0.0
    """
    if not _known(np.stack([one, two], 1)).all():
        return float("nan")
    counts = _resamples(len(one), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(_spread(np.log(counts @ one) - np.log(counts @ two)))


def _known(weights: np.ndarray) -> np.ndarray:
    """Places that enough blocks hold, (P,)."""
    return (weights > 0.0).sum(0) >= min(LEAST_BLOCKS, len(weights))


def _spread(logarithms: np.ndarray) -> np.ndarray:
    """Standard deviation of each column over the resamples that hold it."""
    return np.nanstd(np.where(np.isfinite(logarithms), logarithms, np.nan), axis=0, ddof=1)


def _resamples(n_blocks: int, seed: int) -> np.ndarray:
    """The count of each block in each resample, (R, n_blocks)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), RESAMPLES).astype(float)
