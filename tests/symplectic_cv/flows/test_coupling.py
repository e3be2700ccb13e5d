"""Affine couplings and their conditioner."""

import torch
from couplings import HALF_WIDTH, HIDDEN, KEPT, MOVED, coordinates, moved_to, spread

from symplectic_cv.flows.build import mode_halves
from symplectic_cv.flows.coupling import SCALE_BOUND, AffineCoupling, Conditioner


def test_a_coupling_stays_bounded_far_from_its_data(perturb):
    layer = AffineCoupling(*mode_halves(6, 0), spread(6), HIDDEN).double()
    perturb(layer, seed=3, size=5.0)
    q = coordinates(6)
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
    q = moved_to(torch.linspace(-0.9, 0.9, 7, dtype=torch.float64))
    affine = AffineCoupling(KEPT, MOVED, HALF_WIDTH, HIDDEN).double()
    for layer in (affine, interval, circle):
        assert torch.equal(layer(q)[0][:, KEPT], q[:, KEPT])
