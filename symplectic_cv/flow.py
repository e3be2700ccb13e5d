"""Point transformations: a chain of layers, lifted to phase space (the paper, III.A).

Q = F(q), P = p · ∂q/∂Q. The lift is a canonical transformation, M J Mᵀ = J, whatever
the layers are; it keeps the phase-space volume.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from symplectic_cv.coupling import AffineCoupling
from symplectic_cv.errors import FrameError
from symplectic_cv.layers import ModeOrder, NormalModes, PointLayer


class PointTransformation(nn.Module):
    """Composition of point layers, applied first to last.

    Example:
        >>> flow = PointTransformation([NormalModes(torch.eye(4), torch.zeros(4))])
        >>> p, q = torch.randn(2, 5, 4)
        >>> P, Q, log_det = flow.push(p, q)
        >>> torch.equal(Q, q)
        True
    """

    def __init__(self, layers: Iterable[PointLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Q (..., n) and ln|det ∂Q/∂q| (...)."""
        log_det = torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)
        for layer in self.layers:
            q, change = layer(q)
            log_det = log_det + change
        return q, log_det

    def inverse(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """q (..., n) and ln|det ∂q/∂Q| (...)."""
        log_det = torch.zeros(latent.shape[:-1], dtype=latent.dtype, device=latent.device)
        for layer in reversed(self.layers):
            latent, change = layer.inverse(latent)  # type: ignore[operator]
            log_det = log_det + change
        return latent, log_det

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(P, Q, ln|det ∂Q/∂q|) from momenta and coordinates (..., n)."""
        log_det = torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)
        for layer in self.layers:
            p, q, change = layer.push(p, q)  # type: ignore[operator]
            log_det = log_det + change
        return p, q, log_det

    def pull(self, p_latent: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) from latent momenta and coordinates: the exact inverse of `push`."""
        q = latent
        p = p_latent
        for layer in reversed(self.layers):
            q, _ = layer.inverse(q)  # type: ignore[operator]
            p = layer.pull_back(p, layer.record(q)[1])  # type: ignore[operator]
        return p, q


def quasi_harmonic_start(
    coordinates: Tensor, weights: Tensor | None = None
) -> tuple[NormalModes, Tensor]:
    """Normal modes of the covariance of q, slowest first, and their spreads.

    Args:
        coordinates: q of the training frames, (F, n) in ps, float64.
        weights: one per frame, (F,), or None.

    Returns:
        The orthogonal layer and the standard deviations (n,) in ps; ω_k = 1 / std_k.

    Raises:
        FrameError: where a coordinate has no variance or there are fewer frames than
            dimensions, so that the likelihood would be unbounded.
    """
    q = coordinates.to(torch.float64)
    n_frames, n = q.shape
    w = torch.ones(n_frames, dtype=torch.float64) if weights is None else weights.to(torch.float64)
    w = (w / w.sum()).unsqueeze(-1)
    shift = (w * q).sum(0)
    centered = q - shift
    covariance = centered.T @ (w * centered)
    variance, vectors = torch.linalg.eigh(covariance)
    if variance[-1] <= 1e-14:
        raise FrameError(
            f"all {n_frames} training frames are the same structure (no coordinate varies): "
            "give a trajectory that moves"
        )
    if n_frames <= n:
        raise FrameError(
            f"{n_frames} training frames cannot determine {n} internal coordinates: "
            f"give at least {n + 1}, better {200 * n} or more"
        )
    flat = int((variance < 1e-10 * variance[-1]).sum())
    if flat:
        raise FrameError(
            f"{flat} of {n} internal coordinates have zero variance (repeated frames, or "
            "constraints among the chosen atoms): leave constrained atoms out with --atoms, "
            "or simulate with --flexible"
        )
    order = torch.arange(n - 1, -1, -1)
    return NormalModes(vectors[:, order].contiguous(), shift), variance[order].sqrt()


def mode_halves(n: int, coupling: int) -> tuple[Tensor, Tensor]:
    """Kept and moved modes of a coupling, out of n ordered from slow to fast.

    Two ways to halve the modes take turns, two couplings each: 0 1 4 5 8 9 … against
    2 3 6 7 …, then 0 3 4 7 8 … against 1 2 5 6 …. The half with the slowest mode is the
    first to condition.

    A slow torsion moves on a ring, which the normal modes show as two: the torsion and its
    curvature. The first way keeps the two slowest modes together and bends the next two,
    their curvature; the second also lets the two slowest bend one another. With 0 2 4 …
    against 1 3 5 … alone the ring was torn into two modes (alanine dipeptide's ψ).
    """
    index = torch.arange(n)
    way = coupling // 2 % 2
    first = (index + way) // 2 % 2 == 0
    halves = index[first], index[~first]
    return halves if coupling % 2 == 0 else (halves[1], halves[0])


def coupling_flow(
    start: NormalModes, spread: Tensor, n_couplings: int, hidden: int
) -> PointTransformation:
    """The default transformation: normal modes, affine couplings, an order of the modes."""
    n = spread.shape[0]
    couplings = [
        AffineCoupling(*mode_halves(n, place), spread, hidden) for place in range(n_couplings)
    ]
    return PointTransformation([start, *couplings, ModeOrder(torch.arange(n))])
