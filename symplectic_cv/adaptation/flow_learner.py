"""Rounds that train flows: on all frames so far, most from where frames are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from symplectic_cv.adaptation.flattening import flattening_weights
from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.mode_choice import modes_to_bias
from symplectic_cv.adaptation.round_folders import LoopFolder
from symplectic_cv.adaptation.round_learner import OnStep, RoundLearner, Warn
from symplectic_cv.data.split import contiguous_split
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.model_folder import read_config
from symplectic_cv.training.fit import prepare, train_in_folder
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.result import HistoryRow, InternalRow

SAFE_FRAMES_PER_MODE = 200


@dataclass(frozen=True)
class FlowLearner(RoundLearner):
    """Rounds that train a flow in the Eckart frame.

    The first round counts all frames the same. Later rounds weight them by their density along
    the slow modes of the model before.

    Attributes:
        n_modes: The number of modes of each model, 3N − 6.
        training: The options of the training; the seed grows by one from round to round.
        temperature: The temperature of the data, in K.
        flatten: The power of the density, as for `flattening_weights`.
        chart: The coordinates of the flow.
    """

    n_modes: int
    training: TrainingOptions
    temperature: float
    flatten: float
    chart: Chart = Chart.CARTESIAN

    def shortage(self, lengths: Sequence[int]) -> str | None:
        if len(contiguous_split(lengths)[0]) > self.n_modes:
            return None
        return (
            f"{sum(lengths)} frames, a tenth of them for validation, cannot determine "
            f"{self.n_modes} internal coordinates: better {SAFE_FRAMES_PER_MODE * self.n_modes} "
            "frames or more"
        )

    def weights(self, gathered: GatheredFrames) -> np.ndarray:
        return flattening_weights(gathered.slow_modes(), self.flatten)

    def fit(
        self,
        output: Path,
        number: int,
        data: TrajectoryData,
        weights: np.ndarray | None,
        progress: OnStep | None,
        warn: Warn | None,
    ) -> None:
        options = replace(self.training, seed=self.training.seed + number - 1)
        prepared = prepare(data, temperature=self.temperature, options=options, weights=weights)
        for message in prepared.warnings:
            if warn is not None:
                warn(message)
        best = float("inf")

        def show(step: int, row: HistoryRow | InternalRow | None) -> None:
            nonlocal best
            best = min(best, best if row is None else row.validation_nll)
            if progress is not None:
                progress(step, options.steps, best)

        train_in_folder(prepared, output, output.exists(), show)

    def modes_to_bias(self, folder: LoopFolder, number: int, gathered: GatheredFrames) -> list[int]:
        return modes_to_bias(np.array(read_config(folder.model(number))["omega_rad_per_ps"]))
