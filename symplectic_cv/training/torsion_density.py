"""Torsion modes together with their density: what a training in the torsion chart gives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from symplectic_cv.errors import OutputError
from symplectic_cv.models.model_folder import MODES, has_weights, read_config
from symplectic_cv.models.torsion_folder import load_torsion_model, save_torsion_model
from symplectic_cv.training.result import TrainingResult
from symplectic_cv.training.torsion import TorsionResult


@dataclass(frozen=True, kw_only=True)
class TorsionDensityResult(TorsionResult):
    """Modes of torsions whose model has a density, and the training of that density.

    Attributes:
        training: The training of the density: its history, NLLs and warnings. Its model is the
            density alone, `model.density`.
    """

    training: TrainingResult

    @classmethod
    def of(cls, modes: TorsionResult, training: TrainingResult) -> TorsionDensityResult:
        """The result of modes and of a training of their density.

        Args:
            modes: The modes of the same frames.
            training: The training in the torsion chart.
        """
        parts = {field.name: getattr(modes, field.name) for field in fields(TorsionResult)}
        parts["model"] = replace(modes.model, density=training.model)
        parts["warnings"] = [*modes.warnings, *training.warnings]
        return cls(**parts, training=training)

    @property
    def validation_nll(self) -> float:
        """The NLL of phase space over the validation frames, in nats per frame."""
        return self.training.validation_nll

    def record(self) -> dict[str, Any]:
        """The record of the fit and of the training in the model folder (JSON)."""
        return {**self.training.record(), **super().record()}

    def save(self, folder: str | Path) -> None:
        """Writes the model folder: model.safetensors, config.json and history.csv.

        Args:
            folder: The folder, which is made where it is missing.
        """
        save_torsion_model(folder, self.model, self.record(), self.training.history)


def modes_digest(modes: TorsionResult) -> str:
    """SHA-256 of the modes, which a resumed training must share."""
    content = json.dumps(modes.model.to_json(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def require_density(folder: Path) -> None:
    """Raises OutputError unless a complete model folder holds torsion modes with their density."""
    config = read_config(folder)
    if MODES not in config or not has_weights(config):
        raise OutputError(
            f"{folder}: already holds another run, not modes of torsions with a density: give a "
            "new `folder`"
        )


def with_stored_modes(result: TorsionDensityResult, folder: Path) -> TorsionDensityResult:
    """The same result with the modes and the density that a folder holds."""
    return replace(result, model=load_torsion_model(folder))
