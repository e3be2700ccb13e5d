"""Ringworld against quadrature on a grid, and its symmetry."""

import math

import numpy as np
import pytest
import torch
from hamiltonians_by_hand import grid_free_energy

from symplectic_cv.hamiltonians.ringworld import Ringworld


@pytest.mark.parametrize("beta", [0.6, 1.0, 2.5])
def test_its_free_energy_is_that_of_a_grid(beta):
    axes = [np.linspace(-5.0, 5.0, 801)] * 2
    exact = Ringworld().exact_free_energy(beta)
    assert exact == pytest.approx(grid_free_energy(Ringworld(), beta, axes), abs=2e-4)


def test_it_does_not_change_when_it_is_turned():
    ring, turn = Ringworld(), 0.7
    q = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotation = torch.tensor(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]], dtype=torch.float64
    )
    torch.testing.assert_close(ring.potential(q @ rotation), ring.potential(q))
    before, after = ring.descriptors(q), ring.descriptors(q @ rotation)
    torch.testing.assert_close(after["radius"].values, before["radius"].values)
    turned = torch.remainder(after["angle"].values - before["angle"].values, 2.0 * math.pi)
    torch.testing.assert_close(turned, torch.full_like(turned, turn))
    assert after["angle"].circular


def test_its_ring_has_no_energy():
    assert float(Ringworld().potential(Ringworld().guess()[None])[0]) == 0.0
