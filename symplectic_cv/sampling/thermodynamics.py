"""Free energy, entropy and energy of a Hamiltonian from a learned transformation.

A model of phase space gives an upper bound to −ln Z. It also proposes configurations, which
importance weights w = exp(−βH)/ρ turn into unbiased averages: ln Z, the internal energy, the
entropy, and differences between two Hamiltonians or temperatures. Differences come from the same
samples, so that most of their errors cancel. Momenta are integrated exactly where coordinates
transform among themselves; the weights are those of configurations then.

Source: the paper, section III.C.1; `symplectic_cv.sampling.proposal` for the proposals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.checks import check_whole
from symplectic_cv.flows.continuous import refined
from symplectic_cv.flows.options import Chart
from symplectic_cv.hamiltonians.free_energy import draw_latent, free_energy_terms
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel, in_float64
from symplectic_cv.sampling.batches import batch_sizes
from symplectic_cv.sampling.importance import RELIABLE_TAIL, normalised_weights, pareto_k
from symplectic_cv.sampling.proposal import choose_scale, weigh_proposals
from symplectic_cv.sampling.target import LatentTarget, require_same_dimension
from symplectic_cv.statistics import effective_size, weighted_mean

FEWEST_SAMPLES = 100
"""The smallest number of samples of an estimate."""


@dataclass(frozen=True)
class Thermodynamics:
    """Thermodynamics of a Hamiltonian in nats (units of kT), each with its standard error.

    Attributes:
        free_energy_bound, standard_error: E_ρ[ln ρ + βH] ≥ −ln Z; of configurations alone, with
            momenta integrated by hand, for a model in internal coordinates.
        ln_z, ln_z_standard_error: The importance estimate of ln ∫ dp dq exp(−βH).
        internal_energy, internal_energy_standard_error: ⟨βH⟩, momenta included.
        entropy, entropy_standard_error: −∫ π ln π of phase space.
        ess: The effective share of the samples, (Σw)² / (N Σw²), between 0 and 1.
        pareto_k: The tail exponent of the weights; above `RELIABLE_TAIL` the importance
            estimates and their errors are not to be trusted.
        proposal_scale: The standard deviation of the latent Gaussian behind the flow's proposals.
        capped_share: The share of the bound's samples whose energy was over the cap.
        samples: N.
    """

    free_energy_bound: float
    standard_error: float
    ln_z: float
    ln_z_standard_error: float
    internal_energy: float
    internal_energy_standard_error: float
    entropy: float
    entropy_standard_error: float
    ess: float
    pareto_k: float
    proposal_scale: float
    capped_share: float
    samples: int

    @property
    def reliable(self) -> bool:
        return self.pareto_k < RELIABLE_TAIL

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"reliable": self.reliable}


@dataclass(frozen=True)
class FreeEnergyDifference:
    """−ln Z₁ + ln Z₀ in nats, its standard error, and the quality of the second's weights."""

    difference: float
    standard_error: float
    ess: float
    pareto_k: float


def estimate(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    n_samples: int = 100_000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Thermodynamics:
    """Bound, importance estimates and errors.

    Args:
        model: A model of `reduced`.
        reduced: The Hamiltonian at its temperature.
        n_samples: The number of samples of each of the two estimates.
        seed: The seed of the samples.
        progress: A function that is called with the number of samples done since the last call.

    Raises:
        OptionError: Too few samples, or another number of coordinates than the model has.
    """
    _check(model, reduced, n_samples)
    model = in_float64(model)
    # the broad proposals reach farther than any training did
    return refined(model.flow, lambda: _estimate(model, reduced, n_samples, seed, progress))


def _estimate(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    n_samples: int,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Thermodynamics:
    generator = torch.Generator().manual_seed(seed)
    bound, error, capped = _bound(model, reduced, n_samples, generator, progress)
    scale = choose_scale(model, reduced, generator, n_samples)
    found = weigh_proposals(model, [reduced], scale, n_samples, generator, progress)[0]
    log_sum, w = normalised_weights(found.log_weights)
    energy = float((w * found.energies).mean())
    ln_z = log_sum + reduced.log_volume_of_units
    return Thermodynamics(
        free_energy_bound=bound,
        standard_error=error,
        ln_z=ln_z,
        ln_z_standard_error=_standard_error(w - 1.0),
        internal_energy=energy,
        internal_energy_standard_error=_standard_error(w * (found.energies - energy)),
        entropy=energy + ln_z,
        entropy_standard_error=_standard_error(w * (found.energies - energy) + w - 1.0),
        ess=effective_size(w) / n_samples,
        pareto_k=pareto_k(w),
        proposal_scale=scale,
        capped_share=capped,
        samples=n_samples,
    )


def free_energy_difference(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    other: ReducedHamiltonian,
    n_samples: int = 100_000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> FreeEnergyDifference:
    """−ln Z of another Hamiltonian or temperature less that of the model's own.

    Both come from the same samples. `other` must have the variables of `reduced`
    (`units_beta`), so that both are densities of the same x.

    Raises:
        OptionError: Too few samples, or another number of coordinates.
    """
    _check(model, reduced, n_samples)
    _check(model, other, n_samples)
    assert math.isclose(other.scale, reduced.scale)
    model = in_float64(model)
    return refined(
        model.flow, lambda: _difference(model, reduced, other, n_samples, seed, progress)
    )


def _difference(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    other: ReducedHamiltonian,
    n_samples: int,
    seed: int,
    progress: Callable[[int], None] | None,
) -> FreeEnergyDifference:
    generator = torch.Generator().manual_seed(seed)
    scales = [choose_scale(model, target, generator, n_samples) for target in (reduced, other)]
    here, there = weigh_proposals(
        model, [reduced, other], max(scales), n_samples, generator, progress
    )
    log_here, w_here = normalised_weights(here.log_weights)
    log_there, w_there = normalised_weights(there.log_weights)
    return FreeEnergyDifference(
        difference=log_here - log_there,
        standard_error=_standard_error(w_there - w_here),
        ess=effective_size(w_there) / n_samples,
        pareto_k=pareto_k(w_there),
    )


def _check(model: PhaseSpaceModel, reduced: ReducedHamiltonian, n_samples: int) -> None:
    check_whole(n_samples, "samples", least=FEWEST_SAMPLES)
    require_same_dimension(model, reduced)


@torch.no_grad()
def _bound(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    n_samples: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None,
) -> tuple[float, float, float]:
    """The bound, its standard error, and the share of samples over the energy cap."""
    terms, shares, over = [], [], []
    for count in batch_sizes(n_samples):
        p, scaled, weights = draw_latent(count, model.dimension, generator)
        if model.options.chart is not Chart.CARTESIAN:  # momenta are not learned as a rule
            term, energy = _configuration_terms(model, reduced, scaled.double())
        else:
            p, q = model.flow.pull(p.double(), scaled.double() / model.omega)
            term, energy = free_energy_terms(model, reduced, p, q), reduced.energy(p, q)
        terms.append(term)
        over.append(reduced.over_cap(energy))
        shares.append(weights)
        if progress is not None:
            progress(count)
    all_terms, w = torch.cat(terms), torch.cat(shares).to(torch.float64)
    # latent points of no structure are not of ρ, which is a density without their share
    real = all_terms != -math.inf
    kept = torch.where(real, w, 0.0)
    share = float(kept.sum() / w.sum())
    mean, error = weighted_mean(torch.where(real, all_terms, 0.0).numpy(), kept.numpy())
    capped = float((kept * torch.cat(over)).sum() / kept.sum())
    return mean - math.log(share) - reduced.log_volume_of_units, error, capped


def _configuration_terms(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, scaled: Tensor
) -> tuple[Tensor, Tensor]:
    """ln ρ(q) + βV − ln ∫ dp exp(−β½|p|²) of scaled latent coordinates (B, n), and βV, (B,) each.

    βV includes the volume element. The first is −∞ where there is no structure.
    """
    target = LatentTarget(model, reduced, only_coordinates=True)
    q, log_det = target.from_latent(scaled)
    energy = -target.log_density(q)
    log_likelihood = target.log_normal(scaled) - log_det
    return log_likelihood + reduced.capped(energy) - reduced.log_momentum_volume, energy


def _standard_error(influence: np.ndarray) -> float:
    """The standard error of an average of independent terms of mean zero, shape (N,)."""
    return float(np.sqrt(np.mean(influence**2) / len(influence)))
