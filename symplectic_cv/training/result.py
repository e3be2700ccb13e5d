"""The result of a training on frames: the model, its history, and the folder with both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symplectic_cv.charts.eckart import FrameHealth
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.training.options import TrainingOptions


@dataclass(frozen=True)
class HistoryRow:
    """One line of history.csv of a Cartesian model or a model of torsions.

    NLLs are in nats per frame, of phase space and of configurations.
    """

    step: int
    train_nll: float
    validation_nll: float
    validation_nll_configuration: float
    learning_rate: float


@dataclass(frozen=True)
class InternalRow:
    """One line of history.csv of a model in internal coordinates.

    NLLs are in nats per frame, of structures. `validation_ess` is the effective share of the
    flow's own samples as the held-out frames predict it (`effective_share_of_target`); it is NaN
    without energies.
    """

    step: int
    train_nll: float
    validation_nll: float
    validation_ess: float
    learning_rate: float


@dataclass(frozen=True)
class FrameSource:
    """The source of the frames of a training.

    Attributes:
        names: The names of the runs; empty for frames from memory without a name.
        n_frames: The number of all frames.
        sha256: The SHA-256 of the positions and the weights.
        system_sha256: The SHA-256 of the file that the energies come from, or None.
    """

    names: list[str] = field(default_factory=list)
    n_frames: int = 0
    sha256: str = ""
    system_sha256: str | None = None


@dataclass
class TrainingResult:
    """A trained model with the history of its training.

    Attributes:
        model: The model with the best weights of the run, slowest mode first. The frequencies of
            a Cartesian model are exact for its flow.
        history: One row per validation.
        validation_nll: The NLL over the whole validation set, in nats per frame: of phase space,
            or of structures in internal coordinates.
        gaussian_nll: The same NLL of the start of the training, in nats per frame.
        health: The distance of the frames from the limit of the Eckart frame.
        warnings: One line for each property of the data that limits the model.
        stopped_early: Whether the validation loss had stopped improving.
        options: The options of the training.
        source: Where the frames came from.
        validation_nll_configuration: The NLL of structures over the whole validation set, in nats
            per frame (q in ps), by which models of different charts compare; NaN where unknown.
    """

    model: NeuralCanonicalTransformation = field(repr=False)
    history: list[Any] = field(repr=False)
    validation_nll: float
    gaussian_nll: float
    health: FrameHealth
    warnings: list[str] = field(default_factory=list)
    stopped_early: bool = False
    options: TrainingOptions = field(default_factory=TrainingOptions)
    source: FrameSource = field(default_factory=FrameSource)
    validation_nll_configuration: float = math.nan

    def record(self) -> dict[str, Any]:
        """The record of the training in the model folder (JSON)."""
        return {
            "options": self.options.to_json(),
            "trajectories": self.source.names,
            "frames": self.source.n_frames,
            "validation_nll_nats": self.validation_nll,
            "validation_nll_configuration_nats": self.validation_nll_configuration,
            "gaussian_start_nll_nats": self.gaussian_nll,
            "frame_health": self.health.smallest,
            "warnings": self.warnings,
            "stopped_early": self.stopped_early,
        }

    def save(self, folder: str | Path) -> None:
        """Writes the model folder: model.safetensors, config.json and history.csv.

        Args:
            folder: The folder, which is made where it is missing.
        """
        save_model(folder, self.model, self.history, training=self.record())
