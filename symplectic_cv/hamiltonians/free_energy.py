"""The variational free energy of a model on samples of its latent density.

The free energy F = E[ln ρ(x) + βH(x)] is an upper bound on −ln Z. Training minimises it, and
`thermodynamics` reports it. Both use the samples and the terms of this module.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import functional_call

from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel

WIDE_SHARE = 0.25
"""The share of each batch that is drawn from the wider Gaussian."""


def free_energy_terms(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, p: Tensor, q: Tensor, heat: float = 1.0
) -> Tensor:
    """The terms ln ρ(x) + βH(x) of the free energy, in nats, shape (B,).

    The gradient by the weights of the model does not run through ln ρ, because its mean is zero.

    Args:
        model: The model, with density ρ.
        reduced: The Hamiltonian at its temperature.
        p: Scaled momenta of samples of the model, shape (B, n).
        q: Scaled coordinates of the samples, shape (B, n).
        heat: The factor on the potential.
    """
    frozen = {name: value.detach() for name, value in model.named_parameters()}
    log_density = functional_call(model, frozen, (p, q))
    return log_density + reduced.capped(reduced.energy(p, q, heat), heat)


def wide_scale(dimension: int) -> float:
    """The standard deviation of the wider Gaussian: 1.5 for two coordinates, less for more."""
    return math.sqrt(1.0 + 1.25 * math.sqrt(2.0 / max(2, dimension)))


def draw_latent(
    n_samples: int, dimension: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples of the latent density from a mixture with a wider Gaussian, and their weights.

    Args:
        n_samples: The number of samples.
        dimension: The number n of coordinates.
        generator: The source of the random numbers.

    Returns:
        Momenta P and scaled coordinates ωQ, shape (n_samples, n) each, float32; and the weights
        N(z) / mixture(z), shape (n_samples,), whose expectation is one.
    """
    wide = wide_scale(dimension)
    n_wide = round(WIDE_SHARE * n_samples)
    z = torch.randn(n_samples, 2 * dimension, generator=generator)
    z[:n_wide] *= wide
    square = (z * z).sum(-1)
    log_ratio = 0.5 * square * (1.0 - wide**-2) - 2 * dimension * math.log(wide)
    share = n_wide / n_samples
    weights = 1.0 / (1.0 - share + share * log_ratio.exp())
    return z[:, :dimension], z[:, dimension:], weights


def whitened_latent(n_samples: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """Samples of the latent density whose first two moments are exact.

    Args:
        n_samples: The number of samples, more than 2n.
        dimension: The number n of coordinates.
        seed: The seed of the samples.

    Returns:
        Momenta P and scaled coordinates ωQ, shape (n_samples, n) each, float64.

    Example:
        >>> p, q = whitened_latent(100, 1, seed=0)
        >>> round(float(p.mean()), 9) + 0.0, round(float((q * q).mean()), 9)
        (0.0, 1.0)
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n_samples, 2 * dimension, generator=generator, dtype=torch.float64)
    z = z - z.mean(0)
    root = torch.linalg.cholesky(z.T @ z / n_samples)
    z = torch.linalg.solve_triangular(root, z.T, upper=False).T
    return z[:, :dimension], z[:, dimension:]
