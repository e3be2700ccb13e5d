"""Internal coordinates of the dipeptide, and frames in which two torsions go round."""

import numpy as np
import pytest
import torch

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.standard import wrap
from symplectic_cv.charts.zmatrix import molecule_z_matrix


@pytest.fixture(scope="module")
def chart(molecule, dipeptide):
    frame = EckartFrame(torch.tensor(dipeptide), torch.tensor(molecule.masses), 300.0)
    return InternalCoordinates(frame, molecule_z_matrix(molecule))


@pytest.fixture(scope="module")
def points():
    """q near the reference, (4, 24) in ps."""
    generator = torch.Generator().manual_seed(1)
    return 0.01 * torch.randn(4, 24, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def spinning(chart):
    """ξ of frames whose first two torsions go round, with all the rest stiff, (600, 24)."""
    rng = np.random.default_rng(2)
    centre = chart(torch.zeros(1, 24, dtype=torch.float64))[0].numpy()
    xi = centre + rng.normal(size=(600, 24)) * np.r_[np.full(9, 0.003), np.full(15, 0.06)]
    xi[:, 17:19] = rng.uniform(-np.pi, np.pi, size=(600, 2))
    return wrap_torsions(torch.from_numpy(xi))


def wrap_torsions(xi):
    xi[:, 17:] = wrap(xi[:, 17:])
    return xi
