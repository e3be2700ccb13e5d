"""Rotations and orders of modes."""

import torch

from symplectic_cv.flows.layers import ModeOrder, Rotation


def test_a_rotation_turns_without_stretching(perturb):
    layer = Rotation(5).double().requires_grad_(False)
    perturb(layer, seed=5, size=1.0)
    matrix = layer.matrix()
    identity = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(matrix.T @ matrix, identity, rtol=0.0, atol=1e-13)
    assert abs(float(torch.linalg.det(matrix)) - 1.0) < 1e-13


def test_an_order_of_modes_takes_the_named_mode_first():
    layer = ModeOrder(torch.tensor([2, 0, 1]))
    assert layer(torch.tensor([[10.0, 11.0, 12.0]]))[0].tolist() == [[12.0, 10.0, 11.0]]
