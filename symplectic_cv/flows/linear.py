"""Linear canonical transformations: z = x exp(Y) with Y in the Lie algebra sp(2n).

Y = [[A, B], [C, −Aᵀ]] with symmetric B and C obeys Y J + J Yᵀ = 0, so exp(Y) is symplectic
and exp(−Y) undoes it exactly. With B = C = 0 and a skew A it turns momenta and coordinates
alike: the rotation to normal modes.

Source: the paper, appendix A.1. PyTorch differentiates the matrix exponential exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from symplectic_cv.flows.canonical import CanonicalTransformation, half_dimension


class LinearSymplectic(CanonicalTransformation):
    """z = x exp(Y); starts as the identity.

    Args:
        phase_space_dimension: The dimension 2n of phase space.
        orthogonal: Whether only rotations to normal modes are learned: B = C = 0 and A = −Aᵀ.

    Raises:
        OptionError: The dimension is odd.

    Example:
        >>> layer = LinearSymplectic(6, orthogonal=True)
        >>> p, q = torch.randn(2, 4, 3)
        >>> P, Q = layer.push(p, q)
    """

    def __init__(self, phase_space_dimension: int, orthogonal: bool = False) -> None:
        super().__init__()
        n = half_dimension(phase_space_dimension)
        self.a = nn.Parameter(torch.zeros(n, n))
        self.b: nn.Parameter | None = None
        self.c: nn.Parameter | None = None
        self.orthogonal = orthogonal
        if not orthogonal:
            self.b = nn.Parameter(torch.zeros(n, n))
            self.c = nn.Parameter(torch.zeros(n, n))

    def generator(self) -> Tensor:
        """Y, (2n, 2n)."""
        if self.b is None or self.c is None:
            a = self.a - self.a.T
            b = c = torch.zeros_like(a)
        else:
            a = self.a
            b, c = self.b + self.b.T, self.c + self.c.T
        return torch.cat([torch.cat([a, b], 1), torch.cat([c, -a.T], 1)])

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return self._apply_exponential(p, q, self.generator())

    def pull(self, p_latent: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        return self._apply_exponential(p_latent, latent, -self.generator())

    def _apply_exponential(self, p: Tensor, q: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        n = self.a.shape[0]
        z = torch.cat([p, q], -1) @ torch.linalg.matrix_exp(y)
        return z[..., :n], z[..., n:]
