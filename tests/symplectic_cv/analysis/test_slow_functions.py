"""The slowest functions of states: those of a transition matrix that is known."""

import numpy as np

from symplectic_cv.analysis.slow_functions import slowest_functions


def flips(n: int, probability: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(np.cumsum(rng.random(n) < probability) % 2, 1.0, -1.0)


def test_slowest_functions_are_those_of_the_transition_matrix() -> None:
    rng = np.random.default_rng(2)
    a, b = flips(40_000, 0.01, rng), flips(40_000, 0.05, rng)
    states = (a > 0) * 2 + (b > 0)
    functions = slowest_functions([states], 4, 1)[states]
    assert abs(np.corrcoef(functions[:, 0], a)[0, 1]) > 0.99
    assert abs(np.corrcoef(functions[:, 1], b)[0, 1]) > 0.99
