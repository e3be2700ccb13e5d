"""The interface of the layers of a point transformation, and its linear layers.

A layer is a bijection q → q' of coordinates. Its lift to phase space keeps the
symplectic form: p' = p · ∂q/∂q' (the paper, equations (2) and (3)). Each layer knows its
own lift, so that momenta are pushed through layer by layer without an inverse pass.
"""

import torch
from torch import Tensor, nn


class PointLayer(nn.Module):
    """A bijection of coordinates (..., n) together with its lift to the momenta.

    A new kind of layer implements the methods below, of which `pull` may be left as it is;
    all of them treat the last dimension as the coordinates and take at least one batch
    dimension.
    """

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """q' and ln|det ∂q'/∂q| (one per frame)."""
        raise NotImplementedError

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        """q and ln|det ∂q/∂q'|."""
        raise NotImplementedError

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(p', q', ln|det ∂q'/∂q|) with p' = p · ∂q/∂q'."""
        raise NotImplementedError

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        """q' and the intermediate values that `pull_back` needs."""
        raise NotImplementedError

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        """p = p' · ∂q'/∂q with the tape of `record(q)`: the reverse pass, written by hand."""
        raise NotImplementedError

    def pull(self, p_new: Tensor, q_new: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) from (p', q'): undoes `push`."""
        q, _ = self.inverse(q_new)
        return self.pull_back(p_new, self.record(q)[1]), q


def _no_volume(q: Tensor) -> Tensor:
    return torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)


class NormalModes(PointLayer):
    """Quasi-harmonic normal modes: q' = (q − shift) V with orthogonal V.

    Args:
        rotation: V, (n, n); its columns are eigenvectors of the covariance of q.
        shift: The mean of q, shape (n,).
    """

    rotation: Tensor
    shift: Tensor

    def __init__(self, rotation: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("rotation", rotation)
        self.register_buffer("shift", shift)

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        return (q - self.shift) @ self.rotation, _no_volume(q)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        return q_new @ self.rotation.T + self.shift, _no_volume(q_new)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return p @ self.rotation, (q - self.shift) @ self.rotation, _no_volume(q)

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        return (q - self.shift) @ self.rotation, []

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        return p_new @ self.rotation.T


class ModeOrder(PointLayer):
    """Reorders the coordinates: q'_k = q_order[k]. Puts the slowest mode first."""

    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", torch.argsort(order))

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        return q.index_select(-1, self.order), _no_volume(q)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        return q_new.index_select(-1, self.inverse_order), _no_volume(q_new)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return p.index_select(-1, self.order), q.index_select(-1, self.order), _no_volume(q)

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        return q.index_select(-1, self.order), []

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        return p_new.index_select(-1, self.inverse_order)


class Rotation(PointLayer):
    """q' = q exp(A) with a learned skew-symmetric A: a rotation to normal modes.

    Its lift turns the momenta alike: the orthogonal special case of the linear symplectic
    layer (the paper, appendix A.1). Starts as the identity.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.generator = nn.Parameter(torch.zeros(n, n))

    def matrix(self) -> Tensor:
        """exp(A), orthogonal, (n, n)."""
        return torch.linalg.matrix_exp(self.generator - self.generator.t())

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        return q @ self.matrix(), _no_volume(q)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        return q_new @ self.matrix().t(), _no_volume(q_new)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        matrix = self.matrix()
        return p @ matrix, q @ matrix, _no_volume(q)

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        matrix = self.matrix()
        return q @ matrix, [matrix]

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        return p_new @ tape[0].t()

    def pull(self, p_new: Tensor, q_new: Tensor) -> tuple[Tensor, Tensor]:
        back = self.matrix().t()
        return p_new @ back, q_new @ back
