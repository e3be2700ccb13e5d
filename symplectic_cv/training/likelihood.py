"""Maximum-likelihood training on frames of a trajectory (the paper, III.B.2).

The loss is the negative log-likelihood of phase space, NLL = −E[ln N(T(x))], with fresh
momenta in every step. It is the sum of the likelihood of configurations and of a term
that is least where ∂Q/∂q is orthogonal; `momentum_weight` weighs the second.

Lightning runs the loop. Every batch and its momenta follow from (seed, step) alone, so a
run that is killed and resumed takes the same steps as one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import IterableDataset

from symplectic_cv.data.advice import require_enough_frames
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.coupling import CouplingLayer
from symplectic_cv.flows.options import Coupling, FlowOptions
from symplectic_cv.flows.point import PointTransformation, quasi_harmonic_start
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import LOG_2PI, HarmonicPrior
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.devices import training_device
from symplectic_cv.training.known_frames import learn_range
from symplectic_cv.training.loop import (
    PATIENCE,
    WARMUP_STEPS,
    TrainingModule,
    reached_step,
    run_loop,
)
from symplectic_cv.training.momenta import Momenta
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.preparation import (
    FrameSplit,
    PreparedTraining,
    data_warnings,
    eckart_coordinates,
)
from symplectic_cv.training.result import FrameSource, HistoryRow, TrainingResult
from symplectic_cv.training.schedule import rates, scheduled

LEARNING_RATE = 2e-3
HEAD_START = 0.15
"""Part of a training in which the first coupling learns alone. It bends the faster modes by the
slowest, before any coupling can bend the slowest by the faster. A slow torsion is a ring of normal
modes; with all couplings at once many runs tore it into two modes (alanine dipeptide's ψ)."""
JOINED = 0.25
"""Part of a training after which all couplings learn; the others join one after the other."""

_VALIDATION_SEED = 20200428


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
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms.
        temperature: The temperature of the data, in K.
        options: The options of the flow.
        seed: The seed of the initial weights.
        training: The indices of the frames that may be used; all where None.
        weights: One weight per frame, shape (F,), or None.

    Returns:
        The model (float32 network) and q (F, 3N−6) in ps, float64.

    Raises:
        SelectionError, FrameError: The molecule or the frames cannot carry a model.
    """
    chosen = np.arange(len(positions)) if training is None else training
    w = None if weights is None else torch.as_tensor(weights[chosen])
    frame, q = eckart_coordinates(positions, molecule, temperature, chosen, w)
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
    """Endless batches (p, q) on a device; batch number `step` is always the same one there."""

    def __init__(self, prepared: PreparedTraining, first_step: int, device: str) -> None:
        self.q = prepared.training.to(device)
        self.device = device
        self.weights = prepared.training_weights
        self.options = prepared.options
        self.first_step = first_step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n, batch = len(self.q), min(self.options.batch, len(self.q))
        per_epoch = n // batch
        generator, momenta = torch.Generator(), torch.Generator(self.device)
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
                order = order.to(self.device)
            begin = (step % per_epoch) * batch
            q = self.q[order[begin : begin + batch]]
            momenta.manual_seed(self.options.seed * 1_000_003 + 500_000_000 + step)
            yield self.options.momenta.draw(tuple(q.shape), momenta), q
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

    def terms(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        p, q = batch
        configuration, momentum = negative_log_likelihood(self.model, p, q)
        loss = (configuration + self.options.momentum_weight * momentum).mean()
        return loss, (configuration + momentum).detach().mean()

    def validation_step(self, _batch: Tensor, _: int) -> None:
        total, configuration = validation_nll(self.model, self.validation, self.validation_weights)
        watched = configuration + self.options.momentum_weight * (total - configuration)
        self.log("validation_loss", watched)
        self.record(validation_nll=total, validation_nll_configuration=configuration)

    def configure_optimizers(self) -> Any:
        steps = self.options.steps
        couplings = [layer for layer in self.model.flow.layers if isinstance(layer, CouplingLayer)]
        groups = [{"params": layer.parameters()} for layer in couplings]
        later = np.linspace(HEAD_START, JOINED, max(1, len(couplings) - 1)) * steps
        joins = [0, *(round(step) for step in later[: len(couplings) - 1])]
        groups.append({"params": self.model.prior.parameters()})
        joins.append(0)

        optimizer = torch.optim.Adam(groups, lr=LEARNING_RATE, fused=True)
        return scheduled(optimizer, rates(steps, WARMUP_STEPS, joins, rise_at_join=True))


def prepare_cartesian(
    positions: np.ndarray,
    molecule: Molecule,
    temperature: float,
    options: TrainingOptions,
    split: FrameSplit,
    source: FrameSource,
) -> PreparedTraining:
    """The quasi-harmonic start of a Cartesian model; see `symplectic_cv.training.fit.prepare`.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms.
        temperature: The temperature of the data, in K.
        options: The options of the training.
        split: Which frames train and which validate, with their weights.
        source: Where the frames come from.

    Raises:
        SelectionError, FrameError: The atoms or frames cannot carry a model.
    """
    require_enough_frames(len(positions), molecule, len(split.training))
    split.require_enough(3 * molecule.n_atoms - 6)
    model, q = initial_model(
        positions,
        molecule,
        temperature,
        options.flow,
        options.seed,
        split.training,
        split.weights,
    )
    health = model.frame.health(q)
    health.require_unique()
    q = q.to(torch.float32)
    counted = len(positions) if split.weights is None else split.effective_frames
    return PreparedTraining(
        model=model,
        options=options,
        training=q[split.training],
        validation=q[split.held_out],
        training_weights=split.training_weights,
        validation_weights=split.validation_weights,
        health=health,
        warnings=data_warnings(counted, model.dimension, health, options.hidden),
        source=source,
        effective_frames=split.effective_frames,
    )


def train_cartesian(
    prepared: PreparedTraining,
    checkpoint_folder: Path | None = None,
    progress: Callable[[int, HistoryRow | None], None] | None = None,
) -> TrainingResult:
    """Trains a Cartesian model by maximum likelihood; see `symplectic_cv.training.fit.train`."""
    options, model = prepared.options, prepared.model
    gaussian_nll, _ = validation_nll(model, prepared.validation, prepared.validation_weights)
    module = _MaximumLikelihood(prepared)
    first_step = reached_step(checkpoint_folder)
    # what was measured: without graphs, and so for all that cannot be captured, a GPU is slower
    affine = options.coupling is Coupling.AFFINE
    device = training_device(options.device, faster_on_gpu=affine)
    ended = run_loop(
        module,
        _Batches(prepared, first_step, device),
        options.steps,
        device,
        checkpoint_folder,
        progress,
        _StopEarly("validation_loss", patience=PATIENCE, min_delta=0.0),
    )
    model.to("cpu").load_state_dict(ended.best)
    model.settle(prepared.training, prepared.training_weights)
    learn_range(model, *_all_frames(prepared))
    final, configuration = validation_nll(model, prepared.validation, prepared.validation_weights)
    return TrainingResult(
        model=model,
        history=module.history,
        validation_nll=final,
        gaussian_nll=gaussian_nll,
        health=prepared.health,
        warnings=prepared.warnings,
        stopped_early=ended.step < options.steps,
        options=options,
        source=prepared.source,
        validation_nll_configuration=configuration,
    )


def _all_frames(prepared: PreparedTraining) -> tuple[Tensor, Tensor | None]:
    """q of the training and the validation frames, shape (F, n), in ps, and their weights."""
    coordinates = torch.cat([prepared.training, prepared.validation])
    if prepared.training_weights is None or prepared.validation_weights is None:
        return coordinates, None
    return coordinates, torch.cat([prepared.training_weights, prepared.validation_weights])


class _StopEarly(EarlyStopping):
    """Stops when the validation loss no longer falls, but not before all couplings learn."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_step > JOINED * (trainer.max_steps or 0):
            super().on_validation_end(trainer, pl_module)
