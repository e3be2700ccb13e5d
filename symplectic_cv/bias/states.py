"""Metastable states along a few collective variables, and how often a run crosses between them.

States are basins of the free energy that are separated by a barrier of several kT. They are found
along the modes alone, without torsions. The core of a basin is its lower part. A frame is assigned
to the core that was visited last, so a frame that fluctuates on top of a barrier is not counted as
a crossing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from symplectic_cv.bias.basins import find_basins
from symplectic_cv.errors import OptionError

PERSISTENCE = 3.0
"""Least barrier out of a state, kT. Two basins with a lower barrier between them are one state."""
BANDWIDTH = 0.1
"""Width of the smoothing of the density, in units of a mode (the standard deviation of the mode in
the training data)."""
POINTS_PER_BANDWIDTH = {1: 2.0, 2: 1.5, 3: 1.0}
"""Grid points per width of the smoothing, for each number of modes."""
MOST_POINTS = 400
"""Most widths of the smoothing along one mode; over a larger range the smoothing becomes
coarser."""
HIGHEST = 10.0
"""Highest free energy of a state above the deepest one, kT. Basins above it are not visited without
a bias, and they are mostly noise."""
FEWEST_FRAMES = 20
SMALLEST_SHARE = 0.002
"""Least number and least share of frames in a state. A few frames far from all others are
outliers."""


@dataclass(frozen=True)
class States:
    """S metastable states on a grid of D variables.

    Attributes:
        axes: The grid points along each variable.
        free_energy: The smoothed free energy on the grid, kJ/mol; the least value is 0, and points
            without frames are infinite.
        basins: The state of each grid point, −1 outside all states.
        cores: The state of each grid point in the lower part of a basin, −1 elsewhere.
        depths: The free energy of each state's minimum, (S,) in kJ/mol, deepest first.
        minima: The values of the variables at each minimum, (S, D).
        shares: The unweighted share of all frames in each basin, (S,).
    """

    axes: list[np.ndarray]
    free_energy: np.ndarray
    basins: np.ndarray
    cores: np.ndarray
    depths: np.ndarray
    minima: np.ndarray
    shares: np.ndarray

    @property
    def count(self) -> int:
        return len(self.depths)

    def places(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Indices of the grid points nearest to values of the variables, (F, D)."""
        return tuple(
            np.clip(np.rint((column - axis[0]) / (axis[1] - axis[0])), 0, len(axis) - 1).astype(int)
            for column, axis in zip(np.asarray(values).T, self.axes, strict=True)
        )

    def basin_of(self, values: np.ndarray) -> np.ndarray:
        """The state of each frame by its basin, −1 outside all basins, (F,)."""
        return np.asarray(self.basins[self.places(values)])

    def visited(self, values: np.ndarray) -> np.ndarray:
        """The core visited last at each frame of one run, −1 before the first core, (F,)."""
        here = np.asarray(self.cores[self.places(values)])
        last = np.maximum.accumulate(np.where(here >= 0, np.arange(len(here)), -1))
        return np.where(last >= 0, here[last], -1)


def find_states(
    values: np.ndarray,
    weights: np.ndarray,
    kt: float,
    persistence: float = PERSISTENCE,
    bandwidth: float | Sequence[float] = BANDWIDTH,
) -> States:
    """Finds the metastable states along one to three modes, from weighted frames.

    The density is smoothed on a grid. Two basins of −kT ln(density) are merged where the barrier
    between them is lower than `persistence` above the shallower one.

    Args:
        values: The modes of the frames, (F, D), dimensionless, with D from 1 to 3.
        weights: The unbiased weights of the frames, (F,); equal ones for unbiased frames.
        kt: kT in kJ/mol.
        persistence: The least barrier out of a state, kT.
        bandwidth: The width of the smoothing along every mode, or along each. It must be narrower
            than the gap between two states; half the width of a metadynamics hill is a good
            choice.

    Raises:
        OptionError: No or too many modes, or weights that do not match the frames.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> two = np.concatenate([rng.normal(-2, 0.4, 2000), rng.normal(2, 0.4, 2000)])[:, None]
        >>> find_states(two, np.ones(4000), 2.5).count
        2
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not 1 <= values.shape[1] <= 3:
        raise OptionError(f"states are found along 1 to 3 modes, not in shape {values.shape}")
    if len(weights) != len(values):
        raise OptionError(f"{len(weights)} weights do not match {len(values)} frames")
    axes, energy, cells = _smoothed_free_energy(values, weights, kt, bandwidth)
    basins = find_basins(energy, persistence * kt)
    found = basins[cells]
    counts = np.bincount(found[found >= 0], minlength=int(basins.max()) + 1)
    lowest = np.array([energy[basins == k].min() for k in range(len(counts))])
    enough = counts >= max(FEWEST_FRAMES, SMALLEST_SHARE * len(values))
    kept = np.flatnonzero(enough & (lowest <= HIGHEST * kt))
    kept = kept[np.argsort(lowest[kept])]
    states, cores = np.full_like(basins, -1), np.full_like(basins, -1)
    minima = []
    for new, old in enumerate(kept):
        here = basins == old
        states[here] = new
        # half of the barrier that separates two basins: their cores never touch
        cores[here & (energy <= lowest[old] + 0.5 * persistence * kt)] = new
        bottom = np.unravel_index(np.argmin(np.where(here, energy, np.inf)), energy.shape)
        minima.append([axis[i] for axis, i in zip(axes, bottom, strict=True)])
    return States(
        axes=axes,
        free_energy=energy,
        basins=states,
        cores=cores,
        depths=lowest[kept],
        minima=np.array(minima).reshape(len(kept), values.shape[1]),
        shares=counts[kept] / len(values),
    )


def _smoothed_free_energy(
    values: np.ndarray, weights: np.ndarray, kt: float, bandwidth: float | Sequence[float]
) -> tuple[list[np.ndarray], np.ndarray, tuple[np.ndarray, ...]]:
    """The grid along each mode, −kT ln of the smoothed density on it, and each frame's cell."""
    n_modes = values.shape[1]
    widths = np.broadcast_to(np.asarray(bandwidth, dtype=np.float64), (n_modes,))
    widths = np.maximum(widths, np.ptp(values, axis=0) / MOST_POINTS)
    per_width = POINTS_PER_BANDWIDTH[n_modes]
    axes, edges = [], []
    for column, width in zip(values.T, widths, strict=True):
        step = width / per_width
        axis = np.arange(column.min() - 4 * width, column.max() + 4 * width + step, step)
        axes.append(axis)
        edges.append(np.append(axis - 0.5 * step, axis[-1] + 0.5 * step))
    density, _ = np.histogramdd(values, edges, weights=weights)
    frames, _ = np.histogramdd(values, edges)
    smooth = gaussian_filter(density, per_width, mode="constant", truncate=4.0)
    known = gaussian_filter(frames, per_width, mode="constant", truncate=4.0)
    # less than a tenth of what one frame contributes at its own position is the tail of a kernel
    peak = (1.0 / per_width / np.sqrt(2 * np.pi)) ** n_modes
    with np.errstate(divide="ignore"):
        energy = np.where(known > 0.1 * min(peak, 1.0), -kt * np.log(smooth), np.inf)
    energy -= energy.min()
    cells = tuple(
        np.clip(np.searchsorted(edge, column, side="right") - 1, 0, len(axis) - 1)
        for column, edge, axis in zip(values.T, edges, axes, strict=True)
    )
    return axes, energy, cells


def count_crossings(visited: np.ndarray, lengths: Sequence[int] | None = None) -> int:
    """Counts how often the last visited core changes within each run.

    Args:
        visited: The core visited last at each frame, −1 before the first core, (F,).
        lengths: The number of frames in each continuous run; one run where None.

    Example:
        >>> count_crossings(np.array([-1, 0, 0, 1, 1, 0]))
        2
        >>> count_crossings(np.array([-1, 0, 0, 1, 1, 0]), [3, 3])
        1
    """
    crossings, start = 0, 0
    for length in [len(visited)] if lengths is None else lengths:
        run = visited[start : start + length]
        run = run[run >= 0]
        crossings += int((np.diff(run) != 0).sum())
        start += length
    return crossings


def describe_states(states: States) -> str:
    """The number of metastable states, with a fallback where there are too few crossings.

    Args:
        states: The states.
    """
    if states.count == 0:
        return (
            "No metastable state yet: one is a basin along the slowest modes that holds "
            f"{FEWEST_FRAMES} frames of the biased runs or more. Longer runs give more frames."
        )
    if states.count == 1:
        return (
            "One metastable state along the slowest modes: there is nothing to cross, so "
            "crossings cannot tell a good round from a bad one. Look at torsions."
        )
    return f"{states.count} metastable states along the slowest modes"
