"""Several biased runs as one sample: the unbiased weight of every frame.

A metadynamics bias moves, but slowly once the basins are full. Each run is cut into stretches
of time; a stretch is a state of MBAR with the hills that stood in its middle. All frames are
weighed against all states, so runs with different modes and models combine exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np

from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.weights import effective_size, mbar_weights, running_weights, settled_from
from symplectic_cv.errors import OptionError

STRETCHES = 20
"""Per run; ten to forty give the same free energies within their errors."""


class Weighting(str, Enum):
    """How a bias is taken out.

    MBAR: all runs together, each stretch of time a state with the bias in its middle.
    RUNNING: every frame by exp((V − c)/kT) with the bias that it felt.
    """

    MBAR = "mbar"
    RUNNING = "running"


@dataclass(frozen=True)
class Combined:
    """Frames of several runs behind their transients, and their weights.

    Attributes:
        starts: first kept frame of each run.
        lengths: kept frames of each run.
        kept: which of all frames these are, run after run, (F,).
        weights: (F,), sum 1.
    """

    starts: list[int]
    lengths: list[int]
    kept: np.ndarray
    weights: np.ndarray

    @property
    def effective_frames(self) -> float:
        return effective_size(self.weights)


def transients(runs: Sequence[BiasedRun]) -> list[int]:
    """First frame of each run behind its transient, from bias minus c(t) over time."""
    return [settled_from(run.colvar.bias - run.colvar.offset) for run in runs]


def combine(
    runs: Sequence[BiasedRun],
    modes: Sequence[np.ndarray] | None = None,
    starts: Sequence[int] | None = None,
    weighting: Weighting = Weighting.MBAR,
    stretches: int = STRETCHES,
) -> Combined:
    """Weights of the frames of one or several runs at one temperature.

    Args:
        runs: from `BiasedRun.read`.
        modes: for each run its biased modes on all frames of all runs, run after run,
            (F_all, n_r); the colvar's own where None, which does for a single run.
        starts: first frame of each run to use; found by `transients` where None.
        weighting: how.
        stretches: of each run, for MBAR.

    Raises:
        OptionError: runs at different temperatures, modes of other frames, or no frame left.
    """
    kts = {round(run.record.kt, 9) for run in runs}
    if len(kts) != 1:
        found = ", ".join(f"{run.folder}: {run.record.temperature:g} K" for run in runs)
        raise OptionError(f"runs at different temperatures cannot be combined ({found})")
    kt = runs[0].record.kt
    sizes = [len(run.colvar) for run in runs]
    starts = transients(runs) if starts is None else list(starts)
    for run, start, size in zip(runs, starts, sizes, strict=True):
        if not 0 <= start < size:
            raise OptionError(
                f"{run.folder}: has {size} frames, so frame {start} cannot be the first to use"
            )
    if modes is None:
        if len(runs) > 1:
            raise OptionError("several runs need the modes of each on the frames of all")
        modes = [runs[0].colvar.modes]
    for run, values in zip(runs, modes, strict=True):
        if len(values) != sum(sizes):
            raise OptionError(
                f"{run.folder}: its modes are known on {len(values)} frames, the runs have "
                f"{sum(sizes)}"
            )
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    kept = np.concatenate(
        [
            np.arange(a + start, a + size)
            for a, start, size in zip(first, starts, sizes, strict=True)
        ]
    )
    lengths = [size - start for size, start in zip(sizes, starts, strict=True)]
    if weighting is Weighting.RUNNING:
        bias = np.concatenate([run.colvar.bias for run in runs])
        offset = np.concatenate([run.colvar.offset for run in runs])
        return Combined(starts, lengths, kept, running_weights(bias[kept], offset[kept], kt))
    reduced, counts = [], []
    for run, start, length, values in zip(runs, starts, lengths, modes, strict=True):
        times = run.colvar.time_ps[start:]
        number = min(stretches, length) if run.hills is not None else 1
        bounds = np.arange(number + 1) * length // number
        middles = [times[(a + b) // 2] for a, b in pairwise(bounds)]
        reduced += [bias / kt for bias in biases_at(run, np.asarray(values)[kept], middles)]
        counts += list(np.diff(bounds))
    return Combined(starts, lengths, kept, mbar_weights(np.array(reduced), counts))


def biases_at(run: BiasedRun, modes: np.ndarray, times: Sequence[float]) -> list[np.ndarray]:
    """The run's bias, walls included, as it stood at each time, on modes (F, n), in kJ/mol.

    That of OPES, which keeps no hills, is its last one at any time.
    """
    if run.hills is None:
        return [run.bias_at(modes)] * len(times)
    inside, walls = run.record.grid.clamp(modes), run.record.walls_at(modes)
    total, done, found = np.zeros(len(modes)), 0, []
    for until in np.searchsorted(run.hills.time_ps, times, side="right"):
        total = total + run.hills[done : int(until)].at(inside)
        done = int(until)
        found.append(total + walls)
    return found
