"""Training in internal coordinates: likelihood of frames, and their energies where they are known.

Two losses, weighed by `energy_weight` λ,

    L = −⟨ln ρ(q)⟩ + λ · ½ Var[ln w(q)],    ln w = ln|det A(q)| − βU(q) − ln ρ(q),

both over the frames. The first spreads ρ over every state that the frames know, as Boltzmann
generators are trained (F. Noé et al., Science 365, eaaw1147 (2019)); the second
(`symplectic_cv.training.importance`) brings in the exact energies. It is
independent of how often each state was visited, is harder to overfit than a likelihood, and is
cheap, because energies are computed once. `momentum_weight` adds the momentum part of the
likelihood of phase space, which ties the modes to the dynamics; sampling does not need it. In the
torsion chart it belongs to the loss, because it alone fixes the inertias of the latent pendulums.

Hydrogens of a methyl group are alike: each step exchanges them at random, so that a frame
stands for 3 per group (`symplectic_cv.charts.symmetry`) and the model overfits less. So are, in the
torsion chart, the atoms that a turn of a rotatable bond exchanges.
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

from symplectic_cv.charts.symmetry import exchange
from symplectic_cv.flows.options import Chart
from symplectic_cv.flows.parts import Scale
from symplectic_cv.models.prior import PendulumPrior
from symplectic_cv.models.von_mises import concentration
from symplectic_cv.training.average import WeightAverage
from symplectic_cv.training.devices import training_device
from symplectic_cv.training.importance import effective_share_of_target, log_variance
from symplectic_cv.training.internal_preparation import VALIDATION_SEED, PreparedInternal
from symplectic_cv.training.known_frames import learn_range
from symplectic_cv.training.loop import (
    PATIENCE,
    WARMUP_STEPS,
    TrainingModule,
    reached_step,
    run_loop,
)
from symplectic_cv.training.momenta import Momenta
from symplectic_cv.training.result import HistoryRow, InternalRow, TrainingResult
from symplectic_cv.training.schedule import rates, scheduled

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
SETTLE_FRAMES = 20_000
"""Training frames that settle the latent space at the end."""


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
        # not measured on a GPU
        training_device(prepared.options.device, faster_on_gpu=False),
        checkpoint_folder,
        progress,
        EarlyStopping("validation_loss", patience=PATIENCE, min_delta=0.0),
        WeightAverage(),
    )
    model = prepared.model
    model.to("cpu").load_state_dict(ended.best)
    if prepared.options.chart is Chart.TORSION:
        settle_latent_space(prepared)
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
        validation_nll_configuration=final.configuration,
    )


@torch.no_grad()
def settle_latent_space(prepared: PreparedInternal) -> None:
    """Ends a training in torsions: exact frequencies, inertias and units for the learned flow.

    For a fixed flow the likelihood of phase space is greatest at I = ⟨P²⟩ and I₁(κ)/I₀(κ) = ⟨cos θ⟩
    for a pendulum, and at ω² = 1/(⟨P²⟩⟨Q²⟩) for an oscillator, in the unit in which ⟨P²⟩ = 1.
    """
    model, prior = prepared.model, prepared.model.prior
    assert isinstance(prior, PendulumPrior)
    n = len(prepared.training)
    chosen = torch.arange(0, n, max(1, n // SETTLE_FRAMES))
    share = prepared.training_weights
    w = torch.ones(n, dtype=torch.float64) if share is None else share.double()
    w = (w[chosen] / w[chosen].sum()).unsqueeze(-1)
    generator = torch.Generator().manual_seed(VALIDATION_SEED + 1)
    p = Momenta.RADEMACHER.draw((len(chosen), model.dimension), generator).double()
    parts = zip(p.split(2048), prepared.training[chosen].split(2048), strict=True)
    pushed = [prepared.fixed.push(*part)[:2] for part in parts]
    latent = [prepared.learned.push(p.to(model.dtype), z.to(model.dtype)) for p, z in pushed]
    p, q = (torch.cat(part).double() for part in zip(*latent, strict=True))
    inertia, square = (w * p * p).sum(0), (w * q * q).sum(0)
    angles = prior.pendulums
    kappa = concentration((w * q.cos()).sum(0)[angles])
    omega = (inertia * square).rsqrt()
    omega[angles] = (kappa / inertia[angles]).sqrt()
    prior.log_omega.copy_(omega.log())
    prior.log_kappa.copy_(kappa.log())
    unit = inertia.sqrt()
    unit[angles] = 1.0
    scale = model.flow.layers[-2]
    assert isinstance(scale, Scale)
    scale.factor *= unit.to(scale.factor)


class _Batches(IterableDataset):
    """Endless batches: z, its momenta and ln π of frames, equivalent atoms exchanged."""

    def __init__(self, prepared: PreparedInternal, first_step: int) -> None:
        self.prepared = prepared
        self.first_step = first_step
        # of its own: a model moves between devices
        self.frame, self.fixed = copy.deepcopy((prepared.model.frame, prepared.fixed))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
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
            if options.momentum_weight > 0.0:
                with torch.no_grad():
                    p, z, volume = self.fixed.push_with_volume(p.double(), q)
            else:
                z, volume = self.fixed(q)
            target = torch.zeros(0)
            if energy is not None:
                target = self.frame.log_volume(q) - energy[chosen] - volume
            yield z.float(), p.float(), target
            step += 1


@dataclass(frozen=True)
class Validation:
    """Numbers of held-out frames.

    Attributes:
        loss: The watched loss.
        nll: The NLL in nats: of phase space in the torsion chart, else of structures.
        configuration: The NLL of structures in nats.
        ess: The predicted effective share of samples.
    """

    loss: float
    nll: float
    configuration: float
    ess: float


class _InternalTraining(TrainingModule[Any]):
    def __init__(self, prepared: PreparedInternal) -> None:
        self.of_phase_space = prepared.options.chart is Chart.TORSION
        row = HistoryRow if self.of_phase_space else InternalRow
        super().__init__(prepared.model, row, "train_nll")
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

    def both(self, p: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """−ln ρ of standardised coordinates, and −ln ρ of their momenta given them, (B,) each."""
        p_latent, latent, log_det = self.learned.push_with_volume(p, z)
        prior = self.model.prior
        configuration = -prior.log_prob_coordinates(latent) - log_det
        return configuration, -prior.log_prob_momenta(p_latent) + log_det

    @torch.no_grad()
    def validation(self) -> Validation:
        """The losses of all validation frames."""
        prepared, share = self.prepared, self.prepared.validation_weights
        device = self.model.prior.log_omega.device
        weights = None if share is None else share.numpy()

        def mean(values: list[Tensor]) -> float:
            numbers = torch.cat(values).cpu().double().numpy()
            return float(np.average(numbers, weights=weights))

        z = [part.to(device) for part in prepared.validation.split(2048)]
        if prepared.validation_momenta is not None:
            p = [part.to(device) for part in prepared.validation_momenta.split(2048)]
            pairs = [self.both(*part) for part in zip(p, z, strict=True)]
            configuration, momentum = (mean(list(part)) for part in zip(*pairs, strict=True))
            loss = configuration + prepared.options.momentum_weight * momentum
            structures = configuration - prepared.fixed_volume
            return Validation(loss, configuration + momentum, structures, math.nan)
        nll = [self.nll(part) for part in z]
        structures = mean(nll) - prepared.fixed_volume
        if prepared.validation_target is None:
            return Validation(structures, structures, structures, math.nan)
        log_weights = prepared.validation_target + torch.cat(nll).cpu().double()
        spread = float(log_variance(log_weights))
        loss = structures + prepared.options.energy_weight * spread
        share_of_target = effective_share_of_target(log_weights, share)
        return Validation(loss, structures, structures, share_of_target)

    def terms(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        z, p, target = batch
        options, volume = self.prepared.options, self.prepared.fixed_volume
        if options.momentum_weight > 0.0:
            nll, momentum = self.both(p, z)
            loss = nll.mean() + options.momentum_weight * momentum.mean()
        else:
            nll, momentum = self.nll(z), torch.zeros(())
            loss = nll.mean()
        told = nll + momentum if self.of_phase_space else nll - volume
        if options.energy_weight > 0.0:
            loss = loss + options.energy_weight * log_variance(target + nll.double()).float()
        return loss, told.detach().mean()

    def validation_step(self, _batch: Tensor, _: int) -> None:
        found = self.validation()
        self.log("validation_loss", found.loss)
        if self.of_phase_space:
            self.record(validation_nll=found.nll, validation_nll_configuration=found.configuration)
        else:
            self.record(validation_nll=found.nll, validation_ess=found.ess)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        steps = self.prepared.options.steps
        return scheduled(optimizer, rates(steps, 2 * WARMUP_STEPS, [0], rise_at_join=True))
