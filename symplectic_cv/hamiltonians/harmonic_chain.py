"""A chain of harmonic springs with fixed ends (the paper, section IV.B)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.hamiltonians.base import Hamiltonian


class HarmonicChain(Hamiltonian):
    """H = ½ Σ p_i² + ½ Σ (q_i − q_{i−1})², q_0 = q_{n+1} = 0.

    Its normal modes are ω_k = 2 sin(πk / (2n + 2)), Q_k ∝ Σ_i q_i sin(ikπ/(n + 1)).

    Args:
        size: The number n of particles.

    Raises:
        OptionError: There is no particle.
    """

    name = "harmonic-chain"

    def __init__(self, size: int = 32) -> None:
        if size < 1:
            raise OptionError(f"a harmonic chain needs at least one particle: `size` {size}")
        self.dimension = size

    def potential(self, q: Tensor) -> Tensor:
        zero = torch.zeros_like(q[..., :1])
        return 0.5 * (torch.diff(q, dim=-1, prepend=zero, append=zero) ** 2).sum(-1)

    def exact_free_energy(self, beta: float) -> float:
        """−ln Z in nats, from the normal modes: Z = Π 2π/(β ω_k)."""
        omega = self.exact_omega().numpy()
        return float(np.log(beta * omega / (2.0 * np.pi)).sum())

    def exact_omega(self) -> Tensor:
        """The square roots of the eigenvalues of the force constants, slowest first."""
        n = self.dimension
        squares = eigvalsh_tridiagonal(np.full(n, 2.0), np.full(n - 1, -1.0))
        return torch.as_tensor(np.sqrt(squares))

    def normal_modes(self) -> Tensor:
        """The matrix √(2/(n+1)) sin(ikπ/(n+1)) of row i and column k, (n, n), slowest first."""
        n = self.dimension
        i = torch.arange(1, n + 1, dtype=torch.float64)
        return (2.0 / (n + 1)) ** 0.5 * torch.sin(torch.outer(i, i) * torch.pi / (n + 1))
