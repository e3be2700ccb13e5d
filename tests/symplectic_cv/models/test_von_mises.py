"""The law of a pendulum's angle: normalised, mapped to a normal number and back."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from symplectic_cv.models.von_mises import (
    angles_to_normal,
    concentration,
    log_von_mises,
    normal_to_angles,
)

KAPPAS = [1e-3, 0.5, 4.0, 60.0, 3000.0]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def density(theta, kappa):
    return float(log_von_mises(double(theta), double(kappa)).exp())


@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_density_is_normalised(kappa):
    width = min(math.pi, 12.0 / math.sqrt(kappa))
    total = quad(density, -width, width, args=(kappa,), epsabs=1e-12, limit=200)[0]
    assert total == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_probabilities_are_kept(kappa):
    """F(θ) = Φ(u), with F by quadrature."""
    for theta in (0.1, 1.0, 2.5):
        theta = min(theta, 2.0 / math.sqrt(kappa))
        u = float(angles_to_normal(double(theta), double(kappa)))
        below = 0.5 + quad(density, 0.0, theta, args=(kappa,), epsabs=1e-13)[0]
        assert norm.cdf(u) == pytest.approx(below, abs=1e-11)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_there_and_back(kappa):
    one = double(kappa)
    u = torch.linspace(-7.5, 7.5, 41).double().unsqueeze(-1)
    theta = normal_to_angles(u, one)
    assert bool((theta.abs() <= math.pi).all())
    assert bool((theta.diff(dim=0) > 0.0).all())
    inside = theta.abs() < math.pi - 1e-6  # beside the cut an angle has few digits left
    torch.testing.assert_close(angles_to_normal(theta, one)[inside], u[inside], rtol=0.0, atol=1e-8)
    torch.testing.assert_close(theta, -theta.flip(0))


def test_angles_far_out_in_the_tail_stay_finite():
    kappa = double(60.0, 1e4)
    theta = double([math.pi - 1e-9, 3.0], [-math.pi, -math.pi])
    u = angles_to_normal(theta, kappa)
    assert bool(torch.isfinite(u).all())
    torch.testing.assert_close(normal_to_angles(u, kappa), theta, rtol=0.0, atol=1e-6)


def test_slopes_are_those_of_the_map():
    kappa = double(0.7, 5.0, 900.0)
    theta = double([0.3, -1.2, 0.05]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: angles_to_normal(x, kappa), (theta,))
    u = double([0.4, -1.9, 2.2]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normal_to_angles(x, kappa), (u,))


def test_a_stiff_pendulum_is_an_oscillator_and_a_free_one_uniform():
    u = torch.linspace(-3.0, 3.0, 13).double().unsqueeze(-1)
    stiff = normal_to_angles(u, double(1e6))
    torch.testing.assert_close(1e3 * stiff, u, rtol=1e-5, atol=1e-5)
    free = normal_to_angles(u, double(1e-9))
    expected = torch.from_numpy(2.0 * math.pi * (norm.cdf(u.numpy()) - 0.5))
    torch.testing.assert_close(free, expected, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("kappa", [0.01, 1.0, 50.0])
def test_the_concentration_of_a_mean_cosine(kappa):
    width = math.pi if kappa < 10.0 else 2.0
    mean = quad(lambda t: math.cos(t) * density(t, kappa), -width, width, epsabs=1e-13)[0]
    found = concentration(double(mean))
    assert float(found) == pytest.approx(kappa, rel=1e-6)


def test_angles_about_nothing_have_the_least_concentration():
    assert float(concentration(double(-0.2))) < 2e-3
    assert np.isfinite(float(concentration(double(1.0))))
