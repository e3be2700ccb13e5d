"""Affine couplings and their conditioner."""

import pytest
import torch

from symplectic_cv.flows.build import mode_halves
from symplectic_cv.flows.coupling import SCALE_BOUND, AffineCoupling, Conditioner
from symplectic_cv.flows.spline import (
    SplineCoupling,
)

HIDDEN = 12

HALF_WIDTH = torch.tensor([1.0, 0.5, 2.0, 0.3], dtype=torch.float64)

KEPT, MOVED = torch.tensor([2, 0]), torch.tensor([1, 3])


def _spread(n):
    return torch.logspace(0.0, -1.5, n, dtype=torch.float64)


def _coordinates(n, n_frames=4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_frames, n, generator=generator, dtype=torch.float64) * _spread(n)


def _spline_of(perturb, seed, size=0.3, circular=None):
    """A spline coupling with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = SplineCoupling(KEPT, MOVED, HALF_WIDTH, HIDDEN, circular=circular).double()
    perturb(layer, seed=seed, size=size)
    return layer.requires_grad_(False)


@pytest.fixture
def interval(perturb):
    """A spline coupling on an interval."""
    return _spline_of(perturb, seed=1)


@pytest.fixture
def circle(perturb):
    """A spline coupling of four angles."""
    return _spline_of(perturb, seed=2, circular=torch.ones(4, dtype=torch.bool))


def _moved_to(u, seed=4):
    """Coordinates whose moved half is u (F,) times its half-widths, the kept half the same."""
    generator = torch.Generator().manual_seed(seed)
    kept = 2.0 * torch.rand(4, generator=generator, dtype=torch.float64) - 1.0
    q = (kept * HALF_WIDTH).repeat(len(u), 1)
    q[:, MOVED] = u.unsqueeze(-1) * HALF_WIDTH[MOVED]
    return q


def test_a_coupling_stays_bounded_far_from_its_data(perturb):
    layer = AffineCoupling(*mode_halves(6, 0), _spread(6), HIDDEN).double()
    perturb(layer, seed=3, size=5.0)
    q = _coordinates(6)
    _, log_det = layer(1e4 * q)
    assert log_det.abs().max() <= SCALE_BOUND * layer.n_moved + 1e-12
    assert torch.isfinite(layer(1e4 * q)[0]).all()


def test_the_conditioners_reverse_pass_is_autograds(perturb):
    network = Conditioner(3, 4, HIDDEN).double()
    perturb(network, seed=4, size=0.5)
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    c, h1, h2 = network(a)
    (expected,) = torch.autograd.grad((c * cotangent).sum(), a, retain_graph=True)
    found = network.pull_back(cotangent, h1, h2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_coupling_leaves_its_kept_half_alone(interval, circle):
    q = _moved_to(torch.linspace(-0.9, 0.9, 7, dtype=torch.float64))
    affine = AffineCoupling(KEPT, MOVED, HALF_WIDTH, HIDDEN).double()
    for layer in (affine, interval, circle):
        assert torch.equal(layer(q)[0][:, KEPT], q[:, KEPT])
