"""Free energy, entropy and energy from a learned transformation (the paper, III.C.1).

A model of phase space gives an upper bound to −ln Z. It also proposes configurations, which
importance weights w = exp(−βH)/ρ turn into unbiased averages: ln Z, the internal energy, the
entropy, and differences between two Hamiltonians or temperatures from the same samples, so
that most of their errors cancel. Where coordinates transform among themselves, momenta are
integrated by hand and the weights are those of configurations.

A flow trained on the bound is narrow where it may choose, and leaves gaps where the map is cut
(a ring must be). Weights of such a proposal alone have no variance that could be estimated. So
the proposal is a mixture: the flow, as wide as a pilot run finds best, and for a fixed share of
the samples a broad Gaussian over the same region, which bounds the weights in the gaps
(T. Hesterberg, Technometrics 37, 185 (1995)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import genpareto
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.continuous import refined
from symplectic_cv.flows.options import Chart
from symplectic_cv.hamiltonians.free_energy import draw_latent, free_energy_terms, weighted_mean
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel, in_float64
from symplectic_cv.models.prior import LOG_2PI

SCALES = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
"""Standard deviations of the proposal's latent Gaussian that a pilot chooses from."""
BROAD_SHARE = 0.2
"""Part of the proposals that come from the broad Gaussian."""
BROAD = 1.25
"""Its width in units of the spread of the flow's samples."""
PILOT = 8192
BATCH = 8192
RELIABLE_TAIL = 0.7
"""Pareto exponent of the largest weights up to which averages can be trusted (A. Vehtari et al.,
arXiv:1507.02646)."""


@dataclass(frozen=True)
class Thermodynamics:
    """Thermodynamics of a Hamiltonian in nats (units of kT), each with its standard error.

    Attributes:
        free_energy_bound, standard_error: E_ρ[ln ρ + βH] ≥ −ln Z; of configurations alone, with
            momenta integrated by hand, for a model in internal coordinates.
        ln_z, ln_z_standard_error: importance estimate of ln ∫ dp dq exp(−βH).
        internal_energy, internal_energy_standard_error: ⟨βH⟩, momenta included.
        entropy, entropy_standard_error: −∫ π ln π of phase space.
        ess: effective share of the samples, (Σw)² / (N Σw²), between 0 and 1.
        pareto_k: tail exponent of the weights; above `RELIABLE_TAIL` the importance
            estimates and their errors are not to be trusted.
        proposal_scale: standard deviation of the latent Gaussian behind the flow's proposals.
        capped_share: share of the bound's samples whose energy was over the cap.
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
class Difference:
    """−ln Z₁ + ln Z₀ in nats, its standard error, and the quality of the second's weights."""

    difference: float
    standard_error: float
    ess: float
    pareto_k: float


@dataclass(frozen=True)
class _Samples:
    log_weights: np.ndarray
    energies: np.ndarray


def estimate(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    n_samples: int = 100_000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Thermodynamics:
    """Bound, importance estimates and errors.

    Args:
        model: a model of `reduced`.
        reduced: the Hamiltonian at its temperature.
        n_samples: of each of the two estimates.
        seed: of the samples.
        progress: called with the number of samples done since the last call.

    Raises:
        OptionError: too few samples, or another number of coordinates than the model has.
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
    found = _propose(model, [reduced], scale, n_samples, generator, progress)[0]
    log_sum, w = _normalised(found.log_weights)
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
        ess=_ess(w),
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
) -> Difference:
    """−ln Z of another Hamiltonian or temperature less that of the model's own.

    Both come from the same samples. `other` must have the variables of `reduced`
    (`units_beta`), so that both are densities of the same x.

    Raises:
        OptionError: too few samples, or another number of coordinates.
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
) -> Difference:
    generator = torch.Generator().manual_seed(seed)
    scales = [choose_scale(model, target, generator, n_samples) for target in (reduced, other)]
    here, there = _propose(model, [reduced, other], max(scales), n_samples, generator, progress)
    log_here, w_here = _normalised(here.log_weights)
    log_there, w_there = _normalised(there.log_weights)
    return Difference(
        difference=log_here - log_there,
        standard_error=_standard_error(w_there - w_here),
        ess=_ess(w_there),
        pareto_k=pareto_k(w_there),
    )


def choose_scale(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, generator: torch.Generator, most: int
) -> float:
    """The width of the proposal whose weights are most even, by a pilot run for each.

    Args:
        most: samples of a pilot run, where that is less than `PILOT`.
    """
    share = []
    for scale in SCALES:
        pilot = _propose(model, [reduced], scale, min(PILOT, most), generator)[0]
        share.append(_ess(_normalised(pilot.log_weights)[1]))
    return SCALES[int(np.argmax(share))]


def pareto_k(weights: np.ndarray) -> float:
    """Exponent of the generalised Pareto law of the largest weights; 0 for equal ones."""
    n_tail = int(min(0.2 * len(weights), 3.0 * math.sqrt(len(weights))))
    tail = np.sort(weights)[-n_tail - 1 :]
    excess = tail[1:] - tail[0]
    if n_tail < 5 or excess[-1] <= 1e-9 * tail[0]:
        return 0.0
    return float(genpareto.fit(excess, floc=0.0)[0])


def _check(model: PhaseSpaceModel, reduced: ReducedHamiltonian, n_samples: int) -> None:
    if n_samples < 100:
        raise OptionError(f"--samples must be at least 100; got {n_samples}")
    require_same_dimension(model, reduced)


def require_same_dimension(model: PhaseSpaceModel, reduced: ReducedHamiltonian) -> None:
    """Raises OptionError where a Hamiltonian has another number of coordinates than a model."""
    if reduced.dimension != model.dimension:
        raise OptionError(
            f"{reduced.hamiltonian.name} has {reduced.dimension} coordinates, the model "
            f"{model.dimension}: they are not of the same system"
        )


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
    for count in _batches(n_samples):
        p, scaled, weights = draw_latent(count, model.dimension, generator)
        latent = scaled.double() / model.omega
        if model.options.chart is Chart.INTERNAL:  # it does not learn momenta as a rule
            term, energy = _configuration_terms(model, reduced, latent)
        else:
            p, q = model.flow.pull(p.double(), latent)
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
    mean, error = weighted_mean(torch.where(real, all_terms, 0.0), kept)
    capped = float((kept * torch.cat(over)).sum() / kept.sum())
    return mean - math.log(share) - reduced.log_volume_of_units, error, capped


def _configuration_terms(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, latent: Tensor
) -> tuple[Tensor, Tensor]:
    """ln ρ(q) + βV − ln ∫ dp exp(−β½|p|²) of latent coordinates (B, n), and βV, (B,) each.

    The first is −∞ where there is no structure.
    """
    q, log_det = model.flow.inverse(latent)  # type: ignore[operator]
    energy = reduced.configuration(q)
    log_density = model.prior.log_prob_coordinates(latent) - log_det
    return log_density + reduced.capped(energy) - reduced.log_momentum_volume, energy


class _Proposal:
    """A mixture of the flow and a broad Gaussian, of configurations or of all of phase space."""

    def __init__(
        self, model: PhaseSpaceModel, scale: float, by_hand: bool, generator: torch.Generator
    ) -> None:
        self.model, self.scale, self.by_hand = model, scale, by_hand
        self.generator = generator
        x, real = self._from_flow(PILOT)
        x = x[real]
        self.centre = x.mean(0)
        spread = torch.cov((x - self.centre).T).reshape(x.shape[1], x.shape[1])
        spread = BROAD**2 * spread + 1e-12 * spread.trace() * torch.eye(len(spread)).to(spread)
        self.root = torch.linalg.cholesky(spread)

    def draw(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Samples x and the ln of the density that they come from; +∞ for what is no structure."""
        n_broad = round(BROAD_SHARE * n_samples)
        noise = torch.randn(
            n_broad, len(self.centre), generator=self.generator, dtype=torch.float64
        )
        of_flow, real = self._from_flow(n_samples - n_broad)
        x = torch.cat([of_flow, self.centre + noise @ self.root.T])
        share = n_broad / n_samples
        parts = [
            self._log_density_of_flow(x) + math.log(1.0 - share),
            self._log_density_of_gaussian(x) + math.log(max(share, 1e-300)),
        ]
        log_density = torch.logaddexp(*parts)
        log_density[: len(real)][~real] = math.inf
        return x, log_density

    def _from_flow(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Samples of the flow, and which are structures: of internal coordinates not all are."""
        n = self.model.dimension
        z = self.scale * torch.randn(
            n_samples, 2 * n, generator=self.generator, dtype=torch.float64
        )
        latent = z[:, n:] / self.model.omega
        if self.by_hand:
            x, log_det = self.model.flow.inverse(latent)  # type: ignore[operator]
            return x, log_det < math.inf
        return torch.cat(self.model.flow.pull(z[:, :n], latent), -1), torch.ones(n_samples).bool()

    def _log_density_of_flow(self, x: Tensor) -> Tensor:
        n, omega = self.model.dimension, self.model.omega
        if self.by_hand:
            latent, log_det = self.model.flow(x)
            z = omega * latent / self.scale
        else:
            p, latent = self.model.flow.push(x[:, :n], x[:, n:])
            z, log_det = torch.cat([p, omega * latent], -1) / self.scale, torch.zeros(len(x))
        d = z.shape[-1]
        constant = float(omega.log().sum()) - d * math.log(self.scale) - 0.5 * d * LOG_2PI
        return constant - 0.5 * (z * z).sum(-1) + log_det

    def _log_density_of_gaussian(self, x: Tensor) -> Tensor:
        z = torch.linalg.solve_triangular(self.root, (x - self.centre).T, upper=False)
        constant = -float(self.root.diagonal().log().sum()) - 0.5 * len(z) * LOG_2PI
        return constant - 0.5 * (z * z).sum(0)


@torch.no_grad()
def _propose(
    model: PhaseSpaceModel,
    targets: list[ReducedHamiltonian],
    scale: float,
    n_samples: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
) -> list[_Samples]:
    """Log-weights and energies βH of the same samples under each target."""
    by_hand = model.is_point and all(target.hamiltonian.kinetic for target in targets)
    n = model.dimension
    proposal = _Proposal(model, scale, by_hand, generator)
    collected: list[list[tuple[Tensor, Tensor]]] = [[] for _ in targets]
    for count in _batches(n_samples):
        x, log_density = proposal.draw(count)
        for target, kept in zip(targets, collected, strict=True):
            q = x if by_hand else x[:, n:]
            volume = target.hamiltonian.log_volume(q / math.sqrt(target.scale))
            if by_hand:
                energy = target.configuration(q)
                log_weight = target.log_momentum_volume - energy - log_density
                energy = energy + volume + 0.5 * n
            else:
                energy = target.energy(x[:, :n], q)
                log_weight = -energy - log_density
                energy = energy + volume
            # what has no weight has no say
            kept.append((log_weight, torch.where(log_weight > -math.inf, energy, 0.0)))
        if progress is not None:
            progress(count)
    return [
        _Samples(*(torch.cat(parts).numpy() for parts in zip(*kept, strict=True)))
        for kept in collected
    ]


def _batches(n_samples: int) -> list[int]:
    full, rest = divmod(n_samples, BATCH)
    return [BATCH] * full + [rest] * (rest > 0)


def _normalised(log_weights: np.ndarray) -> tuple[float, np.ndarray]:
    """ln of the mean weight, and the weights over their mean."""
    top = log_weights.max()
    w = np.exp(log_weights - top)
    mean = w.mean()
    return float(top + math.log(mean)), w / mean


def _ess(weights: np.ndarray) -> float:
    return float(1.0 / np.mean(weights**2))


def _standard_error(influence: np.ndarray) -> float:
    """Of an average of independent terms of mean zero."""
    return float(np.sqrt(np.mean(influence**2) / len(influence)))
