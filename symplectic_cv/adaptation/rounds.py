"""The rounds of an adaptive loop together: where their files lie, all frames, exact weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symplectic_cv.adaptation import progress as adaptation
from symplectic_cv.adaptation.progress import MOST_MODES, Progress, RoundModel
from symplectic_cv.analysis.latent import latent_frames
from symplectic_cv.bias.combined_runs import CombinedRuns, combine_runs
from symplectic_cv.bias.reweighting import Reweighted, free_energies, planes_of
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.states import BANDWIDTH, States
from symplectic_cv.data.descriptors import Column, compute_columns
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.models.model_folder import load_model

SUMMARY = "summary.json"
"""The last file of a round, and of the run that a loop makes to begin with."""


@dataclass(frozen=True)
class Loop:
    """Where the files of a loop lie.

    Attributes:
        folder: of the whole loop.
        start: trajectories that it begins with.
        top: topology of all trajectories.
    """

    folder: Path
    start: list[str]
    top: Path

    def round(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def bias(self, number: int) -> Path:
        return self.round(number) / "metadynamics"

    def trajectories(self, rounds: int) -> list[str | Path]:
        """What is known after so many rounds."""
        return [*self.start, *(self.bias(k) / "trajectory.xtc" for k in range(1, rounds + 1))]

    def start_ns(self) -> float:
        """Length of the run that the loop made to begin with; NaN for files of the user."""
        record = self.folder / "start" / SUMMARY
        if not record.is_file():
            return float("nan")
        return float(json.loads(record.read_text())["time_ns"])


@dataclass(frozen=True)
class Known:
    """All frames after so many rounds, their modes, and their exact weights.

    Attributes:
        loop: where things lie.
        runs: the biased runs, round after round.
        data: frames of the start and of all rounds.
        n_start: frames of the start, which come first.
        models: of the rounds.
        modes: the biased modes of every round on all frames, (F, n) each.
        slow: the slowest modes of the newest model on all frames, (F, D), by which states are
            told apart. Two modes may lay one state over the other where a third does not.
        combined: weights of the biased frames, all runs alike.
    """

    loop: Loop
    runs: list[BiasedRun]
    data: TrajectoryData
    n_start: int
    models: list[RoundModel]
    modes: list[np.ndarray]
    slow: np.ndarray
    combined: CombinedRuns

    @classmethod
    def read(
        cls,
        loop: Loop,
        models: list[RoundModel],
        atoms: str | None,
        progress: Callable[[int], None] | None = None,
    ) -> Known:
        """Reads the rounds that have these models.

        Args:
            atoms: selection of the modelled atoms.
            progress: called with the number of frames just read.

        Raises:
            OutputError, TrajectoryError: a table or a trajectory that is damaged, or that do not
                belong together.
        """
        runs = [BiasedRun.read(loop.bias(k)) for k in range(1, len(models) + 1)]
        sources = loop.trajectories(len(models))
        data = read_trajectories(sources, loop.top, atoms, progress=progress)
        n_start = sum(data.lengths[: len(loop.start)])
        for run, length in zip(runs, data.lengths[len(loop.start) :], strict=True):
            run.require_frames(length)
        modes, first = [], n_start
        for number, (model, run) in enumerate(zip(models, runs, strict=True), 1):
            seen = latent_frames(load_model(loop.round(number) / "model"), data).modes
            values = seen[:, model.modes].astype(np.float64)
            # as the simulation had them, not as the rounded frames of the file give them back
            values[first : first + len(run.frames)] = run.frames.modes
            first += len(run.frames)
            modes.append(values)
        slow = seen[:, :MOST_MODES].astype(np.float64)
        combined = combine_runs(runs, [values[n_start:] for values in modes])
        return cls(loop, runs, data, n_start, models, modes, slow, combined)

    def judge(self, kt: float) -> tuple[States, list[Progress]]:
        """States of the newest model, and the progress of every source between them."""
        weights = np.zeros(self.data.n_frames)
        weights[self.n_start + self.combined.kept] = self.combined.weights
        n = len(self.loop.start)
        lengths = [self.data.lengths[:n], *([length] for length in self.data.lengths[n:])]
        start_ns = self.loop.start_ns()
        times = [start_ns, *(1e-3 * float(run.frames.time_ps[-1]) for run in self.runs)]
        # two states may be no farther apart than a hill is wide
        width = min(BANDWIDTH, *(0.5 * hill for hill in self.runs[-1].record.widths))
        return adaptation.judge(self.slow, weights, lengths, times, kt, 0, width)

    def free_energies(
        self, best: int, progress: list[Progress], states: States, seed: int
    ) -> Reweighted:
        """Free energies in the modes of the best round, in torsions, and of the states.

        Rounds that cross less than the best count less (`adaptation.strides`).
        """
        combined = self.combined.thinned(adaptation.strides(progress))
        positions = self.data.positions[self.n_start :]
        names = [f"mode_{mode}" for mode in self.models[best - 1].modes]
        own = self.modes[best - 1][self.n_start :]
        columns = [
            Column(name, "", values, False) for name, values in zip(names, own.T, strict=True)
        ]
        planes = [(0, 1)] if len(columns) > 1 else []
        torsions = compute_columns(positions, self.data.molecule)
        shift = len(columns)
        planes += [(i + shift, j + shift) for i, j in planes_of(torsions)]
        of_frame = states.basin_of(self.slow[self.n_start :])
        masks = {f"state {k}": of_frame == k for k in range(states.count)}
        return free_energies(self.runs, combined, [*columns, *torsions], planes, masks, seed=seed)
