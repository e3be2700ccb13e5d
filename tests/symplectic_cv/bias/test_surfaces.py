"""Free energies of weighted frames: exact where that is known, errors that cover the truth."""

import numpy as np
import pytest

from symplectic_cv.bias.blocks import block_of_frames
from symplectic_cv.bias.surfaces import binned_surface, region_difference
from symplectic_cv.errors import OptionError

KT = 2.5


def correlated(n, seed, memory=0.95):
    """A stationary Gaussian series of unit variance whose frames are alike for 1/(1 − memory)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n)
    x = np.empty(n)
    x[0] = noise[0]
    for k in range(1, n):
        x[k] = memory * x[k - 1] + np.sqrt(1 - memory**2) * noise[k]
    return x


def test_the_free_energy_of_a_gaussian():
    x = correlated(40_000, 0)
    found = binned_surface(
        x[:, None], np.ones(len(x)), [(-2.0, 2.0)], ["x"], KT, block_of_frames([len(x)]), bins=16
    )
    exact = 0.5 * KT * found.axes[0] ** 2
    # the density falls within a bin: its mean differs from the one in the middle by a per cent
    shift = (found.free_energy - exact).mean()
    deviation = (found.free_energy - exact - shift) / np.hypot(found.error, 0.02)
    assert np.abs(deviation).max() < 4.0
    assert found.frames.sum() == (np.abs(x) <= 2.0).sum()


def test_weights_take_a_bias_out():
    """Frames of exp(−(U + V)/kT) weighted by exp(V/kT) are frames of exp(−U/kT)."""
    x = correlated(40_000, 1)  # U + V = kT x²/2
    bias = KT * 0.4 * x
    found = binned_surface(
        x[:, None], np.exp(bias / KT), [(-2.0, 2.5)], ["x"], KT, block_of_frames([len(x)]), bins=12
    )
    exact = 0.5 * KT * (found.axes[0] - 0.4) ** 2
    shift = (found.free_energy - exact).mean()
    assert np.abs((found.free_energy - exact - shift) / np.hypot(found.error, 0.03)).max() < 4.5


@pytest.mark.statistical
def test_stated_errors_cover_the_truth():
    """Of 60 runs the true difference lies within the stated 95 % in all but a few.

    Correct intervals miss 3 of 60 on average; 9 or more would be a chance of 0.3 %. Errors that
    took frames for independent would be six times too small and miss most.
    """
    missed = 0
    for seed in range(60):
        x = correlated(4000, seed)
        inside = x > 1.0
        blocks = block_of_frames([len(x)])
        found = region_difference(inside, ~inside, np.ones(len(x)), KT, blocks, seed=seed)
        exact = -KT * np.log(0.158655 / 0.841345)
        missed += abs(found.value - exact) > found.interval
    assert missed < 9


def test_two_descriptors_share_the_frames_as_one():
    rng = np.random.default_rng(2)
    values = rng.uniform(-np.pi, np.pi, (5000, 2))
    weights = rng.uniform(0.5, 1.5, 5000)
    blocks = block_of_frames([3000, 2000])
    both = binned_surface(values, weights, [(-np.pi, np.pi)] * 2, ["a", "b"], KT, blocks, bins=6)
    first = binned_surface(values[:, :1], weights, [(-np.pi, np.pi)], ["a"], KT, blocks, bins=6)
    summed = -KT * np.log(np.exp(-both.free_energy / KT).sum(1))
    assert summed - summed.min() == pytest.approx(first.free_energy, abs=1e-9)
    place = np.floor((values + np.pi) / (2 * np.pi / 6)).astype(int)
    assert both.frames[1, 4] == ((place[:, 0] == 1) & (place[:, 1] == 4)).sum()


def test_bins_without_frames_are_infinite_and_their_error_unknown():
    values = np.repeat([[0.1], [0.9]], 50, axis=0)
    found = binned_surface(
        values, np.ones(100), [(0, 1)], ["x"], KT, block_of_frames([100]), bins=5
    )
    assert np.isinf(found.free_energy).tolist() == [False, True, True, True, False]
    assert np.isnan(found.error).tolist() == [False, True, True, True, False]


def test_a_region_never_seen_has_no_difference():
    seen = np.ones(10, dtype=bool)
    found = region_difference(~seen, seen, np.ones(10), KT, block_of_frames([10], 2))
    assert found.value == np.inf
    assert found.error == np.inf


@pytest.mark.parametrize(
    ("weights", "blocks", "words"),
    [
        (np.ones(3), np.arange(4), "3 weights"),
        (np.ones(4), np.zeros(4, dtype=int), "too short"),
        (np.array([1.0, 1.0, -1.0, 1.0]), np.arange(4), "negative"),
        (np.array([1.0, np.nan, 1.0, 1.0]), np.arange(4), "NaN"),
    ],
)
def test_bad_input_is_told(weights, blocks, words):
    with pytest.raises(OptionError, match=words):
        binned_surface(np.zeros((4, 1)), weights, [(-1, 1)], ["x"], KT, blocks)


def test_frames_out_of_the_range_are_told():
    with pytest.raises(OptionError, match="range of x"):
        binned_surface(
            np.full((4, 1), 9.0), np.ones(4), [(0, 1)], ["x"], KT, block_of_frames([4], 2)
        )
