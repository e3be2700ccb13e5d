"""Mutual information between latent modes and torsions, by nearest neighbours.

Source: A. Kraskov, H. Stögbauer and P. Grassberger, Phys. Rev. E 69, 066138 (2004), as
implemented in scikit-learn. The estimator needs no bins and sees any dependence, not only a
linear one. Where it comes out slightly negative, 0 is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_selection import mutual_info_regression

from symplectic_cv.errors import TrajectoryError

NEIGHBOURS = 3
"""Nearest neighbours that the estimator counts."""
FRAMES = 5000
"""Frames that an estimate uses at most."""
SMOOTHING = np.radians(10.0)
"""Width of the kernel that smooths the density of an angle before its minimum is sought, rad."""


def least_populated_angle(angles: np.ndarray) -> float:
    """The least populated value of an angle, in radians, where its circle is cut.

    Args:
        angles: The values of the angle, shape (n_frames,), in radians.

    Example:
        >>> angles = np.radians([170.0, 175.0, -175.0, -170.0])
        >>> bool(abs(least_populated_angle(angles)) < np.radians(90))
        True
    """
    n_bins = 360
    counts, edges = np.histogram(_wrap(angles), bins=n_bins, range=(-np.pi, np.pi))
    distance = _wrap(2 * np.pi * np.arange(n_bins) / n_bins)
    kernel = np.exp(-0.5 * (distance / SMOOTHING) ** 2)
    density = np.array([counts @ np.roll(kernel, place) for place in range(n_bins)])
    # where a range of angles is empty, its middle is taken: all its values are equally good
    empty = density <= 1e-9 * density.max()
    lowest = _middle_of_longest(empty) if empty.any() else int(density.argmin())
    return float(0.5 * (edges[lowest] + edges[lowest + 1]))


def cut_circle(angles: np.ndarray) -> np.ndarray:
    """An angle on a line of length 2π that begins at its least populated value.

    Args:
        angles: The values of the angle, shape (n_frames,), in radians.

    Returns:
        The same angles modulo 2π, shape (n_frames,), in radians.
    """
    cut = least_populated_angle(angles)
    return np.mod(angles - cut, 2 * np.pi) + cut


def mutual_information(
    modes: np.ndarray,
    torsions: np.ndarray,
    n_frames: int = FRAMES,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    circular: Sequence[bool] | None = None,
) -> np.ndarray:
    """The mutual information of each mode with each torsion.

    Args:
        modes: The values of the modes, shape (n_frames, n_modes). Their scale does not matter.
        torsions: The values of the torsions, shape (n_frames, n_torsions), in radians.
        n_frames: The number of frames to use, drawn without replacement.
        seed: The seed of the draw and of the noise by which the estimator breaks ties.
        progress: Called with the number of pairs of mode and torsion just done.
        circular: Which columns of `torsions` are angles, whose circle is cut; all where None.

    Returns:
        The mutual information, shape (n_modes, n_torsions), in nats.

    Raises:
        TrajectoryError: There are too few frames for the estimator.

    Example:
        >>> angle = np.random.default_rng(0).uniform(-3.0, 3.0, 400)
        >>> modes = np.stack([np.sin(angle), np.arange(400.0) % 7], 1)
        >>> tells, does_not = mutual_information(modes, angle[:, None])[:, 0]
        >>> bool(tells > 1.0 > 0.2 > does_not)
        True
    """
    if len(modes) <= 2 * NEIGHBOURS:
        raise TrajectoryError(
            f"{len(modes)} frames are too few for mutual information: give at least "
            f"{2 * NEIGHBOURS + 1}, better {FRAMES}"
        )
    generator = np.random.default_rng(seed)
    drawn = np.arange(len(modes))
    if len(modes) > n_frames:
        drawn = np.sort(generator.choice(len(modes), n_frames, replace=False))
    x = np.asarray(modes, dtype=np.float64)[drawn]
    result = np.empty((x.shape[1], torsions.shape[1]))
    for column in range(torsions.shape[1]):
        angle = torsions[drawn, column]
        if circular is None or circular[column]:
            angle = cut_circle(torsions[:, column])[drawn]
        for mode in range(x.shape[1]):
            result[mode, column] = mutual_info_regression(
                x[:, [mode]], angle, n_neighbors=NEIGHBOURS, random_state=seed
            )[0]
            if progress is not None:
                progress(1)
    return result


def _wrap(angles: np.ndarray) -> np.ndarray:
    return np.mod(angles + np.pi, 2 * np.pi) - np.pi


def _middle_of_longest(flags: np.ndarray) -> int:
    """The index in the middle of the longest run of True on a circle."""
    n = len(flags)
    if flags.all():
        return 0
    start = int(np.argmin(flags))  # a False: no run crosses it
    turned = np.roll(flags, -start)
    edges = np.diff(np.concatenate([[0], turned.astype(int), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    longest = int(np.argmax(ends - begins))
    return (start + (begins[longest] + ends[longest] - 1) // 2) % n
