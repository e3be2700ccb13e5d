"""The choice of the modes that a round biases."""

import numpy as np

from symplectic_cv.adaptation.mode_choice import modes_to_bias


def test_modes_below_the_widest_gap_are_biased():
    assert modes_to_bias(np.array([2.3, 5.5, 18.4, 36.0])) == [0, 1]
    assert modes_to_bias(np.array([2.7, 5.1, 5.5, 19.7, 36.0])) == [0, 1, 2]
    # more than three soft modes: a grid holds three
    assert modes_to_bias(np.array([1.0, 2.0, 2.5, 3.0, 3.5, 40.0])) == [0, 1, 2]
    assert modes_to_bias(np.array([3.0])) == [0]
