"""Proposals for importance sampling: a mixture of a model and of a broad Gaussian.

A flow that was trained on the free-energy bound tends to be too narrow. It leaves gaps where the
map is cut, as it must be on a ring. The variance of the weights of such a proposal alone could not
be estimated. The proposal is therefore a mixture. Most samples come from the flow, with the width
that a pilot run finds best. A fixed share comes from a broad Gaussian over the same region, which
bounds the weights in the gaps.

Source: T. Hesterberg, Technometrics 37, 185 (1995).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import LOG_2PI
from symplectic_cv.sampling.batches import BATCH, batch_sizes
from symplectic_cv.sampling.importance import normalised_weights
from symplectic_cv.sampling.target import LatentMap, LatentTarget
from symplectic_cv.statistics import effective_size

SCALES = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
"""Standard deviations of the proposal's latent Gaussian that a pilot run chooses from."""
BROAD_SHARE = 0.2
"""The share of the proposals that comes from the broad Gaussian."""
BROAD = 1.25
"""The width of the broad Gaussian in units of the spread of the flow's samples."""
PILOT = 8192
"""The number of samples of a pilot run."""


@dataclass(frozen=True)
class WeighedSamples:
    """Importance samples of one target.

    Attributes:
        log_weights: ln w = ln π − ln (density of the proposal), shape (N,), in nats.
        energies: βH of the samples, momenta included, shape (N,), in nats; 0 for a sample without
            weight.
    """

    log_weights: np.ndarray
    energies: np.ndarray


class MixtureProposal:
    """A mixture of a widened model and a broad Gaussian.

    Args:
        latent_map: The map of the model, with or without momenta.
        scale: The standard deviation of the latent Gaussian behind the model's samples.
        generator: The source of the random numbers.
    """

    def __init__(self, latent_map: LatentMap, scale: float, generator: torch.Generator) -> None:
        self.latent_map, self.scale, self.generator = latent_map, scale, generator
        x, real = self._from_flow(PILOT)
        x = x[real]
        self.centre = x.mean(0)
        spread = torch.cov((x - self.centre).T).reshape(x.shape[1], x.shape[1])
        spread = BROAD**2 * spread + 1e-12 * spread.trace() * torch.eye(len(spread)).to(spread)
        self.root = torch.linalg.cholesky(spread)

    def draw(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Samples x, (B, d), and ln of the density that they come from, (B,).

        The density is +∞ for a sample that is no structure, so that it has no weight.
        """
        n_broad = round(BROAD_SHARE * n_samples)
        noise = torch.randn(
            n_broad, len(self.centre), generator=self.generator, dtype=torch.float64
        )
        of_flow, real = self._from_flow(n_samples - n_broad)
        x = torch.cat([of_flow, self.centre + noise @ self.root.T])
        share = n_broad / n_samples
        u, log_det = self.latent_map.to_latent(x)
        log_density = torch.logaddexp(
            self.latent_map.log_normal(u, self.scale) + log_det + math.log(1.0 - share),
            self._log_density_of_gaussian(x) + math.log(max(share, 1e-300)),
        )
        log_density[: len(real)][~real] = math.inf
        return x, log_density

    def _from_flow(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Samples of the flow, and the mask of those that are structures."""
        n = self.latent_map.model.dimension
        u = self.scale * torch.randn(
            n_samples, 2 * n, generator=self.generator, dtype=torch.float64
        )
        x, log_det = self.latent_map.from_latent(u[:, -self.latent_map.dimension :])
        return x, log_det < math.inf

    def _log_density_of_gaussian(self, x: Tensor) -> Tensor:
        z = torch.linalg.solve_triangular(self.root, (x - self.centre).T, upper=False)
        constant = -float(self.root.diagonal().log().sum()) - 0.5 * len(z) * LOG_2PI
        return constant - 0.5 * (z * z).sum(0)


@torch.no_grad()
def weigh_proposals(
    model: PhaseSpaceModel,
    hamiltonians: Sequence[ReducedHamiltonian],
    scale: float,
    n_samples: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
) -> list[WeighedSamples]:
    """The same samples of a proposal, weighed for each of several Hamiltonians.

    Args:
        model: The model behind the proposal.
        hamiltonians: Hamiltonians in the variables of the model.
        scale: The standard deviation of the latent Gaussian.
        n_samples: The number of samples.
        generator: The source of the random numbers.
        progress: Called with the number of samples done since the last call.
    """
    by_hand = model.is_point and all(reduced.hamiltonian.kinetic for reduced in hamiltonians)
    targets = [LatentTarget(model, reduced, only_coordinates=by_hand) for reduced in hamiltonians]
    proposal = MixtureProposal(targets[0], scale, generator)
    collected: list[list[tuple[Tensor, Tensor]]] = [[] for _ in targets]
    for count in batch_sizes(n_samples, BATCH):
        x, log_proposal = proposal.draw(count)
        for target, kept in zip(targets, collected, strict=True):
            energy, log_density = target.energy_and_log_density(x)
            if by_hand:
                log_density = target.reduced.log_momentum_volume + log_density
                energy = energy + 0.5 * model.dimension
            log_weight = log_density - log_proposal
            # a sample without weight may have an infinite energy
            kept.append((log_weight, torch.where(log_weight > -math.inf, energy, 0.0)))
        if progress is not None:
            progress(count)
    return [
        WeighedSamples(*(torch.cat(parts).numpy() for parts in zip(*kept, strict=True)))
        for kept in collected
    ]


def choose_scale(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, generator: torch.Generator, most: int
) -> float:
    """The width of the proposal whose weights are most even, by a pilot run for each width.

    Args:
        model: The model behind the proposal.
        reduced: The Hamiltonian.
        generator: The source of the random numbers.
        most: The greatest number of samples of a pilot run, if that is less than `PILOT`.
    """
    sizes = []
    for scale in SCALES:
        pilot = weigh_proposals(model, [reduced], scale, min(PILOT, most), generator)[0]
        sizes.append(effective_size(normalised_weights(pilot.log_weights)[1]))
    return SCALES[int(np.argmax(sizes))]
