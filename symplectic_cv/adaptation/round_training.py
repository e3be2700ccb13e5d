"""The training of one round: on all frames so far, most from where frames are few."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

from symplectic_cv.adaptation.flattening import flattening_weights
from symplectic_cv.adaptation.gathered_frames import GatheredFrames
from symplectic_cv.adaptation.round_folders import WEIGHTS, LoopFolder
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.training.fit import prepare, train_in_folder
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.result import HistoryRow, InternalRow

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
    """Trains the model of a round, or continues its training; does nothing if it is complete.

    The first round counts all frames the same. Later rounds weight them by their density along
    the slow modes of the model before.

    Args:
        folder: The folder of the loop.
        number: The number of the round, from 1.
        gathered: All frames before the round.
        options: The options of the training.
        temperature: The temperature of the data, K.
        flatten: The power of the density, as for `flattening_weights`.
        progress: A function that is called after each optimizer step.
        warn: A function that is called with each warning about the data.

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
    prepared = prepare(gathered.data, temperature=temperature, options=options, weights=weights)
    for message in prepared.warnings:
        if warn is not None:
            warn(message)
    best = float("inf")

    def show(step: int, row: HistoryRow | InternalRow | None) -> None:
        nonlocal best
        best = min(best, best if row is None else row.validation_nll)
        if progress is not None:
            progress(step, best)

    output = folder.model(number)
    train_in_folder(prepared, output, output.exists(), show)
