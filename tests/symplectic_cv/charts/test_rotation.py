"""The closed forms that a GPU takes agree with LAPACK's to rounding; tested on the CPU."""

import pytest
import torch
from scipy.spatial.transform import Rotation

from symplectic_cv.charts.rotation import (
    rotation_in_closed_form,
    solve_by_cofactors,
    solve_three,
    superposing_rotation,
)

MASSES = torch.tensor([12.0, 14.0, 1.0, 16.0, 12.0, 32.0], dtype=torch.float64)


def centred(x):
    weights = MASSES[: x.shape[-2], None]
    return x - (weights * x).sum(-2, keepdim=True) / weights.sum()


def turned(x, seed=0):
    turns = torch.tensor(Rotation.random(len(x), rng=seed).as_matrix())
    return x @ turns.transpose(-1, -2)


def compare(x, reference, tolerance):
    masses = MASSES[: reference.shape[0]]
    x, reference = centred(x), centred(reference)
    right = superposing_rotation(x, reference, masses)
    found = rotation_in_closed_form(x.transpose(-1, -2) @ (masses[:, None] * reference))
    assert (found - right).abs().max() < tolerance
    unit = found @ found.transpose(-1, -2) - torch.eye(3, dtype=torch.float64)
    assert unit.abs().max() < 1e-14
    assert (torch.linalg.det(found) > 0.0).all()


@pytest.fixture
def reference():
    generator = torch.Generator().manual_seed(3)
    return 0.2 * torch.randn(6, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("size", [0.0, 1e-3, 0.03])
def test_frames_of_a_molecule(reference, size):
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(400, 6, 3, dtype=torch.float64, generator=generator)
    compare(turned(reference + size * noise), reference, 1e-13)


def test_planar_molecules(reference):
    flat = reference.clone()
    flat[:, 2] = 0.0
    compare(turned(flat.expand(50, 6, 3)), flat, 1e-13)
    compare(turned(flat[:3].expand(50, 3, 3)), flat[:3], 1e-12)


def test_mirror_images_are_turned_and_not_reflected(reference):
    compare(turned(-reference.expand(50, 6, 3)), reference, 1e-11)


def test_structures_far_from_the_reference(reference):
    generator = torch.Generator().manual_seed(5)
    # a few of them have nearly two best rotations
    compare(torch.randn(2000, 6, 3, dtype=torch.float64, generator=generator), reference, 1e-9)


def test_a_structure_without_an_orientation_is_not_finite(reference):
    point = torch.zeros(6, 3, dtype=torch.float64)
    s = point.T @ (MASSES[:, None] * centred(reference))
    assert not torch.isfinite(rotation_in_closed_form(s)).any()


def test_solutions_of_three_equations():
    generator = torch.Generator().manual_seed(6)
    matrix = torch.randn(200, 3, 3, dtype=torch.float64, generator=generator)
    matrix = matrix @ matrix.transpose(-1, -2) + torch.eye(3, dtype=torch.float64)
    right = torch.randn(200, 3, dtype=torch.float64, generator=generator)
    found = solve_by_cofactors(matrix, right)
    torch.testing.assert_close(found, solve_three(matrix, right), rtol=1e-12, atol=0.0)
    residual = (matrix @ found.unsqueeze(-1)).squeeze(-1) - right
    assert residual.abs().max() < 1e-12
