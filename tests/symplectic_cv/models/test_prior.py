"""The harmonic prior: its densities, their norm and their marginal."""

import math

import pytest
import torch
from torch.distributions import Normal

from symplectic_cv.models.prior import HarmonicPrior, PendulumPrior

OMEGA = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64)


def _phase_space(n_frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, n_frames, 3, generator=generator, dtype=torch.float64)
    return p, q / OMEGA


def test_log_prob_is_that_of_independent_gaussians():
    p, q = _phase_space(20)
    prior = HarmonicPrior(OMEGA)
    momenta = Normal(0.0, 1.0).log_prob(p).sum(-1)
    coordinates = Normal(torch.zeros(3, dtype=torch.float64), 1.0 / OMEGA).log_prob(q).sum(-1)
    torch.testing.assert_close(prior.log_prob_coordinates(q), coordinates, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prior.log_prob(p, q), momenta + coordinates, rtol=1e-12, atol=1e-12)


def test_the_density_is_normalised_and_its_marginal_is_the_coordinates_one():
    omega = 3.0
    prior = HarmonicPrior(torch.tensor([omega], dtype=torch.float64)).requires_grad_(False)
    p = torch.linspace(-9.0, 9.0, 401, dtype=torch.float64)
    q = p / omega
    grid_p, grid_q = torch.meshgrid(p, q, indexing="ij")
    density = prior.log_prob(grid_p.unsqueeze(-1), grid_q.unsqueeze(-1)).exp()
    marginal = torch.trapezoid(density, p, dim=0)
    torch.testing.assert_close(
        marginal, prior.log_prob_coordinates(q.unsqueeze(-1)).exp(), rtol=1e-10, atol=1e-14
    )
    assert abs(float(torch.trapezoid(marginal, q)) - 1.0) < 1e-12


def test_samples_have_the_variance_of_the_prior():
    n_samples = 20_000
    prior = HarmonicPrior(OMEGA)
    q = prior.sample_coordinates(n_samples, torch.Generator().manual_seed(3))
    assert q.dtype == torch.float64
    scaled = q * OMEGA
    # standard errors: 1/√F of a mean, √(2/F) of a mean square
    assert scaled.mean(0).abs().max() < 4.0 / math.sqrt(n_samples)
    assert ((scaled**2).mean(0) - 1.0).abs().max() < 4.0 * math.sqrt(2.0 / n_samples)


def test_the_best_frequency_is_the_inverse_of_the_spread():
    p, q = _phase_space(50)
    best = (q**2).mean(0).rsqrt()
    prior = HarmonicPrior(best)
    (-prior.log_prob(p, q).mean()).backward()
    torch.testing.assert_close(
        prior.log_omega.grad, torch.zeros(3, dtype=torch.float64), rtol=0.0, atol=1e-12
    )
    torch.testing.assert_close(prior.omega.detach(), best, rtol=1e-14, atol=0.0)


KAPPA = torch.tensor([2.0, 30.0], dtype=torch.float64)


def pendulums():
    """A pendulum, an oscillator and a stiff pendulum."""
    return PendulumPrior(OMEGA, torch.tensor([0, 2]), KAPPA).requires_grad_(False)


def test_a_pendulum_is_normalised_in_phase_space():
    """K = P²/2I + κ(1 − cos θ) with I = κ/ω²: its density over θ and P, by quadrature."""
    one = PendulumPrior(OMEGA[:1], torch.tensor([0]), KAPPA[:1]).requires_grad_(False)
    inertia = float(KAPPA[0] / OMEGA[0] ** 2)
    assert float(one.inertia) == pytest.approx(inertia, rel=1e-12)
    theta = torch.linspace(-math.pi, math.pi, 401, dtype=torch.float64)
    p = math.sqrt(inertia) * torch.linspace(-9.0, 9.0, 401, dtype=torch.float64)
    grid_p, grid_q = torch.meshgrid(p, theta, indexing="ij")
    log_density = one.log_prob(grid_p.unsqueeze(-1), grid_q.unsqueeze(-1))
    energy = grid_p**2 / (2.0 * inertia) + KAPPA[0] * (1.0 - grid_q.cos())
    constant = log_density + energy
    torch.testing.assert_close(constant, constant[:1, :1].expand_as(constant))
    marginal = torch.trapezoid(log_density.exp(), p, dim=0)
    torch.testing.assert_close(
        marginal, one.log_prob_coordinates(theta.unsqueeze(-1)).exp(), rtol=1e-10, atol=1e-14
    )
    assert abs(float(torch.trapezoid(marginal, theta)) - 1.0) < 1e-12


def test_a_mixed_prior_is_the_product_of_its_parts():
    p, q = _phase_space(20)
    oscillator = HarmonicPrior(OMEGA[1:2])
    expected = oscillator.log_prob(p[:, 1:2], q[:, 1:2])
    for place, mode in enumerate((0, 2)):
        one = PendulumPrior(OMEGA[mode, None], torch.tensor([0]), KAPPA[place, None])
        expected = expected + one.log_prob(p[:, mode, None], q[:, mode, None])
    torch.testing.assert_close(pendulums().log_prob(p, q), expected)


def test_normal_numbers_of_pendulums_keep_probabilities():
    """ρ(Q) |∂Q/∂u| = N(u), with autograd's derivative."""
    u = torch.randn(20, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    prior = pendulums()
    torch.testing.assert_close(prior.to_normal(prior.from_normal(u)), u, rtol=0.0, atol=1e-10)
    for row in u:
        slopes = torch.autograd.functional.jacobian(lambda x: prior.from_normal(x[None])[0], row)
        value = prior.log_prob_coordinates(prior.from_normal(row[None]))[0]
        normal = Normal(0.0, 1.0).log_prob(row).sum()
        torch.testing.assert_close(value + torch.linalg.slogdet(slopes)[1], normal)


def test_samples_of_pendulums_have_their_mean_cosine():
    n_samples = 20_000
    theta = pendulums().sample_coordinates(n_samples, torch.Generator().manual_seed(3))[:, [0, 2]]
    expected = torch.special.i1e(KAPPA) / torch.special.i0e(KAPPA)
    error = theta.cos().std(0) / math.sqrt(n_samples)
    assert ((theta.cos().mean(0) - expected).abs() < 4.0 * error).all()
    assert (theta.sin().mean(0).abs() < 4.0 * theta.sin().std(0) / math.sqrt(n_samples)).all()


def test_a_stiff_pendulum_is_an_oscillator_in_phase_space():
    kappa, omega = torch.tensor([1e8], dtype=torch.float64), OMEGA[:1]
    stiff = PendulumPrior(omega, torch.tensor([0]), kappa)
    unit = float(stiff.inertia.sqrt())  # Q = √I θ and P/√I are those of an oscillator
    p, q = _phase_space(20)
    p, q = p[:, :1], q[:, :1]
    torch.testing.assert_close(
        stiff.log_prob(unit * p, q / unit), HarmonicPrior(omega).log_prob(p, q), rtol=0.0, atol=1e-6
    )


def test_a_new_order_keeps_the_density():
    order = torch.tensor([2, 0, 1])
    p, q = _phase_space(20)
    prior = pendulums()
    before = prior.log_prob(p, q)
    prior.reorder(order)
    assert prior.pendulums.tolist() == [0, 1]
    torch.testing.assert_close(prior.kappa, KAPPA.flip(0))
    torch.testing.assert_close(prior.log_prob(p[:, order], q[:, order]), before)
