"""The target of samplers and of importance estimates, seen from the latent space.

In the scaled latent variables u (ω_k Q_k of an oscillator, the normal number of a pendulum's angle,
and P where momenta do not separate) the model's
density is a standard normal one, and the target is N(u; 0, 1) · w(u) up to a constant, with
the importance weight

    ln w = ln π − ln ρ,    π(q) ∝ |det A(q)| exp(−βU(x(q))),

A is the matrix of the Eckart frame (`symplectic_cv.charts.eckart`); without a frame the volume
element is 1. Samplers and the estimates of thermodynamics use this form, so that each is exact for
any flow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from symplectic_cv.hamiltonians.base import require_energies
from symplectic_cv.hamiltonians.of_model import require_same_dimension
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel, in_float64
from symplectic_cv.models.prior import LOG_2PI


@dataclass(frozen=True)
class Points:
    """B points of a target.

    Attributes:
        u: The scaled latent variables, (B, d).
        x: The scaled coordinates q, or momenta and coordinates (p, q), (B, d).
        log_likelihood: ln ρ(x) of the model in nats, (B,).
        energy: βV(q), or βH(p, q), in nats, (B,).
        log_weight: ln w in nats up to a constant, (B,); −inf where the target is zero.
    """

    u: Tensor
    x: Tensor
    log_likelihood: Tensor
    energy: Tensor
    log_weight: Tensor

    def __len__(self) -> int:
        return len(self.u)

    def where(self, chosen: Tensor, other: Points) -> Points:
        """Own points where `chosen` (B,), those of `other` elsewhere."""
        mixed = {}
        for name, value in self.parts().items():
            mask = chosen if value.ndim == 1 else chosen.unsqueeze(-1)
            mixed[name] = torch.where(mask, value, getattr(other, name))
        return Points(**mixed)

    def __getitem__(self, index: Tensor | slice) -> Points:
        return Points(**{name: value[index] for name, value in self.parts().items()})

    def parts(self) -> dict[str, Tensor]:
        return {part.name: getattr(self, part.name) for part in fields(self)}


class LatentMap:
    """The map of a model between scaled latent variables u and scaled coordinates x, with ln ρ(x).

    Args:
        model: The model; it is copied and used in float64.
        only_coordinates: Whether momenta are left out, which needs a model that transforms
            coordinates among themselves. The dimension d is n then, and 2n otherwise.
    """

    def __init__(self, model: PhaseSpaceModel, only_coordinates: bool) -> None:
        self.model = in_float64(model)
        self.only_coordinates = only_coordinates
        n = model.dimension
        self.dimension = n if only_coordinates else 2 * n

    def draw(self, n_points: int, generator: torch.Generator) -> Tensor:
        """Latent variables of samples of the model, u ~ N(0, 1), shape (n_points, d)."""
        return torch.randn(n_points, self.dimension, generator=generator, dtype=torch.float64)

    def from_latent(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates x (B, d) of latent variables u (B, d), and ln |det ∂x/∂u|, (B,).

        The determinant is infinite where there is no structure.
        """
        n, prior = self.model.dimension, self.model.prior
        latent = prior.from_normal(u[:, -n:])
        log_scale = normal_log_prob(u[:, -n:]) - prior.log_prob_coordinates(latent)
        if self.only_coordinates:
            q, log_det = self.model.flow.inverse(latent)  # type: ignore[operator]
            return q, log_det + log_scale
        spread = prior.momentum_spread
        x = torch.cat(self.model.flow.pull(u[:, :n] * spread, latent), -1)
        return x, log_scale + spread.log().sum()

    def to_latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latent variables u (B, d) of coordinates x (B, d), and ln |det ∂u/∂x|, (B,)."""
        n, prior = self.model.dimension, self.model.prior
        if self.only_coordinates:
            latent, log_det = self.model.flow(x)
            u = prior.to_normal(latent)
            return u, log_det + prior.log_prob_coordinates(latent) - normal_log_prob(u)
        p, latent = self.model.flow.push(x[:, :n], x[:, n:])
        spread, u = prior.momentum_spread, prior.to_normal(latent)
        log_scale = prior.log_prob_coordinates(latent) - normal_log_prob(u)
        return torch.cat([p / spread, u], -1), log_scale - spread.log().sum()

    def log_normal(self, u: Tensor, width: float = 1.0) -> Tensor:
        """ln of the density of latent variables u ~ N(0, width²), (B,)."""
        return normal_log_prob(u / width) - self.dimension * math.log(width)


def normal_log_prob(u: Tensor) -> Tensor:
    """ln N(u; 0, 1) in nats, (B,), of numbers u (B, d)."""
    return -0.5 * (u * u).sum(-1) - 0.5 * u.shape[-1] * LOG_2PI


class LatentTarget(LatentMap):
    """A Hamiltonian at its temperature, as a function of the scaled latent variables of a model.

    Momenta are left out (d = n) where coordinates transform among themselves and momenta are
    Gaussian. Otherwise phase space is sampled (d = 2n).

    Args:
        model: A model of the Hamiltonian; it is copied and used in float64.
        reduced: The Hamiltonian in the variables of the model.
        with_volume: Whether the volume element counts. Without it the samples of a molecule
            are wrong; only tests that show so leave it out.
        only_coordinates: Whether momenta are left out; wherever that is possible where None.

    Raises:
        OptionError: The Hamiltonian has another dimension than the model.
    """

    def __init__(
        self,
        model: PhaseSpaceModel,
        reduced: ReducedHamiltonian,
        with_volume: bool = True,
        only_coordinates: bool | None = None,
    ) -> None:
        require_same_dimension(model, reduced)
        possible = model.is_point and reduced.hamiltonian.kinetic
        super().__init__(model, possible if only_coordinates is None else only_coordinates)
        self.reduced = reduced
        self.with_volume = with_volume

    def decode(self, u: Tensor) -> Points:
        """The points with latent variables u (B, d); differentiable."""
        x, log_det = self.from_latent(u)
        return self._points(u, x, self.log_normal(u) - log_det)

    def encode(self, x: Tensor) -> Points:
        """The points with coordinates x (B, d)."""
        u, log_det = self.to_latent(x)
        return self._points(u, x, self.log_normal(u) + log_det)

    def slope(self, u: Tensor) -> tuple[Points, Tensor]:
        """The points of u (B, d) and ∂ ln w/∂u (B, d); zero where it is not finite."""
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            points = self.decode(u)
            usable = torch.isfinite(points.log_weight)
            total = torch.where(usable, points.log_weight, 0.0).sum()
            (slope,) = torch.autograd.grad(total, u)
        slope = torch.where(torch.isfinite(slope), slope, 0.0)
        return Points(**{k: v.detach() for k, v in points.parts().items()}), slope

    def log_density(self, x: Tensor) -> Tensor:
        """ln π(x) in nats up to a constant, (B,), differentiable; independent of the flow."""
        return self.energy_and_log_density(x)[1]

    def energy_and_log_density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """βV(q), or βH(p, q), and ln π(x) up to a constant, in nats, (B,) each."""
        reduced, hamiltonian = self.reduced, self.reduced.hamiltonian
        real = x / math.sqrt(reduced.scale)
        n = self.model.dimension
        if self.only_coordinates:
            found = hamiltonian.potential(real)
        else:
            found = hamiltonian.energy(real[:, :n], real[:, n:])
            real = real[:, n:]
        energy = reduced.beta * require_energies(hamiltonian, found, len(x))
        log_volume = hamiltonian.log_volume(real) if self.with_volume else 0.0
        return energy, log_volume - energy

    def _points(self, u: Tensor, x: Tensor, log_likelihood: Tensor) -> Points:
        finite = torch.isfinite(x).all(-1) & torch.isfinite(log_likelihood)
        # what overflowed has no weight; a NaN would be taken for a fault of the Hamiltonian
        x = torch.where(finite.unsqueeze(-1), x, 0.0)
        energy, log_density = self.energy_and_log_density(x)
        log_weight = torch.where(finite, log_density - log_likelihood, -math.inf)
        energy = torch.where(finite, energy, math.inf)
        return Points(u, x, log_likelihood, energy, log_weight)
