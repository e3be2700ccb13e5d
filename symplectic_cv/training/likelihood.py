"""Maximum-likelihood training on frames of a trajectory (the paper, III.B.2).

The loss is the negative log-likelihood of phase space, NLL = −E[ln N(T(x))], with fresh
momenta in every step. It is the sum of the likelihood of configurations and of a term
that is least where ∂Q/∂q is orthogonal; `momentum_weight` weighs the second.

Lightning runs the loop. Every batch and its momenta follow from (seed, step) alone, so a
run that is killed and resumed takes the same steps as one that is not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import IterableDataset

from symplectic_cv.charts.eckart import EckartFrame, FrameHealth, mean_structure
from symplectic_cv.data.split import contiguous_split
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.coupling import CouplingLayer
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.flows.point import PointTransformation, quasi_harmonic_start
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import LOG_2PI, HarmonicPrior
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.loop import (
    PATIENCE,
    WARMUP_STEPS,
    TrainingModule,
    reached_step,
    run_loop,
)
from symplectic_cv.training.momenta import Momenta
from symplectic_cv.training.options import TrainingOptions, check_weights, data_warnings

LEARNING_RATE = 2e-3
HEAD_START = 0.15
"""Part of a training in which the first coupling learns alone. It bends the faster modes by the
slowest, before any coupling can bend the slowest by the faster. A slow torsion is a ring of normal
modes; with all couplings at once many runs tore it into two modes (alanine dipeptide's ψ)."""
JOINED = 0.25
"""Part of a training after which all couplings learn; the others join one after the other."""

_VALIDATION_SEED = 20200428


@dataclass(frozen=True)
class HistoryRow:
    """One line of history.csv; NLLs in nats per frame, of phase space."""

    step: int
    train_nll: float
    validation_nll: float
    validation_nll_configuration: float
    learning_rate: float


@dataclass
class TrainingResult:
    """A trained model and how it got there.

    Attributes:
        model: settled: exact frequencies, slowest mode first, best weights of the run.
        history: one row per validation.
        validation_nll: NLL of phase space over the whole validation set, nats.
        gaussian_nll: the same for the quasi-harmonic start, nats.
        health: of the frame over all frames.
        warnings: what a user should know about the data.
        stopped_early: whether the validation loss had stopped improving.
    """

    model: NeuralCanonicalTransformation
    history: list[HistoryRow]
    validation_nll: float
    gaussian_nll: float
    health: FrameHealth
    warnings: list[str] = field(default_factory=list)
    stopped_early: bool = False


def initial_model(
    positions: np.ndarray,
    molecule: Molecule,
    temperature: float,
    options: FlowOptions,
    seed: int = 0,
    training: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> tuple[NeuralCanonicalTransformation, Tensor]:
    """The quasi-harmonic start for a set of frames, and their coordinates q.

    Args:
        positions: whole frames, (F, N, 3) in nm.
        molecule: the modelled atoms.
        temperature: in K.
        options: which couplings.
        seed: of the initial weights.
        training: indices of the frames that may be used; all where None.
        weights: one per frame, (F,), or None.

    Returns:
        The model (float32 network) and q (F, 3N−6) in ps, float64.

    Raises:
        SelectionError, FrameError: a molecule or frames that cannot carry a model.
    """
    chosen = np.arange(len(positions)) if training is None else training
    w = None if weights is None else torch.as_tensor(weights[chosen])
    masses = torch.as_tensor(molecule.masses)
    frame = EckartFrame(mean_structure(positions[chosen], masses, w), masses, temperature)
    q = torch.cat(
        [
            frame.coordinates(torch.as_tensor(positions[i : i + 8192]))
            for i in range(0, len(positions), 8192)
        ]
    )
    start, spread = quasi_harmonic_start(q[chosen], w)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = build_flow(options, start, spread)
    assert isinstance(flow, PointTransformation)
    model = NeuralCanonicalTransformation(
        molecule, temperature, frame, flow, HarmonicPrior(1.0 / spread), options
    )
    return model.to(torch.float32), q


class _Batches(IterableDataset):
    """Endless batches (p, q); batch number `step` is always the same one."""

    def __init__(self, prepared: PreparedTraining, first_step: int) -> None:
        self.q = prepared.training
        self.weights = prepared.training_weights
        self.options = prepared.options
        self.first_step = first_step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n, batch = len(self.q), min(self.options.batch, len(self.q))
        per_epoch = n // batch
        generator = torch.Generator()
        epoch, order = -1, torch.empty(0)
        step = self.first_step
        while True:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                generator.manual_seed(self.options.seed * 1_000_003 + epoch)
                if self.weights is None:
                    order = torch.randperm(n, generator=generator)
                else:
                    order = torch.multinomial(self.weights, n, True, generator=generator)
            begin = (step % per_epoch) * batch
            q = self.q[order[begin : begin + batch]]
            generator.manual_seed(self.options.seed * 1_000_003 + 500_000_000 + step)
            yield self.options.momenta.draw(tuple(q.shape), generator), q
            step += 1


def negative_log_likelihood(
    model: NeuralCanonicalTransformation, p: Tensor, q: Tensor
) -> tuple[Tensor, Tensor]:
    """Configuration and momentum parts of the NLL, (...) each, in nats.

    Their sum is −ln N(T(p, q)), the NLL of phase space; the log-determinant cancels.
    """
    p_latent, q_latent, log_det = model.flow.push_with_volume(p, q)
    configuration = -model.prior.log_prob_coordinates(q_latent) - log_det
    momentum = 0.5 * (p_latent * p_latent).sum(-1) + 0.5 * q.shape[-1] * LOG_2PI + log_det
    return configuration, momentum


@torch.no_grad()
def validation_nll(
    model: NeuralCanonicalTransformation, q: Tensor, weights: Tensor | None = None
) -> tuple[float, float]:
    """NLL of phase space and of configurations over a whole set, nats per frame.

    Momenta are Rademacher probes of a fixed seed, so that two models (or two moments of a
    training) are compared on the same ones.
    """
    generator = torch.Generator().manual_seed(_VALIDATION_SEED)
    share = torch.ones(len(q), dtype=torch.float64) if weights is None else weights
    share = share / share.sum()
    total, configurations = 0.0, 0.0
    device = model.prior.log_omega.device
    for part, w in zip(q.split(4096), share.split(4096), strict=True):
        p = Momenta.RADEMACHER.draw(tuple(part.shape), generator).to(device, model.dtype)
        c, m = negative_log_likelihood(model, p, part.to(device, model.dtype))
        w = w.to(device)
        configurations += float((w * c).sum())
        total += float((w * (c + m)).sum())
    return total, configurations


class _MaximumLikelihood(TrainingModule[HistoryRow]):
    def __init__(self, prepared: PreparedTraining) -> None:
        super().__init__(prepared.model, HistoryRow, "train_nll")
        self.options = prepared.options
        self.validation = prepared.validation
        self.validation_weights = prepared.validation_weights

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        configuration, momentum = negative_log_likelihood(self.model, *batch)
        self.running.append((configuration + momentum).detach().mean())
        return (configuration + self.options.momentum_weight * momentum).mean()

    def validation_step(self, _batch: Tensor, _: int) -> None:
        total, configuration = validation_nll(self.model, self.validation, self.validation_weights)
        watched = configuration + self.options.momentum_weight * (total - configuration)
        self.log("validation_loss", watched)
        self.record(validation_nll=total, validation_nll_configuration=configuration)

    def configure_optimizers(self) -> Any:
        steps = self.options.steps
        warmup = min(WARMUP_STEPS, steps)
        couplings = [layer for layer in self.model.flow.layers if isinstance(layer, CouplingLayer)]
        groups = [{"params": layer.parameters()} for layer in couplings]
        later = np.linspace(HEAD_START, JOINED, max(1, len(couplings) - 1)) * steps
        joins = [0, *(round(step) for step in later[: len(couplings) - 1])]
        groups.append({"params": self.model.prior.parameters()})
        joins.append(0)

        def factor(join: int, step: int) -> float:
            if step < join:
                return 0.0
            rise = min(1.0, (step - join + 1) / warmup)
            return rise * 0.5 * (1 + math.cos(math.pi * step / steps))

        optimizer = torch.optim.Adam(groups, lr=LEARNING_RATE, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, [functools.partial(factor, join) for join in joins]
        )
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


@dataclass(frozen=True)
class PreparedTraining:
    """Frames turned into coordinates, the start of the model, and what to say of the data.

    Attributes:
        model: the quasi-harmonic start.
        options: of the training.
        training, validation: q (F, n) in ps, float32, in contiguous blocks.
        training_weights, validation_weights: one per frame, or None.
        health: of the frame over all frames.
        warnings: what a user should know about the data.
    """

    model: NeuralCanonicalTransformation
    options: TrainingOptions
    training: Tensor
    validation: Tensor
    training_weights: Tensor | None
    validation_weights: Tensor | None
    health: FrameHealth
    warnings: list[str]


def prepare(
    positions: np.ndarray,
    molecule: Molecule,
    temperature: float = 300.0,
    options: TrainingOptions | None = None,
    lengths: list[int] | None = None,
    weights: np.ndarray | None = None,
) -> PreparedTraining:
    """All of a training that can fail because of the data, and none that takes long.

    Args:
        positions: whole frames, (F, N, 3) in nm.
        molecule: the modelled atoms.
        temperature: of the data, in K.
        options: see `TrainingOptions`.
        lengths: frames of each continuous run; one run where None.
        weights: one non-negative weight per frame, (F,), for biased data.

    Raises:
        OptionError, SelectionError, FrameError, TrajectoryError: data, atoms or options
            that cannot carry a model.
    """
    options = options or TrainingOptions()
    training, held_out = contiguous_split(lengths or [len(positions)])
    if weights is not None:
        weights = check_weights(weights, len(positions))
        for name, part in (("training", training), ("validation", held_out)):
            if not weights[part].sum() > 0.0:
                raise OptionError(f"--weights: all weights of the {name} frames are zero")
    model, q = initial_model(
        positions,
        molecule,
        temperature,
        options.flow,
        options.seed,
        training,
        weights,
    )
    health = model.frame.health(q)
    health.require_unique()
    q = q.to(torch.float32)
    return PreparedTraining(
        model=model,
        options=options,
        training=q[training],
        validation=q[held_out],
        training_weights=None if weights is None else torch.as_tensor(weights[training]),
        validation_weights=None if weights is None else torch.as_tensor(weights[held_out]),
        health=health,
        warnings=data_warnings(len(positions), model.dimension, health, options.hidden),
    )


def train(
    prepared: PreparedTraining,
    checkpoint_folder: Path | None = None,
    progress: Callable[[int, HistoryRow | None], None] | None = None,
) -> TrainingResult:
    """Trains a neural canonical transformation by maximum likelihood.

    Args:
        prepared: from `prepare`; its model is trained in place.
        checkpoint_folder: where checkpoints are kept; a run found there is resumed.
        progress: called with the step and the last row of the history.

    Returns:
        The settled model with the best weights of the run, and its history.
    """
    options, model = prepared.options, prepared.model
    gaussian_nll, _ = validation_nll(model, prepared.validation, prepared.validation_weights)
    module = _MaximumLikelihood(prepared)
    first_step = reached_step(checkpoint_folder)
    ended = run_loop(
        module,
        _Batches(prepared, first_step),
        options.steps,
        options.device,
        checkpoint_folder,
        progress,
        _StopEarly("validation_loss", patience=PATIENCE, min_delta=0.0),
    )
    model.to("cpu").load_state_dict(ended.best)
    model.settle(prepared.training, prepared.training_weights)
    final, _ = validation_nll(model, prepared.validation, prepared.validation_weights)
    return TrainingResult(
        model=model,
        history=module.history,
        validation_nll=final,
        gaussian_nll=gaussian_nll,
        health=prepared.health,
        warnings=prepared.warnings,
        stopped_early=ended.step < options.steps,
    )


class _StopEarly(EarlyStopping):
    """Stops when the validation loss no longer falls, but not before all couplings learn."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_step > JOINED * (trainer.max_steps or 0):
            super().on_validation_end(trainer, pl_module)
