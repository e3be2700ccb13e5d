"""Coordinates and spline couplings of random weights, for tests of couplings."""

import torch

from symplectic_cv.flows.spline import (
    SplineCoupling,
)

HIDDEN = 12


HALF_WIDTH = torch.tensor([1.0, 0.5, 2.0, 0.3], dtype=torch.float64)


KEPT, MOVED = torch.tensor([2, 0]), torch.tensor([1, 3])


def spread(n):
    return torch.logspace(0.0, -1.5, n, dtype=torch.float64)


def coordinates(n, n_frames=4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_frames, n, generator=generator, dtype=torch.float64) * spread(n)


def spline_of(perturb, seed, size=0.3, circular=None):
    """A spline coupling with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = SplineCoupling(KEPT, MOVED, HALF_WIDTH, HIDDEN, circular=circular).double()
    perturb(layer, seed=seed, size=size)
    return layer.requires_grad_(False)


def moved_to(u, seed=4):
    """Coordinates whose moved half is u (F,) times its half-widths, the kept half the same."""
    generator = torch.Generator().manual_seed(seed)
    kept = 2.0 * torch.rand(4, generator=generator, dtype=torch.float64) - 1.0
    q = (kept * HALF_WIDTH).repeat(len(u), 1)
    q[:, MOVED] = u.unsqueeze(-1) * HALF_WIDTH[MOVED]
    return q
