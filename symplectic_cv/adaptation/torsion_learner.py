"""Rounds that find modes of torsions: seconds each, most from where frames are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symplectic_cv.adaptation.flattening import tempered_weights
from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.mode_choice import MOST_MODES
from symplectic_cv.adaptation.round_folders import LoopFolder
from symplectic_cv.adaptation.round_learner import OnStep, RoundLearner, Warn
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.flows.options import Chart
from symplectic_cv.training.torsion import fit_torsion_modes


@dataclass(frozen=True)
class TorsionLearner(RoundLearner):
    """Rounds that find the modes of least frequency in the torsions.

    The first round counts all frames the same. Later rounds weight them as they would count at a
    higher temperature, so that all basins and the barriers between them shape the modes.

    Attributes:
        n_modes: The number of modes of each model.
        n_functions: The number of functions of the torsions that the modes are made of.
        temperature: The temperature of the data, in K.
        flatten: The power of the unbiased density, as for `tempered_weights`.
        order: The highest harmonic of a torsion.
        amides: Whether the torsions of peptide and amide bonds take part.
        chart: The coordinates of the modes.
    """

    n_modes: int
    n_functions: int
    temperature: float
    flatten: float
    order: int
    amides: bool = False
    chart: Chart = Chart.TORSION

    def shortage(self, lengths: Sequence[int]) -> str | None:
        if sum(lengths) > self.n_functions:
            return None
        return (
            f"{sum(lengths)} frames cannot determine {self.n_functions} functions of torsions: "
            "give more frames, a lower `order`, or fewer `atoms`"
        )

    def weights(self, gathered: GatheredFrames) -> np.ndarray:
        return tempered_weights(gathered.slow_modes(), gathered.unbiased_weights(), self.flatten)

    def fit(
        self,
        output: Path,
        number: int,
        data: TrajectoryData,
        weights: np.ndarray | None,
        progress: OnStep | None,
        warn: Warn | None,
    ) -> None:
        if progress is not None:
            progress(0, 1, None)
        result = fit_torsion_modes(
            data,
            self.temperature,
            order=self.order,
            n_modes=self.n_modes,
            weights=weights,
            amides=self.amides,
        )
        for message in result.warnings:
            if warn is not None:
                warn(message)
        result.save(output)
        if progress is not None:
            progress(1, 1, None)

    def modes_to_bias(self, folder: LoopFolder, number: int, gathered: GatheredFrames) -> list[int]:
        """The three slowest modes.

        With fewer modes different conformations share their values more often, and the rarer one
        is then hardly sampled. (Alanine dipeptide, 5 ns: of the 343 bins of F(φ, ψ) below 20
        kJ/mol a bias on two modes missed 23 and 42, one on three modes missed 3.)
        """
        return list(range(min(MOST_MODES, self.n_modes)))
