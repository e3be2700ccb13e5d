"""Weights of the frames that the next model of an adaptive loop learns from.

Two distributions are kept apart. Free energies use the exact, unbiased weights of the frames. A
model learns from a flattened distribution: biased frames are taken as they are, which is the
canonical distribution of V + bias, and all frames count more where frames are few.
"""

from __future__ import annotations

import io

import numpy as np
from scipy.ndimage import gaussian_filter

from symplectic_cv.adaptation.round_folders import WEIGHTS, LoopFolder
from symplectic_cv.checks import check_number
from symplectic_cv.files.atomic import write_atomically

FLATTEN = 0.5
"""Default power of the density along the slow modes by which frames count less in training."""
FLATTEN_TORSIONS = 0.8
"""The same where modes of torsions are found, of the unbiased density: frames count as they would
at five times the temperature. With 1 all conformations of a well biased run count alike, and
nothing tells a barrier from a basin. (Alanine dipeptide: with 1 the second round crossed 694 times
in 5 ns, the third twice.)"""
GRID_SPACING, GRID_END = 0.25, 10.0
"""Spacing and end of the grid on which frames are counted, in units of a mode. Frames beyond the
end are counted there."""
THINNEST_SHARE = 0.05
"""Share of the frames that lie where frames are too few to estimate the density."""


def flattening_weights(slow: np.ndarray, flatten: float = FLATTEN) -> np.ndarray:
    """Training weights density^(−flatten), by the density of the frames along the slow modes.

    The weights let transition states, where frames are few, shape the next model as the basins
    do. The density of the thinnest twentieth of the frames is replaced by the largest density
    among them, so that no single frame rules the next model.

    Args:
        slow: The slow modes of the newest model on all frames of all runs, (F, D), dimensionless.
        flatten: The power from 0 to 1. With 0 all frames count the same; with 1 all regions of the
            slow modes count the same.

    Returns:
        One weight for each frame, (F,), with mean 1.

    Raises:
        OptionError: a power outside [0, 1].

    Example:
        >>> crowd, few = np.zeros((900, 1)), np.full((100, 1), 5.0)
        >>> w = flattening_weights(np.concatenate([crowd, few]), 0.5)
        >>> round(float(w[-1] / w[0]), 3)
        3.0
    """
    check_flatten(flatten)
    inside = np.clip(np.asarray(slow), -GRID_END, GRID_END)
    cells = tuple(np.rint((inside + GRID_END) / GRID_SPACING).astype(int).T)
    counts = np.zeros((round(2 * GRID_END / GRID_SPACING) + 1,) * len(cells))
    np.add.at(counts, cells, 1.0)
    density = gaussian_filter(counts, 1.0, mode="constant")[cells]
    weights = np.maximum(density, np.quantile(density, THINNEST_SHARE)) ** -flatten
    return weights / weights.mean()


def tempered_weights(
    slow: np.ndarray, unbiased: np.ndarray, flatten: float = FLATTEN_TORSIONS
) -> np.ndarray:
    """Training weights after which the density along the slow modes is p^(1−flatten).

    p is the unbiased density. A bias that fills all basins makes the density of the frames even,
    and nothing would tell a barrier from a basin. The power of p does, whatever the bias was, and
    it lets all basins count. Within a cell of the slow modes frames keep their unbiased weights.

    Args:
        slow: The slow modes of the newest model on all frames, (F, D), dimensionless.
        unbiased: The unbiased weights of the frames, (F,); frames with weight 0 do not count.
        flatten: The power from 0 to 1. With 0 the weights are the unbiased ones.

    Returns:
        One weight for each frame, (F,), with mean 1.

    Raises:
        OptionError: A power outside [0, 1].

    Example:
        >>> slow = np.repeat([[0.0], [5.0]], 500, axis=0)
        >>> unbiased = np.repeat([0.9, 0.1], 500)
        >>> w = tempered_weights(slow, unbiased, 0.5)
        >>> round(float(w[0] / w[-1]), 3)
        3.0
    """
    check_flatten(flatten)
    cells = np.rint(np.asarray(slow) / GRID_SPACING).astype(int)
    places = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    density = np.bincount(places, weights=unbiased)[places]
    weights = np.zeros(len(unbiased))
    known = unbiased > 0.0
    weights[known] = unbiased[known] * density[known] ** -flatten
    return weights / weights.mean()


def write_training_weights(folder: LoopFolder, number: int, weights: np.ndarray) -> None:
    """Writes the training weights of a round into its folder, which exists.

    Args:
        folder: The folder of the loop.
        number: The number of the round.
        weights: One weight for each frame, (F,).
    """
    buffer = io.BytesIO()
    np.save(buffer, weights)
    write_atomically(folder.round(number) / WEIGHTS, buffer.getvalue())


def check_flatten(flatten: float) -> float:
    """The power itself; raises OptionError where it does not lie between 0 and 1."""
    return check_number(flatten, "flatten", least=0.0, most=1.0)
