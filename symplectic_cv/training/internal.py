"""Training in internal coordinates: likelihood of frames, mixed with the energy where it is known.

Two losses, weighed by `energy_weight` w,

    L = −⟨ln ρ(q)⟩_frames + w · E_ρ[ln ρ(q) + βU(q) − ln|det A(q)|],

as Boltzmann generators are trained (F. Noé et al., Science 365, eaaw1147 (2019)): the first
keeps every state that the frames know, the second, an upper bound to −ln Z, knows the exact
energies and cannot be overfitted. `momentum_weight` adds the momentum part of the
likelihood of phase space, which ties the modes to the dynamics; sampling does not need it.

The chart and its scaling are not learned, so the frames go through them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import IterableDataset

from symplectic_cv.charts.build import FIXED, internal_flow, latent_scale
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.standard import standardise
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.data.split import contiguous_split
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.parts import ConditionalGaussian
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.frame import EckartFrame, FrameHealth, mean_structure
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.model import NeuralCanonicalTransformation
from symplectic_cv.molecule import Molecule
from symplectic_cv.prior import LOG_2PI, HarmonicPrior
from symplectic_cv.training.likelihood import (
    PATIENCE,
    TrainingOptions,
    TrainingResult,
    check_weights,
    data_warnings,
)
from symplectic_cv.training.loop import WARMUP_STEPS, TrainingModule, reached_step, run_loop

LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
LIKELIHOOD_ALONE = 0.25
"""Part of a training before the energy joins: a flow without a shape only meets clashes."""
ENERGY_BATCH = 0.5
"""Samples of the energy loss per frame of the likelihood's batch."""
ENERGY_CAP = 150.0
"""Energies this much (nats) above the data's grow only as their logarithm from there."""
BOUND_SAMPLES = 512
"""Of each validation, the same latent ones each time."""
SCALE_FRAMES = 64


@dataclass(frozen=True)
class InternalRow:
    """One line of history.csv, nats per frame; the bound is that of the energy loss or NaN."""

    step: int
    train_nll: float
    validation_nll: float
    free_energy_bound: float
    learning_rate: float


@dataclass(frozen=True)
class PreparedInternal:
    """Frames as standardised internal coordinates, and the start of the model.

    Attributes:
        model: the start: uniform angles, and the rest Gaussian by regression on them.
        options: of the training.
        training, validation: z (F, n), float32, in contiguous blocks.
        training_q: q (F, n) of the training frames, for their momenta.
        training_weights, validation_weights: one per frame, or None.
        fixed_volume: mean ln|det ∂z/∂q| of the validation frames, nats.
        reduced: the Hamiltonian of the energy loss, or None.
        energy_floor: median βU − ln|det A| of some training frames, nats.
        health: of the frame over all frames.
        warnings: what a user should know about the data.
    """

    model: NeuralCanonicalTransformation
    options: TrainingOptions
    training: Tensor
    validation: Tensor
    training_q: Tensor
    training_weights: Tensor | None
    validation_weights: Tensor | None
    fixed_volume: float
    reduced: ReducedHamiltonian | None
    energy_floor: float
    health: FrameHealth
    warnings: list[str]

    @property
    def fixed(self) -> PointTransformation:
        """The chart and its scaling, shared with the model."""
        return PointTransformation(list(self.model.flow.layers)[:FIXED])  # type: ignore[arg-type]

    @property
    def learned(self) -> PointTransformation:
        """The layers behind the chart, shared with the model."""
        return PointTransformation(list(self.model.flow.layers)[FIXED:])  # type: ignore[arg-type]


def prepare_internal(
    positions: np.ndarray,
    molecule: Molecule,
    temperature: float,
    options: TrainingOptions,
    lengths: list[int] | None = None,
    weights: np.ndarray | None = None,
    hamiltonian: Callable[[EckartFrame], ReducedHamiltonian] | None = None,
) -> PreparedInternal:
    """All of a training in internal coordinates that can fail because of the data.

    Args:
        positions: whole frames, (F, N, 3) in nm.
        molecule: the modelled atoms, joined by bonds.
        temperature: K.
        options: see `TrainingOptions`; `chart` must be internal.
        lengths: frames of each continuous run; one run where None.
        weights: one non-negative weight per frame, (F,), or None.
        hamiltonian: makes the Hamiltonian of the energy loss from the model's frame.

    Raises:
        OptionError: an energy weight without a Hamiltonian.
        SelectionError, FrameError, TrajectoryError: data or atoms that cannot carry a model.
    """
    if options.energy_weight > 0.0 and hamiltonian is None:
        raise OptionError(
            "--energy-weight needs the energy of the molecule: name its --system system.xml"
        )
    training, held_out = contiguous_split(lengths or [len(positions)])
    if weights is not None:
        weights = check_weights(weights, len(positions))
        for name, part in (("training", training), ("validation", held_out)):
            if not weights[part].sum() > 0.0:
                raise OptionError(f"--weights: all weights of the {name} frames are zero")
    w = None if weights is None else torch.as_tensor(weights[training])
    table = molecule_z_matrix(molecule)
    masses = torch.as_tensor(molecule.masses)
    frame = EckartFrame(mean_structure(positions[training], masses, w), masses, temperature)
    chart = InternalCoordinates(frame, table)
    q = torch.cat([frame.coordinates(torch.as_tensor(x)) for x in _parts(positions)])
    health = frame.health(q)
    health.require_unique()
    internal, volume = (torch.cat(x) for x in zip(*map(chart, q.split(8192)), strict=True))
    standard = standardise(internal[training], molecule.n_atoms, w)
    z, more = standard(internal)
    chosen = training[:: max(1, len(training) // SCALE_FRAMES)][:SCALE_FRAMES]
    scale = latent_scale(chart, standard, q[chosen])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        flow = internal_flow(options.flow, chart, standard, scale.float())
    first = flow.layers[FIXED]
    if isinstance(first, ConditionalGaussian):
        first.fit(z[training], w)
    model = NeuralCanonicalTransformation(
        molecule, temperature, frame, flow, HarmonicPrior(1.0 / scale), options.flow
    ).to(torch.float32)
    reduced, floor = None, math.nan
    if options.energy_weight > 0.0 and hamiltonian is not None:
        reduced = hamiltonian(frame)
        floor = float(reduced.configuration(q[chosen]).median())
    return PreparedInternal(
        model=model,
        options=options,
        training=z[training].float(),
        validation=z[held_out].float(),
        training_q=q[training].float(),
        training_weights=w,
        validation_weights=None if weights is None else torch.as_tensor(weights[held_out]),
        fixed_volume=_mean((volume + more)[held_out], weights, held_out),
        reduced=reduced,
        energy_floor=floor,
        health=health,
        warnings=data_warnings(len(positions), model.dimension, health),
    )


def _parts(positions: np.ndarray) -> list[np.ndarray]:
    return [positions[i : i + 8192] for i in range(0, len(positions), 8192)]


def _mean(values: Tensor, weights: np.ndarray | None, chosen: np.ndarray) -> float:
    return float(np.average(values.numpy(), weights=None if weights is None else weights[chosen]))


def train_internal(
    prepared: PreparedInternal,
    checkpoint_folder: Path | None = None,
    progress: Callable[[int, Any], None] | None = None,
) -> TrainingResult:
    """Trains a model in internal coordinates.

    Args:
        prepared: from `prepare_internal`; its model is trained in place.
        checkpoint_folder: where checkpoints are kept; a run found there is resumed.
        progress: called with the step and the last row of the history.

    Returns:
        The model with the best weights of the run; NLLs are those of configurations.
    """
    module = _InternalTraining(prepared)
    start = module.validation_nll()
    ended = run_loop(
        module,
        _Batches(prepared, reached_step(checkpoint_folder)),
        prepared.options.steps,
        prepared.options.device,
        checkpoint_folder,
        progress,
        _StopEarly("validation_loss", patience=PATIENCE, min_delta=0.0),
    )
    model = prepared.model
    model.to("cpu").load_state_dict(ended.best)
    final = module.validation_nll()
    model.put_slowest_first()
    return TrainingResult(
        model=model,
        history=module.history,  # type: ignore[arg-type]
        validation_nll=final,
        gaussian_nll=start,
        health=prepared.health,
        warnings=prepared.warnings,
        stopped_early=ended.step < prepared.options.steps,
    )


class _Batches(IterableDataset):
    """Endless batches: z, q and Rademacher momenta of frames, and latent samples."""

    def __init__(self, prepared: PreparedInternal, first_step: int) -> None:
        self.prepared = prepared
        self.first_step = first_step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        prepared, options = self.prepared, self.prepared.options
        n, dimension = prepared.training.shape
        batch = min(options.batch, n)
        share = prepared.training_weights
        generator = torch.Generator()
        step = self.first_step
        while True:
            generator.manual_seed(options.seed * 1_000_003 + step)
            if share is None:
                chosen = torch.randint(0, n, (batch,), generator=generator)
            else:
                chosen = torch.multinomial(share, batch, True, generator=generator)
            p = options.momenta.draw((batch, dimension), generator)
            latent = torch.randn(
                max(1, round(ENERGY_BATCH * batch)), dimension, generator=generator
            )
            yield prepared.training[chosen], prepared.training_q[chosen], p, latent
            step += 1


class _InternalTraining(TrainingModule[InternalRow]):
    def __init__(self, prepared: PreparedInternal) -> None:
        super().__init__(prepared.model, InternalRow, "train_nll")
        self.prepared = prepared
        self.learned, self.fixed = prepared.learned, prepared.fixed
        generator = torch.Generator().manual_seed(20200428)
        self.fixed_latent = torch.randn(BOUND_SAMPLES, self.model.dimension, generator=generator)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Of the model alone, to which all other layers belong."""
        return {"model." + k: v for k, v in self.model.state_dict().items()}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        own = {k.removeprefix("model."): v for k, v in state_dict.items()}
        return self.model.load_state_dict(own)

    def nll(self, z: Tensor) -> Tensor:
        """−ln ρ of standardised coordinates, (B,)."""
        latent, log_det = self.learned(z)
        return -self.model.prior.log_prob_coordinates(latent) - log_det

    @torch.no_grad()
    def validation_nll(self) -> float:
        """NLL of configurations (q in ps) over the validation frames, nats per frame."""
        z, share = self.prepared.validation, self.prepared.validation_weights
        device = self.model.prior.log_omega.device
        values = torch.cat([self.nll(part.to(device)) for part in z.split(2048)]).cpu().numpy()
        weights = None if share is None else share.numpy()
        return float(np.average(values, weights=weights)) - self.prepared.fixed_volume

    def energy_loss(self, latent: Tensor) -> Tensor:
        """ln ρ + βU − ln|det A| of samples of the flow, (B,), with capped energies."""
        reduced, model = self.prepared.reduced, self.model
        assert reduced is not None
        latent = latent / model.prior.omega
        z, log_det = self.learned.inverse(latent)
        # in float32 bonds would lose the last digits of their energies
        q, more = self.fixed.inverse(z.double())
        log_det = log_det + more
        energy = reduced.configuration(q)
        limit = self.prepared.energy_floor + ENERGY_CAP
        over = energy > limit
        excess = torch.where(over, energy - limit, 0.0).clamp(max=1e30)
        energy = torch.where(over, limit + torch.log1p(excess), energy)
        terms = self.model.prior.log_prob_coordinates(latent) - log_det + energy
        # what is no structure has no gradient to learn from
        return torch.where(torch.isfinite(terms), terms, terms.detach().nan_to_num(0.0, 0.0, 0.0))

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        z, q, p, latent = batch
        options = self.prepared.options
        nll = self.nll(z).mean()
        self.running.append(nll.detach() - self.prepared.fixed_volume)
        loss = nll
        if options.momentum_weight > 0.0:
            p_latent, _latent, log_det = self.model.flow.push_with_volume(p, q)
            kinetic = 0.5 * (p_latent * p_latent).sum(-1) + 0.5 * p.shape[-1] * LOG_2PI
            loss = loss + options.momentum_weight * (kinetic + log_det).mean()
        if options.energy_weight > 0.0 and self.global_step >= LIKELIHOOD_ALONE * options.steps:
            loss = loss + options.energy_weight * self.energy_loss(latent).mean().float()
        return loss

    def validation_step(self, _batch: Tensor, _: int) -> None:
        nll, bound, options = self.validation_nll(), math.nan, self.prepared.options
        watched = nll
        if options.energy_weight > 0.0:
            bound = float(self.energy_loss(self.fixed_latent.to(self.device)).mean())
            watched = nll + options.energy_weight * bound
        self.log("validation_loss", watched)
        self.record(validation_nll=nll, free_energy_bound=bound)

    def configure_optimizers(self) -> Any:
        steps = self.prepared.options.steps
        warmup = min(2 * WARMUP_STEPS, steps)

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))

        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class _StopEarly(EarlyStopping):
    """Stops when the validation loss no longer falls, but not before the energy has joined."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.global_step > 2.0 * LIKELIHOOD_ALONE * (trainer.max_steps or 0):
            super().on_validation_end(trainer, pl_module)
