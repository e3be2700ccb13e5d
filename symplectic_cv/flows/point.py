"""Point transformations: a chain of layers, lifted to phase space (the paper, III.A).

Q = F(q), P = p · ∂q/∂Q. The lift is a canonical transformation, M J Mᵀ = J, for any
layers; it keeps the phase-space volume.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from symplectic_cv.errors import FrameError
from symplectic_cv.flows.canonical import CanonicalTransformation
from symplectic_cv.flows.layers import NormalModes, PointLayer


class PointTransformation(CanonicalTransformation):
    """Composition of point layers, applied first to last.

    Example:
        >>> flow = PointTransformation([NormalModes(torch.eye(4), torch.zeros(4))])
        >>> p, q = torch.randn(2, 5, 4)
        >>> P, Q = flow.push(p, q)
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

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return self.push_with_volume(p, q)[:2]

    def push_with_volume(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(P, Q, ln|det ∂Q/∂q|) from momenta and coordinates (..., n)."""
        log_det = torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)
        for layer in self.layers:
            p, q, change = layer.push(p, q)  # type: ignore[operator]
            log_det = log_det + change
        return p, q, log_det

    def pull(self, p_latent: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        p, q = p_latent, latent
        for layer in reversed(self.layers):
            p, q = layer.pull(p, q)  # type: ignore[operator]
        return p, q


def quasi_harmonic_start(
    coordinates: Tensor, weights: Tensor | None = None
) -> tuple[NormalModes, Tensor]:
    """Normal modes of the covariance of q, slowest first, and their spreads.

    Args:
        coordinates: q of the training frames, shape (F, n), in ps, float64.
        weights: One weight per frame, shape (F,), or None.

    Returns:
        The orthogonal layer and the standard deviations (n,) in ps; ω_k = 1 / std_k.

    Raises:
        FrameError: A coordinate has no variance, or there are fewer frames than
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
            "constraints among the chosen atoms): leave constrained atoms out with `atoms`, "
            "or simulate with `flexible`"
        )
    order = torch.arange(n - 1, -1, -1)
    return NormalModes(vectors[:, order].contiguous(), shift), variance[order].sqrt()
