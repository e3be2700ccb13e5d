"""Paths between two conformations: geodesic in the latent space, straight in space.

In the scaled coordinates u_k = ω_k Q_k the model's density is a standard normal one, whose
probability sits near a sphere of radius √n. A straight line between two points cuts through
the unlikely inside; spherical interpolation stays near the shell (the paper, Fig. 6).
Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64

PARALLEL = 1e-12
"""Below this sine two directions span no plane."""


@dataclass(frozen=True)
class LatentPath:
    """P points between two structures.

    Attributes:
        latent: dimensionless u_k = ω_k Q_k, (P, n).
        positions: superposed on the model's reference, (P, N, 3) in nm.
        log_likelihood: ln ρ(q) in nats (q in ps), (P,).
    """

    latent: np.ndarray
    positions: np.ndarray
    log_likelihood: np.ndarray


def slerp(start: Tensor, end: Tensor, n_points: int) -> Tensor:
    """Spherical interpolation of direction, linear of length, (P, n), float64.

    The direction turns at constant speed along the great circle from `start` (n,) to `end`
    (n,), both of which are reproduced. Parallel vectors are joined by a straight line.
    Between opposite ones every great circle is as short; one is taken. A vector of length
    zero takes the direction of the other.

    Source: K. Shoemake, Comput. Graph. (SIGGRAPH) 19, 245 (1985).

    Example:
        >>> slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), 3).norm(dim=-1)
        tensor([1.0000, 1.5000, 2.0000], dtype=torch.float64)
    """
    u, v = start.to(torch.float64), end.to(torch.float64)
    share = torch.linspace(0.0, 1.0, n_points, dtype=torch.float64).unsqueeze(-1)
    u_length, v_length = u.norm(), v.norm()
    if u_length == 0.0 or v_length == 0.0:
        return (1.0 - share) * u + share * v
    first, last = u / u_length, v / v_length
    cosine = first @ last
    across = last - cosine * first
    sine = across.norm()
    angle = torch.atan2(sine, cosine)
    if sine < PARALLEL:
        if cosine > 0.0 or len(u) < 2:
            return (1.0 - share) * u + share * v
        across = torch.zeros_like(first)
        across[first.abs().argmin()] = 1.0
        across = across - (across @ first) * first
    across = across / across.norm()
    direction = (share * angle).cos() * first + (share * angle).sin() * across
    return ((1.0 - share) * u_length + share * v_length) * direction


def spherical_path(
    model: NeuralCanonicalTransformation,
    start_positions: np.ndarray,
    end_positions: np.ndarray,
    n_points: int,
    modes: Sequence[int] | None = None,
) -> LatentPath:
    """The path by `slerp` of the scaled latent coordinates.

    Args:
        start_positions, end_positions: whole structures, (N, 3) in nm.
        n_points: both ends included, at least 2.
        modes: those interpolated on their sphere, the others linearly; all where None.
            One mode alone has no sphere and is interpolated linearly.

    Raises:
        OptionError: fewer than two points, or a mode that does not exist.
        FrameError: an end that the model maps to infinity.
    """
    _require_points(n_points)
    chosen = list(range(model.dimension)) if modes is None else model.check_modes(modes)
    exact = in_float64(model)
    with torch.no_grad():
        start, end = (
            exact.collective_variables(torch.as_tensor(x)) for x in (start_positions, end_positions)
        )
        _require_finite(start, "start")
        _require_finite(end, "end")
        share = torch.linspace(0.0, 1.0, n_points, dtype=torch.float64).unsqueeze(-1)
        scaled = (1.0 - share) * start + share * end
        if len(chosen) > 1:
            scaled[:, chosen] = slerp(start[chosen], end[chosen], n_points)
        latent = scaled / exact.omega
        q, log_det = exact.flow.inverse(latent)
        return LatentPath(
            latent=scaled.numpy(),
            positions=exact.frame.positions(q).numpy(),
            log_likelihood=(exact.prior.log_prob_coordinates(latent) - log_det).numpy(),
        )


def cartesian_path(
    model: NeuralCanonicalTransformation,
    start_positions: np.ndarray,
    end_positions: np.ndarray,
    n_points: int,
) -> LatentPath:
    """The straight line in q, that is, between the superposed structures.

    Args and errors are those of `spherical_path`.
    """
    _require_points(n_points)
    exact = in_float64(model)
    with torch.no_grad():
        start, end = (
            exact.frame.coordinates(torch.as_tensor(x)) for x in (start_positions, end_positions)
        )
        share = torch.linspace(0.0, 1.0, n_points, dtype=torch.float64).unsqueeze(-1)
        q = (1.0 - share) * start + share * end
        latent, log_det = exact.flow(q)
        return LatentPath(
            latent=(latent * exact.omega).numpy(),
            positions=exact.frame.positions(q).numpy(),
            log_likelihood=(exact.prior.log_prob_coordinates(latent) + log_det).numpy(),
        )


def _require_points(n_points: int) -> None:
    if n_points < 2:
        raise OptionError(f"--points must be at least 2, the two ends; got {n_points}")


def _require_finite(latent: Tensor, end: str) -> None:
    if not bool(torch.isfinite(latent).all()):
        raise FrameError(
            f"the model maps the {end} structure to infinity, so it is far from all that the "
            "model was trained on: choose another, or train on data that hold it"
        )
