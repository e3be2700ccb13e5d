"""The target of a sampler, seen from the latent space.

In the scaled latent variables u (ω_k Q_k, and P where momenta do not separate) the model's
density is a standard normal one, and the target is N(u; 0, 1) · w(u) up to a constant, with
the importance weight

    ln w = ln π − ln ρ,    π(q) ∝ |det A(q)| exp(−βU(x(q))),

A that of the Eckart frame (`symplectic_cv.charts.eckart`); without a frame the volume element is 1.
Every sampler here works on this form, so that each is exact for any flow, good or bad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from symplectic_cv.hamiltonians.base import require_energies
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel, in_float64
from symplectic_cv.models.prior import LOG_2PI
from symplectic_cv.sampling.thermodynamics import require_same_dimension


@dataclass(frozen=True)
class Points:
    """B points of a target.

    Attributes:
        u: scaled latent variables, (B, d).
        x: scaled coordinates q, or momenta and coordinates (p, q), (B, d).
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


class LatentTarget:
    """A Hamiltonian at its temperature, as a function of the scaled latent variables of a model.

    Where coordinates transform among themselves and momenta are Gaussian, the latter are
    left out: d = n. Otherwise phase space is sampled: d = 2n.

    Args:
        model: of the Hamiltonian; copied and used in float64.
        reduced: the Hamiltonian in the variables of the model.
        with_volume: whether the volume element counts. Without it the samples of a molecule
            are wrong; only tests that show so leave it out.

    Raises:
        OptionError: a Hamiltonian of another dimension than the model.
    """

    def __init__(
        self, model: PhaseSpaceModel, reduced: ReducedHamiltonian, with_volume: bool = True
    ) -> None:
        require_same_dimension(model, reduced)
        self.model = in_float64(model)
        self.reduced = reduced
        self.with_volume = with_volume
        self.only_coordinates = model.is_point and reduced.hamiltonian.kinetic
        n = model.dimension
        self.dimension = n if self.only_coordinates else 2 * n

    def draw(self, n_points: int, generator: torch.Generator) -> Tensor:
        """u ~ N(0, 1), (n_points, d): the latent variables of samples of the model."""
        return torch.randn(n_points, self.dimension, generator=generator, dtype=torch.float64)

    def decode(self, u: Tensor) -> Points:
        """The points with latent variables u (B, d); differentiable."""
        n, omega = self.model.dimension, self.model.omega
        log_det = torch.zeros(len(u), dtype=u.dtype)
        if self.only_coordinates:
            x, log_det = self.model.flow.inverse(u / omega)  # type: ignore[operator]
        else:
            x = torch.cat(self.model.flow.pull(u[:, :n], u[:, n:] / omega), -1)
        return self._points(u, x, self._log_normal(u) - log_det)

    def encode(self, x: Tensor) -> Points:
        """The points with coordinates x (B, d)."""
        n, omega = self.model.dimension, self.model.omega
        log_det = torch.zeros(len(x), dtype=x.dtype)
        if self.only_coordinates:
            latent, log_det = self.model.flow(x)
            u = latent * omega
        else:
            p, latent = self.model.flow.push(x[:, :n], x[:, n:])
            u = torch.cat([p, latent * omega], -1)
        return self._points(u, x, self._log_normal(u) + log_det)

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
        """ln π(x) in nats up to a constant, (B,), differentiable; the flow has no part in it."""
        return self._energy_and_log_density(x)[1]

    def _log_normal(self, u: Tensor) -> Tensor:
        """ln of the latent density, of Q rather than u."""
        constant = float(self.model.omega.log().sum()) - 0.5 * self.dimension * LOG_2PI
        return constant - 0.5 * (u * u).sum(-1)

    def _points(self, u: Tensor, x: Tensor, log_likelihood: Tensor) -> Points:
        finite = torch.isfinite(x).all(-1) & torch.isfinite(log_likelihood)
        # what overflowed has no weight; a NaN would be taken for a fault of the Hamiltonian
        x = torch.where(finite.unsqueeze(-1), x, 0.0)
        energy, log_density = self._energy_and_log_density(x)
        log_weight = torch.where(finite, log_density - log_likelihood, -math.inf)
        energy = torch.where(finite, energy, math.inf)
        return Points(u, x, log_likelihood, energy, log_weight)

    def _energy_and_log_density(self, x: Tensor) -> tuple[Tensor, Tensor]:
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
