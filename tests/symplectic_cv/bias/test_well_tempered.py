"""Free energies and weights of a bias against numbers from a hand calculation."""

import math

import numpy as np
import pytest

from symplectic_cv.bias.well_tempered import bias_offset, free_energy

KT = 2.494338785445972
"""R · 300 K, kJ/mol."""


def test_the_free_energy_of_a_gaussian_bias():
    """V = 6 exp(−s²/2) with γ = 4: F = −4/3 V, so 8 kJ/mol from the centre to far away."""
    s = np.linspace(-6.0, 6.0, 121)
    surface = free_energy(6.0 * np.exp(-0.5 * s**2), 4.0)
    assert surface[60] == 0.0
    assert surface[0] == pytest.approx(8.0, abs=1e-6)
    assert surface[70] == pytest.approx(8.0 * (1.0 - math.exp(-0.5)), abs=1e-12)  # at s = 1
    assert surface.min() == 0.0


def test_a_large_bias_factor_gives_plain_metadynamics():
    bias = np.array([0.0, 1.0, 3.0])
    np.testing.assert_allclose(free_energy(bias, 1e12), [3.0, 2.0, 0.0], atol=1e-10)


@pytest.mark.parametrize("constant", [0.0, 3.7, 40.0])
@pytest.mark.parametrize("bias_factor", [1.5, 10.0, 1000.0])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 2)])
def test_the_offset_of_a_constant_bias_is_the_constant(constant, bias_factor, shape):
    """ln(e^{γv/(γ−1)}/e^{v/(γ−1)}) = v (γ − 1)/(γ − 1): the factor is exactly 1."""
    bias = np.full(shape, constant)
    assert bias_offset(bias, bias_factor, KT) == pytest.approx(constant, rel=1e-12, abs=1e-12)


def test_the_offset_of_two_points_by_hand():
    """V = (0, kT ln 2), γ = 2: c = kT ln[(1 + 2²)/(1 + 2)] = kT ln(5/3)."""
    bias = np.array([0.0, KT * math.log(2.0)])
    assert bias_offset(bias, 2.0, KT) == pytest.approx(KT * math.log(5.0 / 3.0), rel=1e-12)


def test_the_offset_of_a_gaussian_bias_by_quadrature():
    """The ratio of the two integrals, from a grid ten times finer than the run's."""
    gamma, height, width = 6.0, 9.0, 0.7

    def integral(factor):
        s, ds = np.linspace(-5.0, 5.0, 4001, retstep=True)
        return np.exp(factor * height * np.exp(-0.5 * (s / width) ** 2) / KT).sum() * ds

    expected = KT * math.log(integral(gamma / (gamma - 1.0)) / integral(1.0 / (gamma - 1.0)))
    s = np.linspace(-5.0, 5.0, 401)
    found = bias_offset(height * np.exp(-0.5 * (s / width) ** 2), gamma, KT)
    assert found == pytest.approx(expected, abs=1e-2)
    assert 0.5 < found < height


def test_the_offset_does_not_overflow():
    bias = np.array([0.0, 5000.0])
    found = bias_offset(bias, 10.0, KT)
    assert found == pytest.approx(5000.0, rel=1e-3)


def test_weights_of_a_converged_bias_undo_it():
    """With V = −(1 − 1/γ) F the biased density is e^{−F/γkT}; the weights e^{(V − c)/kT} bring
    back e^{−F/kT} and average to one over the biased density."""
    gamma = 8.0
    s = np.linspace(-3.0, 3.0, 601)
    surface = 12.0 * (s**2 - 1.0) ** 2 / 4.0 + 2.0 * s
    bias = -(1.0 - 1.0 / gamma) * surface
    biased = np.exp(-surface / (gamma * KT))
    biased /= biased.sum()
    weights = np.exp((bias - bias_offset(bias, gamma, KT)) / KT)
    unbiased = np.exp(-surface / KT)
    unbiased /= unbiased.sum()
    np.testing.assert_allclose(biased * weights, unbiased, rtol=1e-10)
    assert (biased * weights).sum() == pytest.approx(1.0, rel=1e-12)
