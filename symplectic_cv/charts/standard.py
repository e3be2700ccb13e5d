"""Internal coordinates made comparable: angles on the circle, the rest whitened.

A torsion that turns all the way round stays an angle. One that leaves an arc free is cut
there and becomes a number like bonds and angles; these are centred, scaled, and rotated to
uncorrelated directions of unit variance, the softest first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.errors import FrameError
from symplectic_cv.flows.layers import PointLayer

FREE_ARC = 2.0 * math.pi / 3.0
"""A torsion that leaves an arc as wide as this free in the data is cut in its middle."""
LEAST_WIDTH = 1e-6
"""Smallest standard deviation (nm, rad) of a coordinate that is free to move."""
BINS = 360


def wrap(angle: Tensor) -> Tensor:
    """Angles wrapped onto [−π, π)."""
    return angle - 2.0 * math.pi * torch.floor(angle / (2.0 * math.pi) + 0.5)


def widest_gap(angles: np.ndarray) -> tuple[float, float]:
    """Width and middle (rad) of the widest arc that holds no angle.

    Example:
        >>> width, middle = widest_gap(np.array([-0.1, 0.0, 0.1]))
        >>> round(width, 3), round(abs(middle), 3)
        (6.083, 3.142)
    """
    ordered = np.sort(np.asarray(angles, dtype=np.float64))
    gaps = np.append(np.diff(ordered), ordered[0] + 2.0 * np.pi - ordered[-1])
    place = int(np.argmax(gaps))
    middle = ordered[place] + 0.5 * gaps[place]
    return float(gaps[place]), float((middle + np.pi) % (2.0 * np.pi) - np.pi)


def emptiest_angle(angles: np.ndarray) -> float:
    """The angle (rad) around which a histogram is emptiest."""
    counts, edges = np.histogram(angles, BINS, (-np.pi, np.pi))
    window = np.ones(BINS // 18)
    smooth = np.convolve(np.tile(counts, 3), window, "same")[BINS : 2 * BINS]
    place = int(np.argmin(smooth))
    return float(0.5 * (edges[place] + edges[place + 1]))


class StandardInternal(PointLayer):
    """ξ → z: the round torsions in rad about their centres, then the whitened rest.

    The inverse of a number beyond a cut has the log-determinant +∞, a density of zero, so that
    each structure is counted once.

    Args:
        circular: The indices of the coordinates that stay angles, shape (k,).
        line: The indices of the coordinates that are whitened, shape (n−k,).
        n_torsions: The number of torsions, which are the last coordinates.
        centre: The centre of every coordinate, shape (n,); an angle is cut opposite to it.
        whitening: W (n−k, n−k), z = (ξ − centre) W.
    """

    round: Tensor
    line: Tensor
    centre: Tensor
    whitening: Tensor
    colouring: Tensor
    is_torsion: Tensor
    log_volume: Tensor
    merge: Tensor

    def __init__(
        self, circular: Tensor, line: Tensor, n_torsions: int, centre: Tensor, whitening: Tensor
    ) -> None:
        super().__init__()
        n = len(centre)
        self.register_buffer("round", circular)  # its name in model files
        self.register_buffer("line", line)
        self.register_buffer("centre", centre)
        self.register_buffer("whitening", whitening)
        self.register_buffer("colouring", torch.linalg.inv(whitening))
        self.register_buffer("is_torsion", torch.arange(n) >= n - n_torsions)
        self.register_buffer("log_volume", torch.linalg.slogdet(whitening)[1])
        self.register_buffer("merge", torch.argsort(torch.cat([circular, line])))

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Follows a device but never a dtype: bonds in float32 would lose their digits."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        d = q.to(torch.float64) - self.centre
        d = torch.where(self.is_torsion, wrap(d), d)
        line = d.index_select(-1, self.line) @ self.whitening
        z = torch.cat([d.index_select(-1, self.round), line], -1)
        return z.to(q.dtype), self.log_volume.to(q.dtype).expand(q.shape[:-1])

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        z = q_new.to(torch.float64)
        k = len(self.round)
        d = torch.cat([z[..., :k], z[..., k:] @ self.colouring], -1)
        d = d.index_select(-1, self.merge)
        beyond = (self.is_torsion & (d.abs() > math.pi)).any(-1)
        xi = torch.where(self.is_torsion, wrap(d + self.centre), d + self.centre)
        log_det = torch.where(beyond, math.inf, -self.log_volume)
        return xi.to(q_new.dtype), log_det.to(q_new.dtype)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, log_det = self.forward(q)
        wide = p.to(torch.float64)
        line = wide.index_select(-1, self.line) @ self.colouring.T
        p_new = torch.cat([wide.index_select(-1, self.round), line], -1)
        return p_new.to(p.dtype), z, log_det

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.forward(q)[0], []

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        wide = p_new.to(torch.float64)
        k = len(self.round)
        p = torch.cat([wide[..., :k], wide[..., k:] @ self.whitening.T], -1)
        return p.index_select(-1, self.merge).to(p_new.dtype)


def standardise(
    xi: Tensor, n_atoms: int, weights: Tensor | None = None, angles: Sequence[int] = ()
) -> StandardInternal:
    """The layer that fits a set of internal coordinates ξ (F, 3N−6).

    Args:
        n_atoms: N.
        weights: One weight per frame, shape (F,), or None.
        angles: The indices of torsions that stay angles even where they leave an arc free; they
            are counted from their mean direction.

    Raises:
        FrameError: A bond, angle or torsion does not move (constraints, repeated frames).
    """
    n = xi.shape[1]
    n_torsions = n_atoms - 3
    w = torch.ones(len(xi), dtype=torch.float64) if weights is None else weights.double()
    w = (w / w.sum()).unsqueeze(-1)
    centre = (w * xi).sum(0)
    is_round = torch.zeros(n, dtype=torch.bool)
    for k in range(n - n_torsions, n):
        values = xi[:, k].numpy()
        width, middle = widest_gap(values)
        is_round[k] = width < FREE_ARC
        cut = emptiest_angle(values) if is_round[k] else middle
        opposite = wrap(torch.tensor(cut + math.pi, dtype=torch.float64))
        centre[k] = opposite
        if k in angles:  # the mean direction of a latent pendulum
            is_round[k] = True
            centre[k] = torch.angle((w[:, 0] * torch.exp(1j * xi[:, k])).sum())
        elif not is_round[k]:  # the mean of what is no longer cut
            centre[k] = wrap(opposite + (w[:, 0] * wrap(xi[:, k] - opposite)).sum())
    d = xi - centre
    d[:, n - n_torsions :] = wrap(d[:, n - n_torsions :])
    require_moving(d, w, n_atoms)
    circular, line = torch.nonzero(is_round)[:, 0], torch.nonzero(~is_round)[:, 0]
    part = d[:, line]
    part = part - (w * part).sum(0)
    spread = (w * part * part).sum(0).sqrt()
    scaled = part / spread
    variance, vectors = torch.linalg.eigh(scaled.T @ (w * scaled))
    if variance[0] < 1e-8:
        raise FrameError(
            f"{len(xi)} frames cannot determine {n} internal coordinates: give more frames"
        )
    order = torch.arange(len(line) - 1, -1, -1)
    whitening = (vectors / variance.sqrt())[:, order] / spread.unsqueeze(-1)
    return StandardInternal(circular, line, n_torsions, centre, whitening)


def require_moving(deviation: Tensor, weights: Tensor, n_atoms: int) -> None:
    """Raises FrameError where a bond, angle or torsion does not move.

    Args:
        deviation: Internal coordinates less their centre, shape (F, 3N−6).
        weights: One weight per frame, of sum 1, shape (F, 1).
        n_atoms: N.
    """
    mean = (weights * deviation).sum(0)
    spread = (weights * (deviation - mean) ** 2).sum(0).sqrt()
    still = torch.nonzero(spread < LEAST_WIDTH)[:, 0]
    if len(still):
        k = int(still[0])
        kind = "bond" if k < n_atoms - 1 else "angle" if k < 2 * n_atoms - 3 else "torsion"
        raise FrameError(
            f"{len(still)} internal coordinates do not move (the first is a {kind}): constraints "
            "among the chosen atoms, or repeated frames; simulate with `flexible`"
        )


def along_normal_modes(standard: StandardInternal, momenta: Tensor) -> StandardInternal:
    """The same layer with its whitened coordinates turned to uncorrelated momenta, slowest first.

    Whitened coordinates may be turned at will. In the axes of their momenta's covariance they are
    the normal modes of bonds and angles.

    Args:
        standard: The layer.
        momenta: The covariance of the momenta of z, shape (n, n).

    Source: E. B. Wilson, J. C. Decius and P. C. Cross, Molecular Vibrations (1955), the GF method.
    """
    k = len(standard.round)
    axes = torch.linalg.eigh(momenta[k:, k:])[1].flip(-1)
    return StandardInternal(
        standard.round,
        standard.line,
        int(standard.is_torsion.sum()),
        standard.centre,
        standard.whitening @ axes,
    )
