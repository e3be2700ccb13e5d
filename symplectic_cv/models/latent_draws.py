"""Latent points of independent structures, with some modes held or with none."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from symplectic_cv.errors import SamplingError
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel

ROUNDS = 20
"""The number of latent points tried, as a multiple of the number of structures wanted."""


@torch.no_grad()
def draw_latent_structures(
    model: PhaseSpaceModel, n_samples: int, seed: int, fixed: Mapping[int, float] | None = None
) -> Tensor:
    """Standard normal latent numbers u of independent structures, shape (n_samples, n).

    The latent density is a product, so that with some modes held the others stay independent
    standard normal. Latent points that do not describe a structure (an angle over π, a torsion
    beyond its cut) are drawn again.

    Args:
        model: The model of a molecule, in float64.
        n_samples: The number of structures.
        seed: The seed of the random numbers.
        fixed: Modes and the dimensionless values at which they are held.

    Raises:
        SamplingError: Next to no latent point with these values is a structure.
    """
    fixed = fixed or {}
    generator = torch.Generator().manual_seed(seed)
    flow = model.flow
    assert isinstance(flow, PointTransformation)
    kept: list[Tensor] = []
    left = n_samples
    for _ in range(ROUNDS):
        u = torch.randn(n_samples, model.dimension, generator=generator, dtype=torch.float64)
        for mode, value in fixed.items():
            u[:, mode] = value
        real = torch.isfinite(flow.inverse(model.prior.from_normal(u))[1])
        kept.append(u[real][:left])
        left -= len(kept[-1])
        if left == 0:
            return torch.cat(kept)
    held = ", ".join(f"mode {mode} = {value:g}" for mode, value in fixed.items())
    told = f"only {n_samples - left} of {ROUNDS * n_samples} latent points"
    if fixed:
        raise SamplingError(f"`fix`: {told} with {held} are structures: take values nearer to 0")
    raise SamplingError(f"{told} are structures: train the model longer, or with more frames")
