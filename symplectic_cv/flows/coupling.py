"""Coupling layers: one half of the coordinates is changed, conditioned on the other.

With kept coordinates a and moved ones b, b' = g(b; c(a)) and a' = a. The lift to the
momenta is p_b' = p_b / g' and p_a' = p_a − (∂b'/∂a)ᵀ p_b': one vector-Jacobian product
of the conditioner, no inverse pass.

Source of the affine form: L. Dinh, J. Sohl-Dickstein, S. Bengio, arXiv:1605.08803.
"""

import warnings

import torch
from torch import Tensor, nn

from symplectic_cv.flows.layers import PointLayer

SCALE_BOUND = 2.0
"""Largest |ln g'| of one affine coupling; it limits the extrapolation in a biased run."""


class Conditioner(nn.Module):
    """Network a → c of two hidden tanh layers, with its vector-Jacobian product.

    The last layer starts at zero, so that a coupling starts as the identity.
    """

    def __init__(self, n_in: int, n_out: int, hidden: int) -> None:
        super().__init__()
        with warnings.catch_warnings():  # a single coordinate is conditioned on none
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.first = nn.Linear(n_in, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, n_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The output c and the two hidden activations that `pull_back` needs."""
        h1 = torch.tanh(self.first(a))
        h2 = torch.tanh(self.second(h1))
        return self.last(h2), h1, h2

    def pull_back(self, cotangent: Tensor, h1: Tensor, h2: Tensor) -> Tensor:
        """(∂c/∂a)ᵀ · cotangent."""
        g2 = (cotangent @ self.last.weight) * (1.0 - h2 * h2)
        g1 = (g2 @ self.second.weight) * (1.0 - h1 * h1)
        return g1 @ self.first.weight


class CouplingLayer(PointLayer):
    """The base of all couplings, which holds the two halves.

    Args:
        kept, moved: The indices of the two halves, together 0 … n−1.
    """

    kept: Tensor
    moved: Tensor
    merge: Tensor

    def __init__(self, kept: Tensor, moved: Tensor) -> None:
        super().__init__()
        self.n_moved = int(moved.shape[0])
        self.register_buffer("kept", kept)
        self.register_buffer("moved", moved)
        self.register_buffer("merge", torch.argsort(torch.cat([kept, moved])))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, self.kept), x.index_select(-1, self.moved)

    def _merge(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], -1).index_select(-1, self.merge)


class AffineCoupling(CouplingLayer):
    """b' = b · exp(s(a)) + t(a), with |s| < SCALE_BOUND.

    Args:
        kept, moved: The indices of the two halves, together 0 … n−1.
        spread: The typical size of each coordinate, shape (n,); the network sees a / spread_a
            and its shift is in units of spread_b, so that all inputs and outputs are of order 1.
        hidden: The width of the conditioner.
    """

    spread_kept: Tensor
    spread_moved: Tensor

    def __init__(self, kept: Tensor, moved: Tensor, spread: Tensor, hidden: int) -> None:
        super().__init__(kept, moved)
        self.scale_bound = SCALE_BOUND
        self.register_buffer("spread_kept", spread[kept])
        self.register_buffer("spread_moved", spread[moved])
        self.conditioner = Conditioner(int(kept.shape[0]), 2 * self.n_moved, hidden)

    def _scale_and_shift(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c, h1, h2 = self.conditioner(a / self.spread_kept)
        s = self.scale_bound * torch.tanh(c[..., : self.n_moved] / self.scale_bound)
        return s, c[..., self.n_moved :] * self.spread_moved, h1, h2

    def _pull_shear(
        self, p_b: Tensor, b_scaled: Tensor, s: Tensor, h1: Tensor, h2: Tensor
    ) -> Tensor:
        """(∂b'/∂a)ᵀ p_b, given b·exp(s) and the activations."""
        d_scale = p_b * b_scaled * (1.0 - (s / self.scale_bound) ** 2)
        cotangent = torch.cat([d_scale, p_b * self.spread_moved], -1)
        return self.conditioner.pull_back(cotangent, h1, h2) / self.spread_kept

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._split(q)
        s, t, _, _ = self._scale_and_shift(a)
        return self._merge(a, b * s.exp() + t), s.sum(-1)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._split(q_new)
        s, t, _, _ = self._scale_and_shift(a)
        return self._merge(a, (b - t) * (-s).exp()), -s.sum(-1)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b = self._split(q)
        p_a, p_b = self._split(p)
        s, t, h1, h2 = self._scale_and_shift(a)
        grow = s.exp()
        b_scaled = b * grow
        p_b = p_b / grow
        p_a = p_a - self._pull_shear(p_b, b_scaled, s, h1, h2)
        return self._merge(p_a, p_b), self._merge(a, b_scaled + t), s.sum(-1)

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        a, b = self._split(q)
        s, t, h1, h2 = self._scale_and_shift(a)
        grow = s.exp()
        b_scaled = b * grow
        return self._merge(a, b_scaled + t), [b_scaled, grow, s, h1, h2]

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        p_a, p_b = self._split(p_new)
        b_scaled, grow, s, h1, h2 = tape[0], tape[1], tape[2], tape[3], tape[4]
        p_a = p_a + self._pull_shear(p_b, b_scaled, s, h1, h2)
        return self._merge(p_a, p_b * grow)

    def pull(self, p_new: Tensor, q_new: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._split(q_new)
        p_a, p_b = self._split(p_new)
        s, t, h1, h2 = self._scale_and_shift(a)
        b_scaled = b - t
        p_a = p_a + self._pull_shear(p_b, b_scaled, s, h1, h2)
        return self._merge(p_a, p_b * s.exp()), self._merge(a, b_scaled * (-s).exp())
