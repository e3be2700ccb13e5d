"""Metastable states are found with or without a bias; fluctuations on a barrier do not cross."""

import numpy as np
import pytest

from symplectic_cv.bias.states import count_crossings, find_states
from symplectic_cv.errors import OptionError

KT = 2.5


def wells(centres, counts, spread=0.35, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.normal(centre, spread, (count, len(centre)))
            for centre, count in zip(centres, counts, strict=True)
        ]
    )


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_wells_are_found_with_their_depths(dimension):
    centres = [[-2.0] + [0.0] * (dimension - 1), [2.0] + [0.5] * (dimension - 1)]
    values = wells(centres, [8000, 2000])
    states = find_states(values, np.ones(len(values)), KT)
    assert states.count == 2
    assert np.abs(states.minima - centres).max() < 0.35
    # the peaks of two equally wide wells stand as their populations, 4 to 1, up to their noise
    assert states.depths[1] == pytest.approx(KT * np.log(4.0), abs=0.8)
    assert states.shares == pytest.approx([0.8, 0.2], abs=0.005)
    assert (states.basin_of(values) == np.repeat([0, 1], [8000, 2000])).mean() > 0.99


def test_ripples_below_the_barrier_are_one_state():
    """Two Gaussians three spreads apart have a barrier of less than kT."""
    values = wells([[-0.5], [0.55]], [4000, 4000])
    assert find_states(values, np.ones(8000), KT).count == 1


def test_weights_restore_the_states_that_a_bias_has_levelled():
    """Frames spread evenly by a bias show no basin; their weights bring both back."""
    rng = np.random.default_rng(1)
    values = rng.uniform(-2.2, 2.2, (20_000, 1))
    energy = 6.0 * KT * (values[:, 0] ** 2 - 1.0) ** 2
    assert find_states(values, np.ones(len(values)), KT).count == 1
    states = find_states(values, np.exp(-energy / KT), KT)
    assert states.count == 2
    assert np.sort(states.minima[:, 0]) == pytest.approx([-1.0, 1.0], abs=0.15)


def test_outliers_are_no_state():
    values = np.concatenate([wells([[0.0, 0.0]], [10_000]), wells([[9.0, 9.0]], [12], 0.05)])
    states = find_states(values, np.ones(len(values)), KT)
    assert states.count == 1
    assert (states.basin_of(values[-12:]) == -1).all()


def test_basins_that_no_unbiased_run_would_visit_are_no_states():
    """A bias may fill a basin that lies 14 kT above the deepest one; at 6 kT it is a state."""
    values = wells([[-2.0], [2.0]], [5000, 5000])
    for height, count in ((6.0, 2), (14.0, 1)):
        weights = np.where(values[:, 0] > 0.0, np.exp(-height), 1.0)
        assert find_states(values, weights, KT).count == count


def test_a_third_mode_tells_apart_what_two_lay_over_one_another():
    values = wells([[0.0, 0.0, -2.0], [0.3, 0.0, 2.0]], [5000, 5000])
    one = np.ones(len(values))
    assert find_states(values[:, :2], one, KT).count == 1
    assert find_states(values, one, KT).count == 2


def test_a_frame_belongs_to_the_core_it_visited_last():
    values = wells([[-2.0], [2.0]], [5000, 5000])
    states = find_states(values, np.ones(len(values)), KT)
    left, right = states.basin_of(np.array([[-2.0], [2.0]]))
    # fluctuates on the barrier, where it may lie in either basin, without having arrived
    path = np.array([0.0, -2.0, -0.2, 0.3, -0.3, 0.2, -2.1, 0.4, 2.0, 0.1, 2.1])[:, None]
    visited = states.visited(path)
    assert visited.tolist() == [-1] + [left] * 7 + [right] * 3
    assert count_crossings(visited) == 1
    assert count_crossings(visited, [8, 3]) == 0


def test_crossings_of_a_hopping_run_are_counted_exactly():
    rng = np.random.default_rng(3)
    truth = np.repeat(rng.integers(0, 2, 400), 25)
    values = rng.normal(4.0 * truth - 2.0, 0.35)[:, None]
    states = find_states(values, np.ones(len(values)), KT)
    assert count_crossings(states.visited(values)) == int((np.diff(truth) != 0).sum())


@pytest.mark.parametrize(
    ("values", "weights", "words"),
    [
        (np.zeros((5, 4)), np.ones(5), "1 to 3 modes"),
        (np.zeros((5, 2)), np.ones(4), "4 weights do not match 5 frames"),
    ],
)
def test_bad_input_is_told(values, weights, words):
    with pytest.raises(OptionError, match=words):
        find_states(values, weights, KT)
