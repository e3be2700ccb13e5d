"""Weights of the frames that the next model of an adaptive loop learns from.

Two distributions are kept apart. Free energies use the exact, unbiased weights of the frames. A
model learns from a flattened distribution: biased frames are taken as they are, which is the
canonical distribution of V + bias, and all frames count more where frames are few.
"""

from __future__ import annotations

import io

import numpy as np
from scipy.ndimage import gaussian_filter

from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.round_folders import WEIGHTS, LoopFolder
from symplectic_cv.checks import check_number
from symplectic_cv.files.atomic import write_atomically

FLATTEN = 0.5
"""Default power of the density along the slow modes by which frames count less in training."""
FLATTEN_TORSIONS = 1.0
"""The same where modes of torsions are found: all conformations seen so far count alike."""
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


def write_flattening_weights(
    folder: LoopFolder, number: int, gathered: GatheredFrames, flatten: float
) -> np.ndarray | None:
    """The training weights of a round, which are also written into its folder.

    Args:
        folder: The folder of the loop; the folder of the round is made.
        number: The number of the round, from 1.
        gathered: All frames before the round.
        flatten: The power of the density.

    Returns:
        One weight for each frame, (F,); None for the first round, which counts all the same.
    """
    folder.round(number).mkdir(exist_ok=True)
    if number == 1:
        return None
    weights = flattening_weights(gathered.slow_modes(), flatten)
    buffer = io.BytesIO()
    np.save(buffer, weights)
    write_atomically(folder.round(number) / WEIGHTS, buffer.getvalue())
    return weights


def check_flatten(flatten: float) -> float:
    """The power itself; raises OptionError where it does not lie between 0 and 1."""
    return check_number(flatten, "flatten", least=0.0, most=1.0)
