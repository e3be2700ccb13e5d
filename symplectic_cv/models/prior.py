"""The latent space: independent oscillators and pendulums with learnable frequencies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from symplectic_cv.models.von_mises import (
    LOG_2PI,
    angles_to_normal,
    log_von_mises,
    normal_to_angles,
)


class HarmonicPrior(nn.Module):
    """N(z) ∝ exp(−K), K = Σ (P_k² + ω_k² Q_k²)/2, ln N = Σ ln ω_k − n ln 2π − K.

    Args:
        omega: The angular frequencies ω, shape (n,), in rad/ps, all positive.

    Source: the paper, section III.A.2.
    """

    def __init__(self, omega: Tensor) -> None:
        super().__init__()
        self.log_omega = nn.Parameter(omega.detach().clone().log())

    @property
    def omega(self) -> Tensor:
        """ω (n,) in rad/ps."""
        return self.log_omega.exp()

    @property
    def momentum_spread(self) -> Tensor:
        """The standard deviation of each momentum P, shape (n,)."""
        return torch.ones_like(self.log_omega)

    def log_prob(self, p: Tensor, q: Tensor) -> Tensor:
        """ln N(P, Q) in nats, (...)."""
        return self.log_prob_coordinates(q) + self.log_prob_momenta(p)

    def log_prob_momenta(self, p: Tensor) -> Tensor:
        """ln N(P) in nats, (...): the marginal over the coordinates."""
        n = self.log_omega.shape[0]
        return -0.5 * (p * p).sum(-1) - 0.5 * n * LOG_2PI

    def log_prob_coordinates(self, q: Tensor) -> Tensor:
        """ln N(Q; 0, ω⁻²) in nats, (...): the marginal over the momenta."""
        n = self.log_omega.shape[0]
        scaled = self.omega * q
        return self.log_omega.sum() - 0.5 * (scaled * scaled).sum(-1) - 0.5 * n * LOG_2PI

    def to_normal(self, q: Tensor) -> Tensor:
        """Standard normal numbers u (..., n) of latent coordinates Q: here u = ωQ."""
        return self.omega * q

    def from_normal(self, u: Tensor) -> Tensor:
        """Latent coordinates Q (..., n) of standard normal numbers u: undoes `to_normal`."""
        return u / self.omega

    def sample_coordinates(
        self, n_samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Q of the latent density, (n_samples, n)."""
        omega = self.omega.detach()
        noise = torch.randn(
            n_samples, omega.shape[0], generator=generator, dtype=omega.dtype, device=omega.device
        )
        return self.from_normal(noise).detach()

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Numbers the modes anew: mode k becomes the former mode order[k]."""
        self.log_omega.copy_(self.log_omega[order])


class PendulumPrior(HarmonicPrior):
    """Pendulums for coordinates on a circle, oscillators for all others.

    A pendulum has K = P²/2I + κ(1 − cos θ), with P ~ N(0, I) and θ of the von Mises law; its
    frequency at the bottom is ω = √(κ/I). For large κ it is an oscillator.

    Args:
        omega: The angular frequencies ω, shape (n,), in rad/ps, all positive.
        pendulums: The modes that are pendulums, ascending, shape (k,).
        kappa: Their concentrations κ, shape (k,), all positive.

    Example:
        >>> prior = PendulumPrior(torch.ones(2), torch.tensor([0]), torch.tensor([4.0]))
        >>> prior.inertia
        tensor([4.], grad_fn=<DivBackward0>)
    """

    pendulums: Tensor

    def __init__(self, omega: Tensor, pendulums: Tensor, kappa: Tensor) -> None:
        super().__init__(omega)
        self.log_kappa = nn.Parameter(kappa.detach().clone().log().to(omega.dtype))
        self.register_buffer("pendulums", pendulums)

    @property
    def kappa(self) -> Tensor:
        """κ (k,) of the pendulums, dimensionless."""
        return self.log_kappa.exp()

    @property
    def inertia(self) -> Tensor:
        """I = κ/ω² (k,) of the pendulums, in ps²."""
        return self.kappa / self.omega.index_select(0, self.pendulums) ** 2

    @property
    def momentum_spread(self) -> Tensor:
        return super().momentum_spread.index_copy(0, self.pendulums, self.inertia.sqrt())

    def log_prob_momenta(self, p: Tensor) -> Tensor:
        spread = self.momentum_spread
        return super().log_prob_momenta(p / spread) - spread.log().sum()

    def log_prob_coordinates(self, q: Tensor) -> Tensor:
        line = self._line
        scaled = (self.omega * q).index_select(-1, line)
        harmonic = self.log_omega.index_select(0, line).sum() - 0.5 * (scaled * scaled).sum(-1)
        angles = log_von_mises(q.index_select(-1, self.pendulums), self.kappa).sum(-1)
        return harmonic - 0.5 * len(line) * LOG_2PI + angles

    def to_normal(self, q: Tensor) -> Tensor:
        angles = angles_to_normal(q.index_select(-1, self.pendulums), self.kappa).to(q.dtype)
        return super().to_normal(q).index_copy(-1, self.pendulums, angles)

    def from_normal(self, u: Tensor) -> Tensor:
        angles = normal_to_angles(u.index_select(-1, self.pendulums), self.kappa).to(u.dtype)
        return super().from_normal(u).index_copy(-1, self.pendulums, angles)

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        super().reorder(order)
        place = torch.full_like(order, -1)
        place[self.pendulums] = torch.arange(len(self.pendulums), device=order.device)
        former = place[order]
        self.pendulums.copy_(torch.nonzero(former >= 0)[:, 0])
        self.log_kappa.copy_(self.log_kappa[former[self.pendulums]])

    @property
    def _line(self) -> Tensor:
        """The modes that are oscillators, shape (n−k,)."""
        mask = torch.ones_like(self.log_omega, dtype=torch.bool)
        mask[self.pendulums] = False
        return torch.nonzero(mask)[:, 0]
