"""Latent coordinates of which some are angles: shortest ways round, and strings across a cut.

The scaled latent coordinates u of a pendulum jump where its circle is cut. Here the pendulums of a
model are angles instead, so that a way may lead across the cut. Without pendulums all is as it is.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.standard import wrap
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.prior import PendulumPrior


def with_short_arcs(
    model: NeuralCanonicalTransformation, start: Tensor, end: Tensor, scaled: Tensor
) -> Tensor:
    """A way between two points with every pendulum moved at constant speed the shorter way round.

    On a circle this is spherical interpolation; a torus is a product of circles.

    Args:
        model: The model, in float64.
        start: Scaled latent coordinates of the start, shape (n,).
        end: Scaled latent coordinates of the end, shape (n,).
        scaled: Scaled latent coordinates of the points, shape (P, n); those of oscillators stay.

    Returns:
        Scaled latent coordinates, shape (P, n).
    """
    prior = model.prior
    if not isinstance(prior, PendulumPrior):
        return scaled
    first, last = prior.from_normal(torch.stack([start, end]))[:, prior.pendulums]
    share = torch.linspace(0.0, 1.0, len(scaled), dtype=torch.float64).unsqueeze(-1)
    angles = wrap(first + share * wrap(last - first))
    latent = prior.from_normal(scaled).index_copy(-1, prior.pendulums, angles)
    arcs = prior.to_normal(latent)
    arcs[0], arcs[-1] = start, end
    return scaled.index_copy(-1, prior.pendulums, arcs[:, prior.pendulums])


def unwound(model: NeuralCanonicalTransformation, scaled: Tensor) -> Tensor:
    """Points (P, n) of a way with pendulums as continuous numbers √κ θ in place of u.

    Args:
        model: The model, in float64.
        scaled: Scaled latent coordinates u of the points, shape (P, n).
    """
    prior = model.prior
    if not isinstance(prior, PendulumPrior):
        return scaled
    angles = prior.from_normal(scaled)[:, prior.pendulums].numpy()
    straight = torch.from_numpy(np.unwrap(angles, axis=0)) * _units(prior)
    return scaled.index_copy(-1, prior.pendulums, straight)


def latent_of_unwound(model: NeuralCanonicalTransformation, points: Tensor) -> Tensor:
    """Latent coordinates Q (P, n) of the points that `unwound` gives; differentiable."""
    prior = model.prior
    if not isinstance(prior, PendulumPrior):
        return prior.from_normal(points)
    angles = wrap(points[:, prior.pendulums] / _units(prior))
    harmonic = points / prior.omega
    return harmonic.index_copy(-1, prior.pendulums, angles)


def _units(prior: PendulumPrior) -> Tensor:
    """Unwound numbers per rad; a pendulum that is free has still the length of its circle."""
    return prior.kappa.clamp(min=1.0 / math.pi).sqrt()
