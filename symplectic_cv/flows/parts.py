"""Layers for coordinates of several kinds: a part of them, angles to a line, conditional Gaussians.

Layers without a hand-written lift derive from `AutogradLayer`, whose momenta are vector-Jacobian
products by autograd. Bijections of other libraries do the same (`autoregressive`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from symplectic_cv.flows.coupling import Conditioner
from symplectic_cv.flows.layers import PointLayer

HARMONICS = 3
"""Multiples of each angle that a conditional Gaussian sees; a methyl group has three-fold
symmetry."""
BOUND = 2.0
"""Largest |ln| of the diagonal of a conditional Gaussian's L."""


def harmonics(angles: Tensor) -> Tensor:
    """Cosines and sines of the first multiples of angles (..., k), (..., 6k)."""
    multiples = torch.cat([k * angles for k in range(1, HARMONICS + 1)], -1)
    return torch.cat([multiples.cos(), multiples.sin()], -1)


class AutogradLayer(PointLayer):
    """A layer with `forward` and `inverse`; momenta follow by vector-Jacobian products."""

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        again = torch.is_grad_enabled()
        q_new, log_det = self.forward(q)
        with torch.enable_grad():
            there = q_new if q_new.requires_grad else q_new.detach().requires_grad_(True)
            back, _ = self.inverse(there)
            (p_new,) = torch.autograd.grad(back, there, p, create_graph=again)
        return p_new, q_new, log_det

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.forward(q)[0], [q]

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            here = tape[0] if tape[0].requires_grad else tape[0].detach().requires_grad_(True)
            (p,) = torch.autograd.grad(self.forward(here)[0], here, p_new, create_graph=again)
        return p


class SubsetLayer(PointLayer):
    """A layer that acts on some of the coordinates and leaves the others.

    Args:
        layer: The layer, which acts on len(indices) coordinates.
        indices: The indices of these coordinates among all n.
        n: The number of all coordinates.
    """

    indices: Tensor
    others: Tensor
    merge: Tensor

    def __init__(self, layer: PointLayer, indices: Tensor, n: int) -> None:
        super().__init__()
        self.layer = layer
        mask = torch.ones(n, dtype=torch.bool)
        mask[indices] = False
        others = torch.nonzero(mask)[:, 0]
        self.register_buffer("indices", indices)
        self.register_buffer("others", others)
        self.register_buffer("merge", torch.argsort(torch.cat([indices, others])))

    def _take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.indices), x.index_select(-1, self.others)

    def _put(self, changed: Tensor, kept: Tensor) -> Tensor:
        return torch.cat([changed, kept], -1).index_select(-1, self.merge)

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        part, rest = self._take(q)
        part, log_det = self.layer(part)
        return self._put(part, rest), log_det

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        part, rest = self._take(q_new)
        part, log_det = self.layer.inverse(part)
        return self._put(part, rest), log_det

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part, rest = self._take(q)
        p_part, p_rest = self._take(p)
        p_part, part, log_det = self.layer.push(p_part, part)
        return self._put(p_part, p_rest), self._put(part, rest), log_det

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        part, rest = self._take(q)
        part, tape = self.layer.record(part)
        return self._put(part, rest), tape

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        part, rest = self._take(p_new)
        return self._put(self.layer.pull_back(part, tape), rest)


class AngleToLine(AutogradLayer):
    """An angle on [−π, π) → a number: what is uniform on the circle becomes N(0, 1).

    The map jumps where the circle is cut; the density of the angle does not.
    """

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        edge = 1.0 - torch.finfo(q.dtype).eps
        z = math.sqrt(2.0) * torch.erfinv((q / math.pi).clamp(-edge, edge))
        return z, -self._log_slope(z)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        angle = math.pi * torch.erf(q_new / math.sqrt(2.0))
        return angle, self._log_slope(q_new)

    @staticmethod
    def _log_slope(z: Tensor) -> Tensor:
        """ln |d angle / dz| = ln √(2π) − z²/2, summed."""
        return (0.5 * math.log(2.0 * math.pi) - 0.5 * z * z).sum(-1)


class Scale(PointLayer):
    """q' = factor · q, with factors (n,) that are not learned."""

    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def _log_det(self, q: Tensor) -> Tensor:
        return self.factor.log().sum().expand(q.shape[:-1])

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        return q * self.factor, self._log_det(q)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        return q_new / self.factor, -self._log_det(q_new)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return p / self.factor, q * self.factor, self._log_det(q)

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        return q * self.factor, []

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        return p_new * self.factor


class ConditionalGaussian(AutogradLayer):
    """b' = L(a) (b − μ(a)), L lower triangular: b given angles a is made a standard normal.

    With stiff bonds and angles b and soft torsions a this is the harmonic molecule at each
    conformation. Starts as the identity; `fit` starts it as the regression of b on a.

    Args:
        angles, moved: The indices of a (rad) and of b, together 0 … n−1.
        hidden: The width of the network.
    """

    angles: Tensor
    moved: Tensor
    merge: Tensor
    below: Tensor
    place: Tensor

    def __init__(self, angles: Tensor, moved: Tensor, hidden: int) -> None:
        super().__init__()
        m = len(moved)
        self.register_buffer("angles", angles)
        self.register_buffer("moved", moved)
        self.register_buffer("merge", torch.argsort(torch.cat([angles, moved])))
        self.register_buffer("below", torch.tril_indices(m, m, -1))
        # of each element of L among those below the diagonal, on it, and a last one, zero
        place = torch.full((m, m), self.below.shape[1] + m)
        place[self.below[0], self.below[1]] = torch.arange(self.below.shape[1])
        place.diagonal().copy_(self.below.shape[1] + torch.arange(m))
        self.register_buffer("place", place.flatten(), persistent=False)
        n_in, n_out = 2 * HARMONICS * len(angles), 2 * m + self.below.shape[1]
        self.conditioner = Conditioner(n_in, n_out, hidden)
        self.linear = nn.Parameter(torch.zeros(n_in, m))

    @torch.no_grad()
    def fit(self, q: Tensor, weights: Tensor | None = None) -> None:
        """Linear regression of b on the harmonics of a, and the covariance of what is left.

        Args:
            q: Coordinates of frames, shape (F, n); F must be far greater than the number of
                harmonics.
            weights: One weight per frame, shape (F,), or None.
        """
        q = q.to(torch.float64)
        w = torch.ones(len(q), dtype=torch.float64) if weights is None else weights.double()
        root = (w / w.sum()).sqrt().unsqueeze(-1)
        a, b = q.index_select(-1, self.angles), q.index_select(-1, self.moved)
        one = torch.ones(len(q), 1, dtype=torch.float64)
        features = torch.cat([harmonics(a), one], -1)
        slopes = torch.linalg.lstsq(root * features, root * b, driver="gelsd").solution
        rest = root * (b - features @ slopes)
        lower = torch.linalg.inv(torch.linalg.cholesky(rest.T @ rest))
        m = len(self.moved)
        bias = self.conditioner.last.bias
        self.linear.copy_(slopes[:-1])
        bias[:m] = slopes[-1].to(bias.dtype)
        log_diagonal = lower.diagonal().log().clamp(-BOUND + 0.1, BOUND - 0.1)
        bias[m : 2 * m] = (BOUND * torch.atanh(log_diagonal / BOUND)).to(bias.dtype)
        bias[2 * m :] = lower[self.below[0], self.below[1]].to(bias.dtype)

    def _gaussian(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """μ (..., m), ln of the diagonal of L, and L (..., m, m)."""
        features = harmonics(a)
        c = self.conditioner(features)[0]
        m = len(self.moved)
        log_diagonal = BOUND * torch.tanh(c[..., m : 2 * m] / BOUND)
        elements = torch.cat(
            [c[..., 2 * m :], log_diagonal.exp(), c.new_zeros(*c.shape[:-1], 1)], -1
        )
        lower = elements.index_select(-1, self.place).unflatten(-1, (m, m))
        return c[..., :m] + features @ self.linear, log_diagonal, lower

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        a, b = q.index_select(-1, self.angles), q.index_select(-1, self.moved)
        mean, log_diagonal, lower = self._gaussian(a)
        b = (lower @ (b - mean).unsqueeze(-1)).squeeze(-1)
        return torch.cat([a, b], -1).index_select(-1, self.merge), log_diagonal.sum(-1)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        a, b = q_new.index_select(-1, self.angles), q_new.index_select(-1, self.moved)
        mean, log_diagonal, lower = self._gaussian(a)
        b = torch.linalg.solve_triangular(lower, b.unsqueeze(-1), upper=False).squeeze(-1) + mean
        return torch.cat([a, b], -1).index_select(-1, self.merge), -log_diagonal.sum(-1)
