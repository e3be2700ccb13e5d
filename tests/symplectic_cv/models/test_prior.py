"""The harmonic prior: its densities, their norm and their marginal."""

import math

import torch
from torch.distributions import Normal

from symplectic_cv.models.prior import HarmonicPrior

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
