"""The loop that all ways of learning share: Lightning's, with checkpoints and the best weights.

Every batch follows from (seed, step) alone, so that a run that is killed and resumed takes the same
steps as one that is not.
"""

from __future__ import annotations

import logging
import math
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from symplectic_cv.errors import OutputError
from symplectic_cv.files.atomic import replaced_whole
from symplectic_cv.models.model_folder import read_history
from symplectic_cv.training.devices import Terms, captured

GRADIENT_CLIP = 10.0
WARMUP_STEPS = 50
EVALUATIONS = 40
"""Validations in a full-length run, evenly spaced."""
PATIENCE = 12
"""Validations without an improvement before a run stops early."""
CHECKPOINT = "last.ckpt"

Progress = Callable[[int, Any], None]
"""Called with the step and the last row of the history, or None."""


Row = TypeVar("Row")


class TrainingModule(L.LightningModule, Generic[Row]):
    """A model that `run_loop` trains, and the history of its losses, which checkpoints keep.

    `training_step` takes `terms`, as CUDA graphs on a GPU, and keeps what the history records in
    `running`; `validation_step` logs `validation_loss` and ends with `record`.

    Args:
        model: The model, whose weights are kept where the validation loss is least.
        row: The dataclass of a row of the history, with `step` and `learning_rate` among its
            fields.
        train_loss: The field of a row for the mean of `running`.
    """

    def __init__(self, model: torch.nn.Module, row: type[Row], train_loss: str) -> None:
        super().__init__()
        self.model: Any = model
        self.running: list[Tensor] = []
        self.history: list[Row] = []
        self._row, self._train_loss = row, train_loss
        self._captured: list[Terms] = []  # a list, so that its model is not a second submodule

    def terms(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the number that the history records, both scalars."""
        raise NotImplementedError

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        if not self._captured:
            self._captured.append(captured(self.model, self.terms, tuple(batch)))
        loss, recorded = self._captured[0](*batch)
        self.running.append(recorded.detach().clone())
        return loss

    def record(self, **losses: float) -> None:
        """Adds a row with these fields, unless no step was taken since the last one."""
        if not self.running:
            return
        fields: dict[str, Any] = {
            "step": self.global_step,
            self._train_loss: float(torch.stack(self.running).mean()),
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
        }
        self.history.append(self._row(**fields, **losses))
        self.running.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = [asdict(row) for row in self.history]  # type: ignore[call-overload]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = [self._row(**row) for row in checkpoint["history"]]


@dataclass(frozen=True)
class LoopEnd:
    """The end of a training: the last step, and the weights of the least validation loss."""

    step: int
    best: dict[str, Tensor]


def run_loop(
    module: TrainingModule[Any],
    batches: IterableDataset,
    steps: int,
    device: str,
    checkpoint_folder: Path | None = None,
    progress: Progress | None = None,
    *more: Callback,
) -> LoopEnd:
    """Runs a training to its end, or on from the checkpoint in its folder.

    Args:
        module: The module to train.
        batches: The endless batches, from `reached_step` on.
        steps: The largest number of optimizer steps.
        device: Where to train: `cpu` or `cuda`.
        checkpoint_folder: The folder that keeps checkpoints; a run found there is resumed.
        progress: A function that is called every few steps.
        more: Further callbacks of Lightning.
    """
    resumed: Path | None = None
    if checkpoint_folder is not None and (checkpoint_folder / CHECKPOINT).is_file():
        resumed = checkpoint_folder / CHECKPOINT
    keeper = _KeepBest()
    # first, so that it finds the weights that were validated
    callbacks: list[Callback] = [keeper, *more]
    if checkpoint_folder is not None:
        callbacks.append(_KeepLast(checkpoint_folder / CHECKPOINT))
    if progress is not None:
        callbacks.append(_Report(progress))
    with flushed_denormals(), quiet_lightning():
        trainer = L.Trainer(
            max_steps=steps,
            accelerator=device,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            val_check_interval=max(1, steps // EVALUATIONS),
            check_val_every_n_epoch=None,
            gradient_clip_val=GRADIENT_CLIP,
            callbacks=callbacks,
        )
        with told_interrupts():
            trainer.fit(
                module,
                DataLoader(batches, batch_size=None),
                DataLoader(TensorDataset(torch.zeros(1))),
                ckpt_path=resumed,
                weights_only=True,  # a checkpoint runs no code
            )
    return LoopEnd(step=trainer.global_step, best=keeper.best)


@contextmanager
def told_interrupts() -> Iterator[None]:
    """Makes Lightning end as a program ends on a signal, and leave the signals as they were.

    Lightning turns Ctrl-C into exit status 1, after which it ignores Ctrl-C for good, and SIGTERM
    into status 0, as if the training were complete.

    Raises:
        KeyboardInterrupt: The training was interrupted; the error of the signal's handler.
        SystemExit: It was terminated by SIGTERM; the status is 143.
    """
    on_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SIGTERMException:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise end.__context__ from None
        raise
    finally:
        if on_main:
            signal.signal(signal.SIGINT, before)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormal numbers count as zero inside: idle weights decay into them, 3-5 times slower.

    The state of the processor from before is restored.
    """
    before = float(torch.tensor([1e-40]) * 1.0) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning's advice on workers, which do not help here; restores all levels."""
    loggers = [
        logging.getLogger(name)
        for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def reached_step(checkpoint_folder: Path | None) -> int:
    """Step of the checkpoint in a folder, 0 where there is none.

    Raises:
        OutputError: The checkpoint is damaged.
    """
    if checkpoint_folder is None or not (checkpoint_folder / CHECKPOINT).is_file():
        return 0
    checkpoint = checkpoint_folder / CHECKPOINT
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    except pickle.UnpicklingError as error:
        raise OutputError(
            f"{checkpoint}: holds something other than numbers, which could run code, so that it "
            "is not opened; train anew in another folder"
        ) from error
    except Exception as error:  # zipfile, pickle and torch each raise their own
        raise OutputError(
            f"{checkpoint}: damaged checkpoint ({type(error).__name__}); train anew in another "
            "folder"
        ) from error


class _Report(Callback):
    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step % 10 == 0 or trainer.global_step == trainer.max_steps:
            self.progress(trainer.global_step, module.history[-1] if module.history else None)


class _KeepLast(Callback):
    """Writes Lightning's checkpoint at every validation, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(self.path) as aside:
            trainer.save_checkpoint(aside)


class _KeepBest(Callback):
    """Keeps the weights of the least validation loss, across resumptions."""

    def __init__(self) -> None:
        self.loss = math.inf
        self.best: dict[str, Any] = {}

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.loss:
            self.loss = loss
            self.best = {k: v.detach().cpu().clone() for k, v in module.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.best = state_dict["loss"], state_dict["best"]


def read_rows(folder: Path, row: type[Row]) -> list[Row]:
    """The history in a model folder as rows of a training.

    Args:
        folder: The model folder.
        row: The dataclass of a line of its history.csv.
    """
    table = read_history(folder, [field.name for field in fields(row)])  # type: ignore[arg-type]
    lines = [] if table is None else table.to_dict("records")
    return [row(**{str(key): value for key, value in line.items()}) for line in lines]
