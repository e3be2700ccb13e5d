"""Autoregressive spline flows of another library, as a layer: zuko's neural spline flows.

Each coordinate goes through a monotone rational-quadratic spline that depends on all earlier
ones. The layer is stronger than a coupling and as quick in one direction; the other direction
takes one pass of the network per coordinate.

Source: C. Durkan et al., Neural Spline Flows, arXiv:1906.04032; the library: F. Rozet et al.,
zuko, doi:10.5281/zenodo.7625672.
"""

from __future__ import annotations

import torch
from torch import Tensor

from symplectic_cv.flows.parts import HARMONICS, AutogradLayer, harmonics


class AutoregressiveSpline(AutogradLayer):
    """b' = f(b; a) given angles a, f autoregressive in b; momenta by autograd.

    Args:
        angles, moved: The indices of a (rad) and of b, together 0 … n−1.
        transforms: The number of autoregressive transformations; each has the reverse order of the
            one before.
        hidden: The width of the two hidden layers of each network.
        bins: The number of bins of each spline.
    """

    angles: Tensor
    moved: Tensor
    merge: Tensor

    def __init__(
        self, angles: Tensor, moved: Tensor, transforms: int, hidden: int, bins: int
    ) -> None:
        super().__init__()
        from zuko.flows import NSF  # a slow import that quick commands do not need

        self.register_buffer("angles", angles)
        self.register_buffer("moved", moved)
        self.register_buffer("merge", torch.argsort(torch.cat([angles, moved])))
        self.transform = NSF(
            len(moved),
            2 * HARMONICS * len(angles),
            bins=bins,
            transforms=transforms,
            hidden_features=(hidden, hidden),
        ).transform

    def _bijection(self, a: Tensor):  # type: ignore[no-untyped-def]
        return self.transform(harmonics(a))

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        a, b = q.index_select(-1, self.angles), q.index_select(-1, self.moved)
        b, log_det = self._bijection(a).call_and_ladj(b)
        return torch.cat([a, b], -1).index_select(-1, self.merge), log_det

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        a, b = q_new.index_select(-1, self.angles), q_new.index_select(-1, self.moved)
        b, log_det = self._bijection(a).inv.call_and_ladj(b)
        return torch.cat([a, b], -1).index_select(-1, self.merge), log_det
