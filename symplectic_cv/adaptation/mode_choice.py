"""The choice of the modes that the next round biases."""

from __future__ import annotations

import numpy as np

from symplectic_cv.analysis.latent import SLOW_AMONG, slow_modes

SHARED = 0.1
"""Share of the frames of two states with common values of some modes, above which these modes do
not separate the states."""
CELL = 0.25
"""Size of a cell of values of a mode that count as common: about the width of a hill."""
MOST_MODES = 3
"""Most modes that are biased at once, and the number of modes along which states are found."""


def modes_to_bias(omega: np.ndarray) -> list[int]:
    """The slow modes below the widest gap in ln ω: at least two, at most three.

    Args:
        omega: The frequencies of all modes of a model, (n,) in rad/ps, slowest first.

    Example:
        >>> modes_to_bias(np.array([2.7, 5.1, 5.5, 19.7, 36.0, 40.0]))
        [0, 1, 2]
    """
    count = min(slow_modes(np.asarray(omega)[:SLOW_AMONG]), MOST_MODES, len(omega))
    return list(range(count))


def modes_that_separate(values: np.ndarray, state: np.ndarray, count: int) -> list[int]:
    """The slowest modes, as many as it takes that no two states share their values.

    A bias on modes whose values two states share cannot drive the molecule from one to the other.

    Args:
        values: The slow modes of the frames, (F, D), the slowest first.
        state: The state of each frame in all D modes, −1 outside all states, (F,).
        count: The least number of modes.

    Example:
        >>> values = np.array([[0.0, 0.0, -2.0]] * 50 + [[0.0, 0.0, 2.0]] * 50)
        >>> modes_that_separate(values, np.repeat([0, 1], 50), 2)
        [0, 1, 2]
        >>> modes_that_separate(values, np.zeros(100, dtype=int), 2)
        [0, 1]
    """
    while count < values.shape[1] and largest_overlap(values[:, :count], state) > SHARED:
        count += 1
    return list(range(count))


def largest_overlap(values: np.ndarray, state: np.ndarray) -> float:
    """The largest share of common values among all pairs of states, from 0 to 1.

    Args:
        values: Modes of the frames, (F, D).
        state: The state of each frame, −1 outside all states, (F,).

    Returns:
        The largest Σ_c min(p_a(c), p_b(c)) over cells c of the modes; 0 with fewer than two states.
    """
    inside = state >= 0
    cells = np.rint(values[inside] / CELL).astype(int)
    numbers = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    names = np.unique(state[inside])
    shares = np.zeros((len(names), numbers.max() + 1 if len(numbers) else 0))
    for place, name in enumerate(names):
        shares[place] = np.bincount(numbers[state[inside] == name], minlength=shares.shape[1])
        shares[place] /= shares[place].sum()
    pairs = [
        float(np.minimum(shares[a], shares[b]).sum()) for a in range(len(names)) for b in range(a)
    ]
    return max(pairs, default=0.0)
