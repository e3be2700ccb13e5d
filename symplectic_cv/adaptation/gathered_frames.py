"""All frames of an adaptive loop, seen by the models of its rounds: states and free energies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import mdtraj as md
import numpy as np

from symplectic_cv.adaptation.amides import turned_amides
from symplectic_cv.adaptation.convergence import profile_change
from symplectic_cv.adaptation.judging import RoundProgress, judge_runs, thinning_strides
from symplectic_cv.adaptation.mode_choice import MOST_MODES
from symplectic_cv.adaptation.round_folders import TRAJECTORY, LoopFolder, RoundModel
from symplectic_cv.analysis.latent import latent_frames
from symplectic_cv.bias.combined_runs import CombinedRuns, combine_runs
from symplectic_cv.bias.reweighted import Reweighted
from symplectic_cv.bias.reweighting import free_energies, planes_of
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.states import BANDWIDTH, States
from symplectic_cv.charts.torsion_metric import torsion_angles
from symplectic_cv.data.descriptors import Column, compute_columns
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import DataWarning
from symplectic_cv.models.torsion_folder import load_modes
from symplectic_cv.models.torsion_model import TorsionModel

OnFrames = Callable[[int], None]
"""Called with the number of frames just read."""


class GatheredFrames:
    """The frames that a loop began with and those of its biased runs, with each round's model.

    Each trajectory is read once, when its frames are first needed, and appended. What the models
    say about the frames is computed when it is first needed, and kept until a run is added.

    Attributes:
        models: The models of rounds 1, 2, …
    """

    def __init__(
        self,
        folder: LoopFolder,
        start: TrajectoryData,
        topology: md.Topology,
        progress: OnFrames | None = None,
    ) -> None:
        """Begins with the frames of the start.

        Args:
            folder: The folder of the loop.
            start: The frames that the loop begins with.
            topology: The topology of the biased runs' trajectories.
            progress: A function that is called with the number of frames just read.
        """
        self.models: list[RoundModel] = []
        self._folder = folder
        self._start = start
        self._topology = topology
        self._progress = progress
        self._runs: dict[int, tuple[BiasedRun, TrajectoryData]] = {}
        self._data: TrajectoryData | None = start
        self._views: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._combined: CombinedRuns | None = None

    @property
    def n_start(self) -> int:
        """Number of frames that the loop began with; they come first."""
        return self._start.n_frames

    def add_round(self, model: RoundModel) -> None:
        """Adds the next round, whose biased run is complete.

        Args:
            model: The model of the round.
        """
        self.models.append(model)
        self._forget_views()

    def run_changed(self, number: int) -> None:
        """Forgets the frames of a round whose biased run was made longer.

        Args:
            number: The number of the round, from 1.
        """
        self._runs.pop(number, None)
        self._forget_views()

    def _forget_views(self) -> None:
        self._data = None
        self._views = {}
        self._combined = None

    @property
    def data(self) -> TrajectoryData:
        """All frames: those of the start, then those of each round.

        Raises:
            OutputError: a run's table and its trajectory do not belong together.
            TrajectoryError: a trajectory is missing or damaged.
        """
        if self._data is None:
            self._data = reduce(TrajectoryData.joined, self._parts())
        return self._data

    @property
    def runs(self) -> list[BiasedRun]:
        """The biased runs of rounds 1, 2, …; errors as for `data`."""
        return [self._run(number)[0] for number in range(1, len(self.models) + 1)]

    def _parts(self) -> list[TrajectoryData]:
        numbers = range(1, len(self.models) + 1)
        return [self._start, *(self._run(number)[1] for number in numbers)]

    def _run(self, number: int) -> tuple[BiasedRun, TrajectoryData]:
        """The biased run of a round and its frames, read when they are first needed."""
        if number not in self._runs:
            run = BiasedRun.read(self._folder.bias(number))
            file = run.folder / TRAJECTORY
            part = read_trajectories(
                [file], self._topology, progress=self._progress, like=self._start
            )
            run.require_frames(part.n_frames)
            self._runs[number] = run, part
        return self._runs[number]

    def turned_amides(self, number: int) -> dict[str, int]:
        """The amide bonds that the biased run of a round has turned, with numbers of frames.

        Args:
            number: The number of the round, from 1.
        """
        start = self._start
        return turned_amides(self._run(number)[1].positions, start.positions, start.molecule)

    def slow_modes(self) -> np.ndarray:
        """The slowest modes of the newest model on all frames, (F, D), float32.

        States are told apart along these modes. There may be more of them than biased ones,
        because two modes may lay one state over the other where a third does not.
        """
        return self._view(len(self.models))[1]

    def _view(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Biased modes (F, n), as the simulations had them, and slow modes of a round's model."""
        if number not in self._views:
            with warnings.catch_warnings():
                # a round leaves the frames that its model knows; that is its purpose
                warnings.simplefilter("ignore", DataWarning)
                seen = self._modes(number)
            biased = seen[:, self.models[number - 1].modes].astype(np.float64)
            # the simulation's own values: positions in the trajectory file are rounded
            first = self.n_start + sum(len(run.frames) for run in self.runs[: number - 1])
            own = self.runs[number - 1].frames
            biased[first : first + len(own)] = own.modes
            self._views[number] = biased, seen[:, :MOST_MODES]
        return self._views[number]

    def _modes(self, number: int) -> np.ndarray:
        """All modes of a round's model on all frames, (F, n), float32."""
        model = load_modes(self._folder.model(number))
        if isinstance(model, TorsionModel):
            return model.modes(self.data).astype(np.float32)
        return latent_frames(model, self.data).modes

    def unbiased_weights(self) -> np.ndarray:
        """Weights of all frames: exact ones of the biased runs; equal ones before there are any.

        Frames that the loop began with have the weight 0 as soon as there are biased runs, because
        their weight relative to those is not known.
        """
        if not self.models:
            return np.full(self.data.n_frames, 1.0 / self.data.n_frames)
        combined = self.combined()
        weights = np.zeros(self.data.n_frames)
        weights[self.n_start + combined.kept] = combined.weights
        return weights

    def combined(self) -> CombinedRuns:
        """Unbiased weights of the frames of all biased runs, without thinning."""
        if self._combined is None:
            self._combined = self._combine(len(self.models))
        return self._combined

    def _combine(self, rounds: int) -> CombinedRuns:
        """Unbiased weights of the frames of the first rounds."""
        runs = self.runs[:rounds]
        end = self.n_start + sum(len(run.frames) for run in runs)
        numbers = range(1, rounds + 1)
        return combine_runs(runs, [self._view(n)[0][self.n_start : end] for n in numbers])

    def judge(self, kt: float) -> tuple[States, list[RoundProgress]]:
        """States of the newest model, and the progress of every round between them.

        Args:
            kt: kT in kJ/mol.
        """
        weights = self.unbiased_weights()
        lengths = [part.lengths for part in self._parts()]
        runs = self.runs
        times = [
            self._folder.start_ns(),
            *(1e-3 * float(run.frames.time_ps[-1]) for run in runs),
        ]
        # the smoothing must not join two states that the newest hills tell apart
        width = min(BANDWIDTH, *(0.5 * hill for hill in runs[-1].record.widths))
        slow = self.slow_modes().astype(np.float64)
        return judge_runs(slow, weights, lengths, times, kt, 0, width)

    def free_energies(
        self, best: int, rows: Sequence[RoundProgress], states: States, seed: int = 0
    ) -> Reweighted:
        """Free energies in the modes of the best round, in torsions, and of the states.

        Rounds that rarely cross are thinned (`judging.thinning_strides`).

        Args:
            best: The number of the round whose modes the free energies are given in.
            rows: The progress of all rounds.
            states: The states of the newest model.
            seed: The seed of the bootstrap resamples behind the errors.
        """
        combined = self.combined().thinned(thinning_strides(rows))
        positions = self.data.positions[self.n_start :]
        names = [f"mode_{mode}" for mode in self.models[best - 1].modes]
        own = self._view(best)[0][self.n_start :]
        columns = [
            Column(name, "", values, False) for name, values in zip(names, own.T, strict=True)
        ]
        planes = [(0, 1)] if len(columns) > 1 else []
        torsions = self._torsions(positions)
        shift = len(columns)
        planes += [(i + shift, j + shift) for i, j in planes_of(torsions)]
        of_frame = states.basin_of(self.slow_modes()[self.n_start :].astype(np.float64))
        masks = {f"state {k}": of_frame == k for k in range(states.count)}
        return free_energies(self.runs, combined, [*columns, *torsions], planes, masks, seed=seed)

    def _torsions(self, positions: np.ndarray) -> list[Column]:
        """Torsions of frames in rad, those of the newest model or else of the backbone."""
        model = load_modes(self._folder.model(len(self.models)))
        if not isinstance(model, TorsionModel):
            return compute_columns(positions, self.data.molecule)
        angles = torsion_angles(positions, model.bonds)
        return [
            Column(bond.name, "rad", values, True)
            for bond, values in zip(model.bonds, angles.T, strict=True)
        ]

    def measure_change(self, rows: Sequence[RoundProgress]) -> RoundModel:
        """Notes how much the last round changed the free energies along the torsions.

        Args:
            rows: The progress of all rounds.

        Returns:
            The model of the last round, with the change.
        """
        change = self._free_energy_change(rows)
        self.models[-1] = replace(self.models[-1], free_energy_change=change)
        return self.models[-1]

    def _free_energy_change(self, rows: Sequence[RoundProgress]) -> float | None:
        """The largest change among the profiles, in kJ/mol; None after the first round."""
        columns = self._torsions(self.data.positions[self.n_start :])
        if len(self.models) < 2 or not columns:
            return None
        strides = thinning_strides(rows)
        found = []
        for rounds in (len(self.models) - 1, len(self.models)):
            combined = self.combined() if rounds == len(self.models) else self._combine(rounds)
            combined = combined.thinned(strides[:rounds])
            runs = self.runs[:rounds]
            end = sum(len(run.frames) for run in runs)
            parts = [Column(c.name, c.unit, c.values[:end], c.periodic) for c in columns]
            found.append(free_energies(runs, combined, parts, [], {}).profiles)
        return profile_change(*found)
