"""The base of all ways in which the rounds of an adaptive loop learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from symplectic_cv.adaptation.flattening import write_training_weights
from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.round_folders import LoopFolder
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.flows.options import Chart

OnStep = Callable[[int, int, float | None], None]
"""Called with the step reached, the number of all steps, and the best validation NLL so far in nats
(None for modes that have no likelihood)."""
Warn = Callable[[str], None]


class RoundLearner(ABC):
    """A way to learn the model of a round from the frames of all rounds before.

    Attributes:
        chart: The coordinates that the models are functions of.
        n_modes: The number of modes of each model.
        temperature: The temperature of the data, in K.
    """

    chart: Chart
    n_modes: int
    temperature: float

    @abstractmethod
    def shortage(self, lengths: Sequence[int]) -> str | None:
        """The reason why frames are too few, with the remedy; None where they are enough.

        Args:
            lengths: The number of frames of each continuous run.
        """

    def learn(
        self,
        folder: LoopFolder,
        number: int,
        gathered: GatheredFrames,
        progress: OnStep | None = None,
        warn: Warn | None = None,
    ) -> None:
        """Learns the model of a round, or the rest of it; does nothing if it is complete.

        The first round counts all frames the same. Later rounds take `weights`, which are also
        written into the folder of the round.

        Args:
            folder: The folder of the loop.
            number: The number of the round, from 1.
            gathered: All frames before the round.
            progress: Called after each step.
            warn: Called with each warning about the data.

        Raises:
            UserError: The data cannot carry a model, or the folder holds another training.
        """
        if folder.has_model(number):
            return
        folder.round(number).mkdir(exist_ok=True)
        weights = None
        if number > 1:
            weights = self.weights(gathered)
            write_training_weights(folder, number, weights)
        self.fit(folder.model(number), number, gathered.data, weights, progress, warn)

    @abstractmethod
    def weights(self, gathered: GatheredFrames) -> np.ndarray:
        """The training weights of all frames before a round, (F,), by the model before.

        Args:
            gathered: All frames before the round.
        """

    @abstractmethod
    def fit(
        self,
        output: Path,
        number: int,
        data: TrajectoryData,
        weights: np.ndarray | None,
        progress: OnStep | None,
        warn: Warn | None,
    ) -> None:
        """Learns a model from weighted frames and writes its folder.

        Args:
            output: The model folder. It may hold the beginning of this training.
            number: The number of the round, from 1.
            data: The frames.
            weights: One weight for each frame, (F,); all count the same where None.
            progress: Called after each step.
            warn: Called with each warning about the data.
        """

    @abstractmethod
    def modes_to_bias(self, folder: LoopFolder, number: int, gathered: GatheredFrames) -> list[int]:
        """The modes that a round biases where the user names none.

        Args:
            folder: The folder of the loop.
            number: The number of the round, whose model is complete.
            gathered: All frames before the round.
        """
