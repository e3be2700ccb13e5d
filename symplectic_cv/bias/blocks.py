"""Standard errors of weighted frames from blocks of time.

Frames near in time are alike, so errors come from whole blocks: each resample (a bootstrap) draws
as many blocks as there are, with replacement, and keeps the weights of their frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BLOCKS = 20
RESAMPLES = 200
LEAST_BLOCKS = 3
"""The smallest number of blocks that gives a standard error, unless the runs have fewer."""


def block_of_frames(lengths: Sequence[int], blocks: int = BLOCKS) -> np.ndarray:
    """The block each frame belongs to, (F,); runs share the blocks by their lengths.

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
        (P,), without unit; NaN where too few blocks hold the place.

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
    """Standard error of ln Σ one / Σ two, sums of weights in each block, (n_blocks,) each.

    Returns:
        NaN where too few blocks hold either of them.
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
