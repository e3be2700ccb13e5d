"""Hamiltonians at a temperature: scaled variables, heating, the cap of energies."""

import math

import pytest
import torch

from symplectic_cv.errors import OptionError
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.reduced import ENERGY_CAP, ReducedHamiltonian


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_scaled_variables_keep_the_density_and_the_volume(built_in, beta):
    reduced = ReducedHamiltonian(built_in, beta)
    generator = torch.Generator().manual_seed(1)
    p, q = torch.randn(2, 6, built_in.dimension, generator=generator, dtype=torch.float64)
    scaled = reduced.energy(p * math.sqrt(beta), q * math.sqrt(beta))
    torch.testing.assert_close(scaled, beta * built_in.energy(p, q))
    # ∫ exp(−βp²/2) dp = volume of the units × ∫ over scaled momenta
    gaussian = 0.5 * built_in.dimension * math.log(2.0 * math.pi)
    assert reduced.log_momentum_volume == pytest.approx(gaussian)


def test_a_model_of_one_temperature_can_be_asked_about_another():
    warm = ReducedHamiltonian(DoubleWell(), beta=0.5, units_beta=2.0)
    p, q = torch.full((1, 1), 0.3, dtype=torch.float64), torch.full((1, 1), 0.7).double()
    expected = 0.5 * DoubleWell().energy(p, q)
    torch.testing.assert_close(warm.energy(p * math.sqrt(2.0), q * math.sqrt(2.0)), expected)
    # ∫ dp exp(−½ · ½ p²) over x = √2 p
    assert warm.log_momentum_volume == pytest.approx(0.5 * math.log(2.0 * math.pi * 4.0))


def test_heat_acts_on_the_potential_alone():
    reduced = ReducedHamiltonian(DoubleWell())
    p, q = torch.tensor([[1.5]]), torch.tensor([[0.2]])
    change = reduced.energy(p, q, heat=10.0) - reduced.energy(p, q)
    torch.testing.assert_close(change, 9.0 * DoubleWell().potential(q))


def test_energies_over_the_cap_grow_as_their_logarithm():
    reduced = ReducedHamiltonian(DoubleWell(), floor=-3.0)
    below, top = -3.0 + ENERGY_CAP - 1.0, -3.0 + ENERGY_CAP
    energy = torch.tensor([below, top + math.e - 1.0, math.inf], dtype=torch.float64)
    capped = reduced.capped(energy)
    assert capped[:2].tolist() == pytest.approx([below, top + 1.0])
    assert torch.isfinite(capped[2])
    assert reduced.over_cap(energy).tolist() == [False, True, True]
    torch.testing.assert_close(ReducedHamiltonian(DoubleWell()).capped(energy), energy)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_positive(beta):
    with pytest.raises(OptionError, match="`beta`"):
        ReducedHamiltonian(DoubleWell(), beta)


def test_the_cap_is_continuous_with_its_slope():
    """At the cap both the energy and its derivative go over into those of the logarithm."""
    reduced = ReducedHamiltonian(DoubleWell(), floor=0.0)
    step = 1e-6
    energy = torch.tensor([-step, 0.0, step], dtype=torch.float64) + ENERGY_CAP
    capped = reduced.capped(energy)
    torch.testing.assert_close(capped[1], energy[1])
    slopes = torch.diff(capped) / step
    torch.testing.assert_close(slopes, torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0.0)
