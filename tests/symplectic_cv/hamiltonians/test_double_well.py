"""The double well against quadrature on a grid, and its barrier."""

import numpy as np
import pytest
import torch
from hamiltonians_by_hand import grid_free_energy

from symplectic_cv.hamiltonians.double_well import DoubleWell


@pytest.mark.parametrize("beta", [0.6, 1.0, 2.5])
def test_its_free_energy_is_that_of_a_grid(beta):
    axes = [np.linspace(-4.0, 4.0, 4001)]
    exact = DoubleWell().exact_free_energy(beta)
    assert exact == pytest.approx(grid_free_energy(DoubleWell(), beta, axes), abs=2e-4)


def test_its_wells_and_its_barrier():
    q = torch.tensor([[-1.0], [0.0], [1.0], [0.4], [-0.4]], dtype=torch.float64)
    energies = DoubleWell().potential(q)
    assert energies[:3].tolist() == [0.0, DoubleWell.barrier, 0.0]
    assert energies[3] == energies[4]


def test_its_curvature_in_a_well_is_sixteen():
    """V'' = 8 (3q² − 1), so 16 at q = ±1."""
    well = torch.ones(1, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda q: DoubleWell().potential(q[None])[0], well)
    torch.testing.assert_close(hessian, torch.full((1, 1), 16.0, dtype=torch.float64))
