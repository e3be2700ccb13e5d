"""Training and validation frames, in contiguous blocks.

Neighbouring frames of a trajectory are alike, so validation frames picked at random sit
beside their twins in the training set. Here each run gives whole blocks, spread evenly
over its length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symplectic_cv.errors import TrajectoryError

VALIDATION_SHARE = 0.1
BLOCKS_PER_RUN = 10
SMALLEST_SET = 10


def contiguous_split(
    lengths: Sequence[int],
    share: float = VALIDATION_SHARE,
    blocks: int = BLOCKS_PER_RUN,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation frames.

    Args:
        lengths: The number of frames of each continuous run; runs below `SMALLEST_SET` frames
            count as one with their neighbours.
        share: The part of each run that validates.
        blocks: The number of validation blocks per run; fewer where a run is short.

    Raises:
        TrajectoryError: There are too few frames to hold any out.

    Example:
        >>> training, validation = contiguous_split([1000], share=0.1, blocks=2)
        >>> len(training), len(validation), int(validation[0])
        (900, 100, 225)
    """
    n_frames = int(sum(lengths))
    if n_frames < SMALLEST_SET:
        raise TrajectoryError(
            f"{n_frames} frames are too few to train on: give at least {SMALLEST_SET}"
        )
    held_out = np.zeros(n_frames, dtype=bool)
    start = 0
    for length in _joined(lengths):
        n_blocks = max(1, min(blocks, int(length * share) // 5))
        period = length / n_blocks
        width = max(1, round(period * share))
        for block in range(n_blocks):
            first = start + round(block * period + 0.5 * (period - width))
            held_out[first : first + width] = True
        start += length
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _joined(lengths: Sequence[int]) -> list[int]:
    """Lengths of at least `SMALLEST_SET`: a run of a few frames has no tenth to hold out."""
    joined: list[int] = []
    for length in lengths:
        if joined and joined[-1] < SMALLEST_SET:
            joined[-1] += length
        else:
            joined.append(length)
    if len(joined) > 1 and joined[-1] < SMALLEST_SET:
        last = joined.pop()
        joined[-1] += last
    return joined
