"""Paths between two conformations: geodesic in the latent space, straight in space.

In the scaled coordinates u_k = ω_k Q_k the model's density is a standard normal one, whose
probability sits near a sphere of radius √n. A straight line between two points cuts through
the unlikely inside; spherical interpolation stays near the shell (the paper, Fig. 6).
Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.checks import check_whole
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.paths.circles import with_short_arcs
from symplectic_cv.paths.latent_path import LatentPath, latent_structures

PARALLEL = 1e-12
"""Two directions whose angle has a sine below this span no plane."""


def slerp(start: Tensor, end: Tensor, n_points: int) -> Tensor:
    """Points between two vectors: the direction is interpolated spherically, the length linearly.

    The direction turns at constant speed along the great circle. Parallel vectors are joined by a
    straight line. Between opposite vectors every great circle is as short, and one is taken. A
    vector of length zero takes the direction of the other.

    Args:
        start: The first vector, shape (n,).
        end: The last vector, shape (n,).
        n_points: The number of points, both ends included.

    Returns:
        The points, shape (n_points, n), in float64; the ends are reproduced.

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
    """The path between two structures by spherical interpolation of the scaled latent coordinates.

    The torsions of a model of the torsion chart move the shorter way round their circles, which is
    spherical interpolation on a torus.

    Args:
        model: The model.
        start_positions: The whole structure at the start, shape (n_atoms, 3), in nm.
        end_positions: The whole structure at the end, shape (n_atoms, 3), in nm.
        n_points: The number of points, both ends included, at least 2.
        modes: The modes that are interpolated on their sphere, while the others are interpolated
            linearly; all where None. One mode alone has no sphere and is interpolated linearly.

    Raises:
        OptionError: Fewer than two points, or a mode that does not exist.
        FrameError: The model maps an end to infinity.
    """
    check_whole(n_points, "points", least=2)
    if modes is not None:
        require_latent_modes(model, "modes")
    chosen = list(range(model.dimension)) if modes is None else model.check_modes(modes)
    start, end = (
        latent_point(model, positions, name)
        for positions, name in ((start_positions, "start"), (end_positions, "end"))
    )
    scaled = _straight(start, end, n_points)
    if len(chosen) > 1:
        scaled[:, chosen] = slerp(start[chosen], end[chosen], n_points)
    return latent_structures(model, with_short_arcs(in_float64(model), start, end, scaled))


def straight_latent_path(
    model: NeuralCanonicalTransformation, start: np.ndarray, end: np.ndarray, n_points: int
) -> LatentPath:
    """The straight line between two latent points, which leads through the unlikely inside.

    Args:
        model: The model.
        start: Scaled latent coordinates of the start, shape (n,).
        end: Scaled latent coordinates of the end, shape (n,).
        n_points: The number of points, both ends included, at least 2.

    Raises:
        OptionError: Fewer than two points.
    """
    check_whole(n_points, "points", least=2)
    first, last = (torch.as_tensor(x, dtype=torch.float64) for x in (start, end))
    scaled = _straight(first, last, n_points)
    return latent_structures(model, with_short_arcs(in_float64(model), first, last, scaled))


def cartesian_path(
    model: NeuralCanonicalTransformation,
    start_positions: np.ndarray,
    end_positions: np.ndarray,
    n_points: int,
) -> LatentPath:
    """The straight line in q, that is, between the superposed structures.

    Args:
        model: The model.
        start_positions: The whole structure at the start, shape (n_atoms, 3), in nm.
        end_positions: The whole structure at the end, shape (n_atoms, 3), in nm.
        n_points: The number of points, both ends included, at least 2.

    Raises:
        OptionError: Fewer than two points.
    """
    check_whole(n_points, "points", least=2)
    exact = in_float64(model)
    with torch.no_grad():
        start, end = (
            exact.frame.coordinates(torch.as_tensor(x)) for x in (start_positions, end_positions)
        )
        q = _straight(start, end, n_points)
        latent, log_det = exact.flow(q)
        return LatentPath(
            latent=exact.prior.to_normal(latent).numpy(),
            positions=exact.frame.positions(q).numpy(),
            log_likelihood=(exact.prior.log_prob_coordinates(latent) + log_det).numpy(),
            molecule=model.molecule,
        )


def latent_point(model: NeuralCanonicalTransformation, positions: np.ndarray, name: str) -> Tensor:
    """The scaled latent coordinates of a structure, shape (n,), in float64.

    Args:
        model: The model.
        positions: The whole structure, shape (n_atoms, 3), in nm.
        name: The structure's name for the message, such as "start".

    Raises:
        FrameError: The model maps the structure to infinity.
    """
    with torch.no_grad():
        exact = in_float64(model)
        latent = exact.encode(torch.as_tensor(positions, dtype=torch.float64))
        latent = exact.prior.to_normal(latent)
    if not bool(torch.isfinite(latent).all()):
        raise FrameError(
            f"the model maps the {name} structure to infinity, so it is far from all that the "
            "model was trained on: choose another, or train on data that hold it"
        )
    return latent


def require_latent_modes(model: NeuralCanonicalTransformation, name: str) -> None:
    """Raises OptionError for a model whose modes are no latent coordinates.

    Args:
        model: The model.
        name: The parameter that names a mode, for the message.
    """
    if model.options.chart is Chart.TORSION:
        raise OptionError(
            f"`{name}`: the modes of torsions are functions of all torsions at once, which no "
            "latent coordinate follows: take a path between two structures, or structures at a "
            "value of a mode (`conditional_structures`)"
        )


def _straight(start: Tensor, end: Tensor, n_points: int) -> Tensor:
    """Linear interpolation, shape (P, n)."""
    share = torch.linspace(0.0, 1.0, n_points, dtype=torch.float64).unsqueeze(-1)
    return (1.0 - share) * start + share * end
