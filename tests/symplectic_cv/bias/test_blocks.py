"""Errors from blocks of time: which blocks there are, and which places too few of them know."""

import numpy as np
import pytest

from symplectic_cv.bias.blocks import block_of_frames, log_ratio_error, log_share_error


def test_blocks_do_not_span_runs():
    blocks = block_of_frames([100, 300, 1], 20)
    assert len(np.unique(blocks)) == 21
    assert not set(blocks[:100]) & set(blocks[100:400])
    assert blocks[400] not in blocks[:400]
    assert (np.diff(blocks) >= 0).all()


def test_the_error_is_that_of_independent_blocks():
    """200 resamples know a standard deviation to 5 %; the linearised one is right to a few more."""
    rng = np.random.default_rng(0)
    one, two = rng.uniform(0.9, 1.1, (2, 40))
    share = one / one.mean() - two / two.mean()
    exact = np.sqrt((share**2).mean() / 40)
    assert log_ratio_error(one, two) == pytest.approx(exact, rel=0.2)
    of_one = log_share_error(np.stack([one, two], 1))[0]
    assert of_one == pytest.approx(exact * two.sum() / (one.sum() + two.sum()), rel=0.2)


@pytest.mark.parametrize("n_blocks", [10, 20])
def test_what_fewer_than_three_blocks_know_has_no_error(n_blocks):
    everywhere = np.ones(n_blocks)
    for known in range(5):
        place = (np.arange(n_blocks) < known).astype(float)
        errors = [log_ratio_error(place, everywhere), log_ratio_error(everywhere, place)]
        errors.append(log_share_error(np.stack([place, everywhere], 1))[0])
        assert np.isfinite(errors).tolist() == [known >= 3] * 3
