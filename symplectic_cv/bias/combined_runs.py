"""Several biased runs as one sample: the unbiased weight of every frame.

A metadynamics bias moves, but slowly once the basins are full. Each run is cut into stretches
of time. Each stretch is a state of MBAR, with the hills that stood in its middle. All frames are
weighted against all states, so runs with different modes and models combine exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np

from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.weights import mbar_weights, running_weights, settled_from
from symplectic_cv.checks import choose
from symplectic_cv.errors import OptionError
from symplectic_cv.statistics import effective_size

STRETCHES = 20
"""Stretches of time in each run. Ten to forty give the same free energies within their errors."""


class Weighting(str, Enum):
    """The methods that remove a bias.

    MBAR: All runs together. Each stretch of time is a state with the bias at its middle.
    RUNNING: The weight exp((V − c)/kT) of each frame, with the bias that it felt.
    """

    MBAR = "mbar"
    RUNNING = "running"


@dataclass(frozen=True)
class CombinedRuns:
    """Frames of several runs after their transients, and their unbiased weights.

    Attributes:
        since_ps: The time of the first frame that is kept, for each run, ps.
        strides: The stride of each run: every n-th frame is kept.
        kept: The places of the kept frames among all frames, run after run, (F,).
        run: The number of the run that each kept frame belongs to, (F,).
        lengths: The number of kept frames of each continuous piece: a run, or a walker of a run.
        weights: The unbiased weight of each kept frame, (F,), with sum 1.
        state: The MBAR state that each kept frame was drawn from, (F,); None for running weights.
        reduced: V/kT of every MBAR state on each kept frame, (K, F); None for running weights.
    """

    since_ps: list[float]
    strides: list[int]
    kept: np.ndarray
    run: np.ndarray
    lengths: list[int]
    weights: np.ndarray
    state: np.ndarray | None = None
    reduced: np.ndarray | None = None

    @property
    def effective_frames(self) -> float:
        """Kish's effective number of frames, (Σw)²/Σw²."""
        return effective_size(self.weights)

    def thinned(self, strides: Sequence[int]) -> CombinedRuns:
        """Every `strides[r]`th frame of each run r, with new weights.

        MBAR assumes that frames are independent. Runs whose frames are more correlated than
        those of others must therefore be thinned.

        Args:
            strides: One stride for each run, 1 or more.

        Raises:
            OptionError: Another number of strides than of runs, or a stride below 1.
        """
        n_runs = len(self.since_ps)
        if len(strides) != n_runs or min(strides) < 1:
            raise OptionError(
                f"`stride` {' '.join(map(str, strides))}: give one number for each of the {n_runs} "
                "runs, or one for all; 1 or more"
            )
        if max(strides) == 1:
            return self
        rows = np.concatenate(
            [np.flatnonzero(self.run == r)[::stride] for r, stride in enumerate(strides)]
        )
        pieces = np.repeat(np.arange(len(self.lengths)), self.lengths)
        if self.reduced is None or self.state is None:
            state = reduced = None
            weights = self.weights[rows] / self.weights[rows].sum()
        else:
            state, reduced = self.state[rows], self.reduced[:, rows]
            weights = mbar_weights(reduced, np.bincount(state, minlength=len(reduced)).tolist())
        return CombinedRuns(
            self.since_ps,
            [old * new for old, new in zip(self.strides, strides, strict=True)],
            self.kept[rows],
            self.run[rows],
            [int(n) for n in np.bincount(pieces[rows]) if n > 0],
            weights,
            state,
            reduced,
        )


def transients(runs: Sequence[BiasedRun]) -> list[float]:
    """Time at which the transient of each run ends, ps, from bias minus c(t) over time."""
    found = []
    for run in runs:
        order = np.argsort(run.frames.time_ps, kind="stable")  # walkers stand one after another
        series = (run.frames.bias - run.frames.offset)[order]
        found.append(float(run.frames.time_ps[order][settled_from(series)]))
    return found


def combine_runs(
    runs: Sequence[BiasedRun],
    modes: Sequence[np.ndarray] | None = None,
    since_ps: Sequence[float] | None = None,
    weighting: str | Weighting = Weighting.MBAR,
    stretches: int = STRETCHES,
) -> CombinedRuns:
    """Unbiased weights of the frames of one or several runs at one temperature.

    Args:
        runs: The biased runs, from `BiasedRun.read`.
        modes: The biased modes of each run r on all frames of all runs, run after run,
            (F_all, n_r), dimensionless. They may be left out for a single run, whose own table
            is then used.
        since_ps: The time of the first frame of each run to use, ps; the end of each run's
            transient where None.
        weighting: `mbar` or `running`.
        stretches: The number of stretches that each run is cut into, for MBAR.

    Raises:
        OptionError: Runs at different temperatures, modes of other frames, or no frame left.
    """
    weighting = choose(Weighting, weighting, "weighting")
    kt = _common_kt(runs)
    since_ps = transients(runs) if since_ps is None else list(since_ps)
    modes = _checked_modes(runs, modes)
    kept, owner, lengths, times = _kept_frames(runs, since_ps)
    strides = [1] * len(runs)
    if weighting is Weighting.RUNNING:
        bias = np.concatenate([run.frames.bias for run in runs])
        offset = np.concatenate([run.frames.offset for run in runs])
        weights = running_weights(bias[kept], offset[kept], kt)
        return CombinedRuns(since_ps, strides, kept, owner, lengths, weights)
    biases: list[np.ndarray] = []
    states: list[np.ndarray] = []
    for run, time, values in zip(runs, times, modes, strict=True):
        order = np.argsort(time, kind="stable")  # walkers stand one after another
        number = min(stretches, len(time)) if run.hill_list is not None else 1
        bounds = np.arange(number + 1) * len(time) // number
        middles = [time[order[(a + b) // 2]] for a, b in pairwise(bounds)]
        of_frame = np.empty(len(time), dtype=np.int64)
        of_frame[order] = len(biases) + np.repeat(np.arange(number), np.diff(bounds))
        states.append(of_frame)
        biases += biases_at(run, np.asarray(values)[kept], middles)
    reduced, state = np.array(biases) / kt, np.concatenate(states)
    weights = mbar_weights(reduced, np.bincount(state).tolist())
    return CombinedRuns(since_ps, strides, kept, owner, lengths, weights, state, reduced)


def _common_kt(runs: Sequence[BiasedRun]) -> float:
    """kT of all runs, kJ/mol; raises OptionError where their temperatures differ."""
    if len({round(run.record.kt, 9) for run in runs}) != 1:
        found = ", ".join(f"{run.folder}: {run.record.temperature:g} K" for run in runs)
        raise OptionError(f"runs at different temperatures cannot be combined ({found})")
    return runs[0].record.kt


def _checked_modes(
    runs: Sequence[BiasedRun], modes: Sequence[np.ndarray] | None
) -> Sequence[np.ndarray]:
    """The modes of each run on the frames of all; raises OptionError where frames are missing."""
    n_frames = sum(len(run.frames) for run in runs)
    if modes is None:
        if len(runs) > 1:
            raise OptionError("several runs need the modes of each on the frames of all")
        modes = [runs[0].frames.modes]
    for run, values in zip(runs, modes, strict=True):
        if len(values) != n_frames:
            raise OptionError(
                f"{run.folder}: its modes are known on {len(values)} frames, the runs have "
                f"{n_frames}"
            )
    return modes


def _kept_frames(
    runs: Sequence[BiasedRun], since_ps: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, list[int], list[np.ndarray]]:
    """Frames after the transients: places, runs, lengths of pieces, and times of each run."""
    places, owners, lengths, times, first = [], [], [], [], 0
    for number, (run, since) in enumerate(zip(runs, since_ps, strict=True)):
        rows = np.flatnonzero(run.frames.time_ps >= since)
        if len(rows) == 0:
            raise OptionError(
                f"{run.folder}: ends at {run.frames.time_ps.max():g} ps, so no frame is left from "
                f"{since:g} ps on"
            )
        walker = run.frames.walker[rows]
        lengths += [int((walker == one).sum()) for one in dict.fromkeys(walker.tolist())]
        places.append(first + rows)
        owners.append(np.full(len(rows), number))
        times.append(run.frames.time_ps[rows])
        first += len(run.frames)
    return np.concatenate(places), np.concatenate(owners), lengths, times


def biases_at(run: BiasedRun, modes: np.ndarray, times: Sequence[float]) -> list[np.ndarray]:
    """The run's bias, walls included, as it stood at each of several times.

    OPES keeps no hills, so its last bias is given for every time.

    Args:
        run: The run whose bias is computed.
        modes: The biased modes of the run, (F, n), dimensionless.
        times: The simulation times, increasing, in ps.

    Returns:
        The bias on each frame at each time, (F,) each, in kJ/mol.
    """
    if run.hill_list is None:
        return [run.bias_at(modes)] * len(times)
    inside, walls = run.record.grid.clamp(modes), run.record.walls_at(modes)
    # hills have no height once c(t) has reached the fill
    hills = run.hill_list[run.hill_list.heights > 0.0]
    total, done, found = np.zeros(len(modes)), 0, []
    for until in np.searchsorted(hills.time_ps, times, side="right"):
        if until > done:
            total = total + hills[done : int(until)].at(inside)
        done = int(until)
        found.append(total + walls)
    return found
