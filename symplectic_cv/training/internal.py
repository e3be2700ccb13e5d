"""Training in internal coordinates: likelihood of frames, and their energies where they are known.

Two losses, weighed by `energy_weight` λ,

    L = −⟨ln ρ(q)⟩ + λ · ½ Var[ln w(q)],    ln w = ln|det A(q)| − βU(q) − ln ρ(q),

both over the frames. The first spreads ρ over every state that the frames know, as Boltzmann
generators are trained (F. Noé et al., Science 365, eaaw1147 (2019)); the second
(`symplectic_cv.training.importance`) brings in the exact energies. It is
independent of how often each state was visited, is harder to overfit than a likelihood, and is
cheap, because energies are computed once. `momentum_weight` adds the momentum part of the
likelihood of phase space, which ties the modes to the dynamics; sampling does not need it.

Hydrogens of a methyl group are alike: each step exchanges them at random, so that a frame
stands for 3 per group (`symplectic_cv.charts.symmetry`) and the model overfits less.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import IterableDataset

from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import FIXED, internal_flow, latent_scale
from symplectic_cv.charts.standard import standardise
from symplectic_cv.charts.symmetry import exchange, like_hydrogens
from symplectic_cv.charts.zmatrix import molecule_z_matrix
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.flows.parts import ConditionalGaussian
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import LOG_2PI, HarmonicPrior
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.average import WeightAverage
from symplectic_cv.training.devices import training_device
from symplectic_cv.training.energies import Energies, frame_energies
from symplectic_cv.training.importance import effective_share_of_target, log_variance
from symplectic_cv.training.known_frames import learn_range
from symplectic_cv.training.loop import (
    PATIENCE,
    WARMUP_STEPS,
    TrainingModule,
    reached_step,
    run_loop,
)
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.preparation import (
    FrameSplit,
    PreparedTraining,
    data_warnings,
    eckart_coordinates,
)
from symplectic_cv.training.result import FrameSource, InternalRow, TrainingResult
from symplectic_cv.training.schedule import rates, scheduled

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
SCALE_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class PreparedInternal(PreparedTraining):
    """Frames as standardised internal coordinates, and the start of the model.

    The start has uniform angles; the other coordinates are Gaussian by regression on them.

    Attributes:
        training: q of the training frames, shape (F, n), in ps, in float64.
        validation: Standardised coordinates z of the validation frames, shape (F, n).
        alike: Groups of hydrogens that may be exchanged.
        training_energy: βU of the training frames in nats, shape (F,), or None.
        validation_target: ln π of z of the validation frames in nats, shape (F,), or None.
        fixed_volume: The mean of ln|det ∂z/∂q| over the validation frames, in nats.
    """

    alike: list[tuple[int, ...]]
    training_energy: Tensor | None
    validation_target: Tensor | None
    fixed_volume: float

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
    split: FrameSplit,
    source: FrameSource,
    energies: Energies | None = None,
) -> PreparedInternal:
    """The start of a model in internal coordinates; see `symplectic_cv.training.fit.prepare`.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms, joined by bonds.
        temperature: The temperature of the data, in K.
        options: The options of the training; its chart is internal.
        split: Which frames train and which validate, with their weights.
        source: Where the frames come from.
        energies: The energies of the frames, or None.

    Raises:
        OptionError: There is an energy weight, but no energies.
        HamiltonianError: A frame has no finite energy.
        SelectionError, FrameError: The atoms or frames cannot carry a model.
    """
    if options.energy_weight > 0.0 and energies is None:
        raise OptionError("`energy_weight` needs the energies of the frames: give `energies`")
    split.require_enough(3 * molecule.n_atoms - 6)
    training, held_out, weights = split.training, split.held_out, split.weights
    w = split.training_weights
    table = molecule_z_matrix(molecule)
    alike = like_hydrogens(molecule)
    generator = torch.Generator().manual_seed(options.seed)
    positions = exchange(torch.as_tensor(positions), alike, generator).numpy()
    frame, q = eckart_coordinates(positions, molecule, temperature, training, w)
    chart = InternalCoordinates(frame, table)
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
        try:
            first.fit(z[training], w)
        except torch.linalg.LinAlgError as error:
            raise FrameError(
                f"{len(training)} frames for training cannot determine {z.shape[1]} internal "
                "coordinates and how they follow the torsions: give more frames"
            ) from error
    model = NeuralCanonicalTransformation(
        molecule, temperature, frame, flow, HarmonicPrior(1.0 / scale), options.flow
    ).to(torch.float32)
    energy, target = None, None
    if options.energy_weight > 0.0 and energies is not None:
        energy = frame_energies(energies, frame, q, temperature)
        target = frame.log_volume(q) - energy - (volume + more)
    counted = len(positions) if weights is None else split.effective_frames
    return PreparedInternal(
        model=model,
        options=options,
        alike=alike,
        training=q[training],
        validation=z[held_out].float(),
        training_weights=w,
        validation_weights=split.validation_weights,
        training_energy=None if energy is None else energy[training],
        validation_target=None if target is None else target[held_out],
        fixed_volume=_mean((volume + more)[held_out], weights, held_out),
        health=health,
        warnings=data_warnings(counted, model.dimension, health, options.hidden),
        source=source,
        effective_frames=split.effective_frames,
    )


def _mean(values: Tensor, weights: np.ndarray | None, chosen: np.ndarray) -> float:
    return float(np.average(values.numpy(), weights=None if weights is None else weights[chosen]))


def train_internal(
    prepared: PreparedInternal,
    checkpoint_folder: Path | None = None,
    progress: Callable[[int, Any], None] | None = None,
) -> TrainingResult:
    """Trains a model in internal coordinates; see `symplectic_cv.training.fit.train`."""
    module = _InternalTraining(prepared)
    start = module.validation()
    ended = run_loop(
        module,
        _Batches(prepared, reached_step(checkpoint_folder)),
        prepared.options.steps,
        training_device(prepared.options.device),
        checkpoint_folder,
        progress,
        EarlyStopping("validation_loss", patience=PATIENCE, min_delta=0.0),
        WeightAverage(),
    )
    model = prepared.model
    model.to("cpu").load_state_dict(ended.best)
    final = module.validation()
    model.put_slowest_first()
    learn_range(model, prepared.training, prepared.training_weights)
    return TrainingResult(
        model=model,
        history=module.history,
        validation_nll=final.nll,
        gaussian_nll=start.nll,
        health=prepared.health,
        warnings=prepared.warnings,
        stopped_early=ended.step < prepared.options.steps,
        options=prepared.options,
        source=prepared.source,
    )


class _Batches(IterableDataset):
    """Endless batches: z, q, momenta and ln π of frames, like hydrogens exchanged."""

    def __init__(self, prepared: PreparedInternal, first_step: int) -> None:
        self.prepared = prepared
        self.first_step = first_step
        # of its own: a model moves between devices
        self.frame, self.fixed = copy.deepcopy((prepared.model.frame, prepared.fixed))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        prepared, options = self.prepared, self.prepared.options
        n, dimension = prepared.training.shape
        batch = min(options.batch, n)
        share, energy = prepared.training_weights, prepared.training_energy
        generator = torch.Generator()
        step = self.first_step
        while True:
            generator.manual_seed(options.seed * 1_000_003 + step)
            if share is None:
                chosen = torch.randint(0, n, (batch,), generator=generator)
            else:
                chosen = torch.multinomial(share, batch, True, generator=generator)
            p = options.momenta.draw((batch, dimension), generator)
            q = prepared.training[chosen]
            if prepared.alike:
                x = exchange(self.frame.positions(q), prepared.alike, generator)
                q = self.frame.coordinates(x)
            z, volume = self.fixed(q)
            target = torch.zeros(0)
            if energy is not None:
                target = self.frame.log_volume(q) - energy[chosen] - volume
            yield z.float(), q.float(), p, target
            step += 1


@dataclass(frozen=True)
class Validation:
    """The watched loss, the NLL (nats) and the predicted effective share of held-out frames."""

    loss: float
    nll: float
    ess: float


class _InternalTraining(TrainingModule[InternalRow]):
    def __init__(self, prepared: PreparedInternal) -> None:
        super().__init__(prepared.model, InternalRow, "train_nll")
        self.prepared = prepared
        self.learned, self.fixed = prepared.learned, prepared.fixed

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The state of the model alone, to which all other layers belong."""
        return {"model." + k: v for k, v in self.model.state_dict().items()}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        own = {k.removeprefix("model."): v for k, v in state_dict.items()}
        return self.model.load_state_dict(own)

    def nll(self, z: Tensor) -> Tensor:
        """−ln ρ of standardised coordinates, (B,)."""
        latent, log_det = self.learned(z)
        return -self.model.prior.log_prob_coordinates(latent) - log_det

    @torch.no_grad()
    def validation(self) -> Validation:
        """The losses of all validation frames."""
        z, share = self.prepared.validation, self.prepared.validation_weights
        device = self.model.prior.log_omega.device
        nll = torch.cat([self.nll(part.to(device)) for part in z.split(2048)]).cpu().double()
        weights = None if share is None else share.numpy()
        mean = float(np.average(nll.numpy(), weights=weights)) - self.prepared.fixed_volume
        target = self.prepared.validation_target
        if target is None:
            return Validation(mean, mean, math.nan)
        log_weights = target + nll
        spread = float(log_variance(log_weights))
        loss = mean + self.prepared.options.energy_weight * spread
        return Validation(loss, mean, effective_share_of_target(log_weights, share))

    def terms(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        z, q, p, target = batch
        options = self.prepared.options
        nll = self.nll(z)
        loss = nll.mean()
        if options.momentum_weight > 0.0:
            p_latent, _latent, log_det = self.model.flow.push_with_volume(p, q)
            kinetic = 0.5 * (p_latent * p_latent).sum(-1) + 0.5 * p.shape[-1] * LOG_2PI
            loss = loss + options.momentum_weight * (kinetic + log_det).mean()
        if options.energy_weight > 0.0:
            loss = loss + options.energy_weight * log_variance(target + nll.double()).float()
        return loss, nll.detach().mean() - self.prepared.fixed_volume

    def validation_step(self, _batch: Tensor, _: int) -> None:
        found = self.validation()
        self.log("validation_loss", found.loss)
        self.record(validation_nll=found.nll, validation_ess=found.ess)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        steps = self.prepared.options.steps
        return scheduled(optimizer, rates(steps, 2 * WARMUP_STEPS, [0], rise_at_join=True))
