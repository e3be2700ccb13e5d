"""The harmonic latent space: independent oscillators with learnable frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2.0 * math.pi)


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

    def log_prob(self, p: Tensor, q: Tensor) -> Tensor:
        """ln N(P, Q) in nats, (...)."""
        n = self.log_omega.shape[0]
        return self.log_prob_coordinates(q) - 0.5 * (p * p).sum(-1) - 0.5 * n * LOG_2PI

    def log_prob_coordinates(self, q: Tensor) -> Tensor:
        """ln N(Q; 0, ω⁻²) in nats, (...): the marginal over the momenta."""
        n = self.log_omega.shape[0]
        scaled = self.omega * q
        return self.log_omega.sum() - 0.5 * (scaled * scaled).sum(-1) - 0.5 * n * LOG_2PI

    def sample_coordinates(
        self, n_samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Q ~ N(0, ω⁻²), (n_samples, n) in ps."""
        omega = self.omega.detach()
        noise = torch.randn(
            n_samples, omega.shape[0], generator=generator, dtype=omega.dtype, device=omega.device
        )
        return noise / omega
