"""The choice of the modes that a round biases."""

import numpy as np

from symplectic_cv.adaptation.mode_choice import (
    largest_overlap,
    modes_that_separate,
    modes_to_bias,
)


def test_modes_below_the_widest_gap_are_biased():
    assert modes_to_bias(np.array([2.3, 5.5, 18.4, 36.0])) == [0, 1]
    assert modes_to_bias(np.array([2.7, 5.1, 5.5, 19.7, 36.0])) == [0, 1, 2]
    # more than three soft modes: a grid holds three
    assert modes_to_bias(np.array([1.0, 2.0, 2.5, 3.0, 3.5, 40.0])) == [0, 1, 2]
    assert modes_to_bias(np.array([3.0])) == [0]


def test_modes_are_added_until_no_two_states_share_their_values() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, -1.5], [1.0, 0.0, 1.5]])
    state = np.repeat([0, 1, 2], 500)
    values = centres[state] + 0.2 * rng.normal(size=(1500, 3))
    # states 1 and 2 lie over each other in the first two modes
    assert largest_overlap(values[:, :2], state) > 0.6
    assert largest_overlap(values, state) < 0.01
    assert modes_that_separate(values, state, 1) == [0, 1, 2]
    apart = values[:, [2, 0, 1]]
    assert modes_that_separate(apart, np.where(state == 0, -1, state), 1) == [0]
    assert largest_overlap(values, np.full(1500, -1)) == 0.0
