"""Contiguous validation blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symplectic_cv.data.split import contiguous_split
from symplectic_cv.errors import TrajectoryError


def _blocks(indices):
    return np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5).filter(lambda x: sum(x) >= 10))
def test_every_frame_is_in_exactly_one_set_and_neither_is_empty(lengths):
    training, validation = contiguous_split(lengths)
    together = np.concatenate([training, validation])
    assert np.array_equal(np.sort(together), np.arange(sum(lengths)))
    assert len(training) > 0
    assert len(validation) > 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(100, 5000), min_size=1, max_size=4),
    st.sampled_from([0.05, 0.1, 0.25]),
    st.integers(1, 10),
)
def test_the_share_is_met_in_every_run(lengths, share, blocks):
    _, validation = contiguous_split(lengths, share, blocks)
    start = 0
    for length in lengths:
        n_here = int(((validation >= start) & (validation < start + length)).sum())
        # each block is rounded to a whole number of frames
        assert abs(n_here - share * length) <= 0.5 * blocks + 1e-9
        start += length


def test_validation_frames_come_in_the_blocks_asked_for_apart_from_the_ends():
    training, validation = contiguous_split([1000, 500], share=0.1, blocks=5)
    blocks = _blocks(validation)
    assert [len(block) for block in blocks] == [20] * 5 + [10] * 5
    # the blocks lie in the middle of their fifths, so no two runs or blocks touch
    assert [int(block[0]) for block in blocks[:2]] == [90, 290]
    assert len(_blocks(training)) == len(blocks) + 1


def test_few_frames_are_split_into_fewer_blocks_never_into_single_frames():
    _, validation = contiguous_split([100])
    assert [len(block) for block in _blocks(validation)] == [5, 5]


def test_many_short_runs_still_leave_frames_to_train_on():
    training, validation = contiguous_split([1] * 20)
    assert len(training) >= 10
    assert len(validation) >= 1


def test_too_few_frames_are_refused():
    with pytest.raises(TrajectoryError, match="9 frames are too few"):
        contiguous_split([4, 5])
