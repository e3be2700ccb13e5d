"""Slowest timescales against processes whose rate is known."""

import numpy as np
import pytest

from symplectic_cv.kinetics import slowest_timescale


def jumps(n, chance, seed=0):
    """A state 0 or 1 that changes with this chance in each frame."""
    return np.cumsum(np.random.default_rng(seed).random(n) < chance) % 2


def noise(n, d, seed=1):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize(("spacing", "lag"), [(1.0, 1.0), (0.2, 1.0), (0.5, 2.0)])
def test_the_timescale_of_jumps_between_two_states(spacing, lag):
    chance = 0.01
    state = jumps(400_000, chance)
    values = np.concatenate([5.0 * state[:, None], noise(len(state), 1)], 1)
    exact = -spacing / np.log(1.0 - 2.0 * chance)  # the second eigenvalue of one frame
    # some 4000 jumps: 1.6 %
    assert slowest_timescale(values, spacing, lag) == pytest.approx(exact, rel=0.06)


def test_states_that_lie_over_one_another_look_fast():
    state = jumps(50_000, 0.005)
    apart = noise(len(state), 2) + np.stack([6.0 * state, 0.0 * state], 1)
    over = noise(len(state), 2) + np.stack([2.0 * state, 0.0 * state], 1)
    assert slowest_timescale(over, 1.0) < 0.5 * slowest_timescale(apart, 1.0)


def test_units_of_the_variables_do_not_matter():
    state = jumps(20_000, 0.01)
    values = noise(len(state), 2) + np.stack([6.0 * state, 0.0 * state], 1)
    scaled = values * np.array([1e-3, 1e4])
    assert slowest_timescale(scaled, 1.0) == pytest.approx(slowest_timescale(values, 1.0), rel=0.02)


def test_noise_without_memory_is_not_slow():
    assert slowest_timescale(noise(20_000, 3), 1.0) < 1.0


def test_a_run_of_few_frames_and_a_mode_that_stands_still():
    values = np.concatenate([noise(60, 1), np.zeros((60, 1))], 1)
    assert 0.0 <= slowest_timescale(values, 0.2) < 10.0
