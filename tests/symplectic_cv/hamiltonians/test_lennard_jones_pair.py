"""The Lennard-Jones pair against a Monte Carlo sum, and its minimum."""

import math

import numpy as np
import pytest
import torch

from symplectic_cv.hamiltonians.lennard_jones_pair import LennardJonesPair


@pytest.mark.parametrize("beta", [0.7, 1.0])
def test_the_pair_is_free_in_angle_and_centre(beta):
    """Z of four coordinates by a Monte Carlo sum over all four, within its own error."""
    pair = LennardJonesPair()
    rng = np.random.default_rng(3)
    n, width = 400_000, 1.0 / math.sqrt(beta * pair.trap)
    centre = width / math.sqrt(2.0) * rng.normal(size=(n, 2))
    r = rng.uniform(0.0, 14.0, n)
    angle = rng.uniform(0.0, 2.0 * math.pi, n)
    apart = np.stack([r * np.cos(angle), r * np.sin(angle)], 1)
    q = torch.as_tensor(np.concatenate([centre - apart / 2, centre + apart / 2], 1))
    density = np.exp(-((centre / width) ** 2).sum(1)) / (math.pi * width**2)
    density /= 14.0 * 2.0 * math.pi * r
    weights = np.exp(-beta * pair.potential(q).numpy()) / density
    z, error = weights.mean(), weights.std() / math.sqrt(n)
    exact = math.exp(-pair.exact_free_energy(beta)) / (2.0 * math.pi / beta) ** 2
    assert error < 0.02 * z
    assert abs(z - exact) < 4.0 * error


def test_its_guess_is_the_minimum_of_the_attraction():
    """Without the trap the force between the two vanishes there, at the energy −depth."""
    pair = LennardJonesPair()
    distance = float(2.0 * pair.guess()[2])
    r2 = torch.tensor(distance**2, dtype=torch.float64, requires_grad=True)
    energy = pair._pair(r2)
    (slope,) = torch.autograd.grad(energy, r2)
    assert float(energy.detach()) == pytest.approx(-pair.depth)
    assert abs(float(slope)) < 1e-12


def test_its_core_is_high_and_finite():
    pair = LennardJonesPair()
    clash = pair.potential(torch.zeros(1, 4, dtype=torch.float64))
    assert 1e3 < float(clash[0]) < math.inf
