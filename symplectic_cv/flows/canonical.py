"""Canonical transformations of phase space: their interface, their chains, and their test.

T: x = (p, q) → z = (P, Q) is canonical where its Jacobian M = ∂z/∂x keeps the symplectic
form, M J Mᵀ = J (the paper, equation (1)). Such maps form a group: any chain of them is one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from symplectic_cv.errors import OptionError


class CanonicalTransformation(nn.Module):
    """A map of phase space and its exact inverse; p and q are (..., n) each.

    A new kind of transformation implements `push` and `pull`.
    """

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """(P, Q) = T(p, q): from physical to latent variables."""
        raise NotImplementedError

    def pull(self, p_latent: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) = T⁻¹(P, Q)."""
        raise NotImplementedError


class Composition(CanonicalTransformation):
    """Canonical transformations one after the other, the first acts first on (p, q).

    Example:
        >>> from symplectic_cv.flows.linear import LinearSymplectic
        >>> chain = Composition([LinearSymplectic(6), LinearSymplectic(6)])
        >>> p, q = torch.randn(2, 5, 3)
        >>> P, Q = chain.push(p, q)
    """

    def __init__(self, parts: Iterable[CanonicalTransformation]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        for part in self.parts:
            p, q = part.push(p, q)  # type: ignore[operator]
        return p, q

    def pull(self, p_latent: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        p, q = p_latent, latent
        for part in reversed(self.parts):
            p, q = part.pull(p, q)  # type: ignore[operator]
        return p, q


def half_dimension(phase_space_dimension: int) -> int:
    """n of a phase space of 2n dimensions; raises OptionError where that is odd or not positive."""
    if phase_space_dimension < 2 or phase_space_dimension % 2:
        raise OptionError(
            f"a phase space has 2n dimensions, one momentum for each coordinate; got "
            f"{phase_space_dimension}"
        )
    return phase_space_dimension // 2


def split_phase_space(x: Tensor) -> tuple[Tensor, Tensor]:
    """Momenta and coordinates, (..., n) each, of x = (p, q) of shape (..., 2n)."""
    n = half_dimension(x.shape[-1])
    return x[..., :n], x[..., n:]


def symplectic_form(phase_space_dimension: int) -> Tensor:
    """J = [[0, 1], [−1, 0]], (2n, 2n), float64, in the order (p, q)."""
    n = half_dimension(phase_space_dimension)
    one, zero = torch.eye(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    return torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])


def symplectic_defect(transformation: CanonicalTransformation, x: Tensor) -> float:
    """Largest entry of |M J Mᵀ − J| at the points x (B, 2n); rounding for a canonical map.

    M is autograd's Jacobian. For large entries of M the rounding grows with them, so the
    defect is relative to the largest of them where that exceeds 1.

    Example:
        >>> from symplectic_cv.flows.linear import LinearSymplectic
        >>> layer = LinearSymplectic(4).double()
        >>> symplectic_defect(layer, torch.randn(3, 4, dtype=torch.float64)) < 1e-12
        True
    """
    form = symplectic_form(x.shape[-1]).to(x)
    worst = 0.0
    for point in x:
        m = jacobian(lambda y: _pushed(transformation, y), point)
        defect = (m @ form @ m.T - form).abs().max() / m.abs().max().clamp(min=1.0)
        worst = max(worst, float(defect))
    return worst


def _pushed(transformation: CanonicalTransformation, x: Tensor) -> Tensor:
    p, q = split_phase_space(x.unsqueeze(0))
    return torch.cat(transformation.push(p, q), -1)[0]
