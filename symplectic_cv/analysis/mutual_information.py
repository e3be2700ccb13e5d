"""Mutual information between latent modes and torsions, by nearest neighbours.

Source: A. Kraskov, H. Stögbauer and P. Grassberger, Phys. Rev. E 69, 066138 (2004), as
implemented in scikit-learn. The estimator needs no bins and sees any dependence, not
only a linear one; it can come out slightly negative and is then reported as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_selection import mutual_info_regression

from symplectic_cv.errors import TrajectoryError

NEIGHBOURS = 3
FRAMES = 5000
"""Frames drawn for an estimate."""

SMOOTHING = np.radians(10.0)
"""Width of the kernel under which the least populated angle is looked for."""


def least_populated_angle(angles: np.ndarray) -> float:
    """Where to cut a circle of angles (F,) in radians: its least populated value.

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
    # where a range of angles is empty, its middle: every value there is as little populated
    empty = density <= 1e-9 * density.max()
    lowest = _middle_of_longest(empty) if empty.any() else int(density.argmin())
    return float(0.5 * (edges[lowest] + edges[lowest + 1]))


def cut_circle(angles: np.ndarray) -> np.ndarray:
    """Angles (F,) in radians on a line of length 2π, cut at the least populated value."""
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
    """Mutual information (K, T) in nats between modes (F, K) and torsions (F, T).

    Args:
        modes: scaled or not; the estimate does not depend on the scale.
        torsions: in radians.
        n_frames: drawn without replacement from the F frames.
        seed: of the draw and of the estimator's tie-breaking noise.
        progress: called with the number of pairs just done.
        circular: which columns are angles, to be cut; all where None.

    Raises:
        TrajectoryError: too few frames for the estimator.
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
    """Middle of the longest run of True on a circle."""
    n = len(flags)
    if flags.all():
        return 0
    start = int(np.argmin(flags))  # a False: no run crosses it
    turned = np.roll(flags, -start)
    edges = np.diff(np.concatenate([[0], turned.astype(int), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    longest = int(np.argmax(ends - begins))
    return (start + (begins[longest] + ends[longest] - 1) // 2) % n
