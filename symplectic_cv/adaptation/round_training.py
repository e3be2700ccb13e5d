"""The training of one round: on all frames so far, most from where frames are few."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable

import numpy as np

from symplectic_cv.adaptation.flattening import flattening_weights
from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.round_folders import WEIGHTS, LoopFolder
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import RUN, start_run
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.training.likelihood import HistoryRow, prepare, train
from symplectic_cv.training.options import TrainingOptions

OnStep = Callable[[int, float], None]
"""Called with the step reached and the best validation NLL so far, nats."""


def train_round(
    folder: LoopFolder,
    number: int,
    gathered: GatheredFrames,
    options: TrainingOptions,
    temperature: float,
    flatten: float,
    progress: OnStep | None = None,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Trains the model of a round, or goes on with its training; does nothing if it is complete.

    The first round counts all frames the same. Later rounds weight them by their density along
    the slow modes of the model before.

    Args:
        folder: the folder of the loop.
        number: number of the round, from 1.
        gathered: all frames before the round.
        options: options of the training.
        temperature: temperature of the data, K.
        flatten: power of the density, as for `flattening_weights`.
        progress: called after each optimizer step.
        warn: called with each warning about the data.

    Raises:
        UserError: the data cannot carry a model, or the folder holds another training.
    """
    if folder.has_model(number):
        return
    folder.round(number).mkdir(exist_ok=True)
    weights = None
    if number > 1:
        weights = flattening_weights(gathered.slow_modes(), flatten)
        buffer = io.BytesIO()
        np.save(buffer, weights)
        write_atomically(folder.round(number) / WEIGHTS, buffer.getvalue())
    _train_in_folder(folder, number, gathered.data, weights, options, temperature, progress, warn)


def _train_in_folder(
    folder: LoopFolder,
    number: int,
    data: TrajectoryData,
    weights: np.ndarray | None,
    options: TrainingOptions,
    temperature: float,
    progress: OnStep | None,
    warn: Callable[[str], None] | None,
) -> None:
    """Trains into the round's model folder, with checkpoints."""
    output = folder.model(number)
    digest = hashlib.sha256(data.positions.tobytes())
    if weights is not None:
        digest.update(weights.tobytes())
    settings = {
        "command": "train",
        "temperature_k": temperature,
        **options.to_json(),
        "system_sha256": None,
        "data_sha256": digest.hexdigest(),
    }
    prepared = prepare(data.positions, data.molecule, temperature, options, data.lengths, weights)
    for message in prepared.warnings:
        if warn is not None:
            warn(message)
    start_run(output, settings, output.exists())
    best = float("inf")

    def show(step: int, row: HistoryRow | None) -> None:
        nonlocal best
        best = min(best, best if row is None else row.validation_nll)
        if progress is not None:
            progress(step, best)

    checkpoints = output / "checkpoint"
    result = train(prepared, checkpoints, show)
    save_model(
        output,
        result.model,
        result.history,
        training={
            "options": options.to_json(),
            "trajectories": data.names,
            "frames": data.n_frames,
            "validation_nll_nats": result.validation_nll,
            "gaussian_start_nll_nats": result.gaussian_nll,
            "frame_health": result.health.smallest,
            "warnings": result.warnings,
            "stopped_early": result.stopped_early,
        },
    )
    shutil.rmtree(checkpoints)
    (output / RUN).unlink()
