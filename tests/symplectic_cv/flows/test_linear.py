"""Linear canonical transformations: their generators, inverses and gradients."""

import itertools

import pytest
import torch

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.canonical import symplectic_form
from symplectic_cv.flows.layers import Rotation
from symplectic_cv.flows.linear import LinearSymplectic

N = 4


@pytest.fixture(params=[False, True], ids=["general", "orthogonal"])
def layer(request, perturb):
    layer = LinearSymplectic(2 * N, orthogonal=request.param).double()
    perturb(layer, seed=1, size=0.4)
    return layer


def _phase_space(n_frames=5):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, n_frames, N, generator=generator, dtype=torch.float64)


def _matrix(layer):
    """exp(Y), row by row the image of a unit vector."""
    unit = torch.eye(2 * N, dtype=torch.float64)
    return torch.cat(layer.push(unit[:, :N], unit[:, N:]), -1).detach()


def test_the_generator_lies_in_the_symplectic_algebra(layer):
    """Y J + J Yᵀ = 0."""
    y = layer.generator()
    form = symplectic_form(2 * N)
    assert y.abs().max() > 0.1
    assert torch.equal(y @ form + form @ y.T, torch.zeros_like(y))


def test_every_symplectic_generator_can_be_reached():
    """sp(2n) has n (2n + 1) dimensions, the rotations to normal modes n (n − 1)/2."""
    for orthogonal, expected in ((False, N * (2 * N + 1)), (True, N * (N - 1) // 2)):
        layer = LinearSymplectic(2 * N, orthogonal=orthogonal).double()
        weights = tuple(layer.parameters())
        rows = [
            torch.autograd.grad(y, weights, allow_unused=True, materialize_grads=True)
            for y in layer.generator().flatten()
        ]
        tangent = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        assert torch.linalg.matrix_rank(tangent) == expected


def test_the_negative_generator_gives_the_inverse(layer):
    matrix = _matrix(layer)
    inverse = torch.linalg.matrix_exp(-layer.generator().detach())
    identity = torch.eye(2 * N, dtype=torch.float64)
    torch.testing.assert_close(matrix @ inverse, identity, rtol=0.0, atol=1e-13)
    p, q = _phase_space()
    pulled = torch.cat(layer.pull(p, q), -1)
    torch.testing.assert_close(pulled, torch.cat([p, q], -1) @ inverse, rtol=1e-13, atol=1e-13)


def test_the_map_is_linear(layer):
    (p, p_other), (q, q_other) = _phase_space(2)
    one, other = torch.cat(layer.push(p, q)), torch.cat(layer.push(p_other, q_other))
    both = torch.cat(layer.push(2.0 * p - p_other, 2.0 * q - q_other))
    torch.testing.assert_close(both, 2.0 * one - other, rtol=1e-13, atol=1e-13)


def test_the_orthogonal_case_is_the_lift_of_the_rotation(perturb):
    rotation = Rotation(N).double()
    perturb(rotation, seed=3, size=0.5)
    layer = LinearSymplectic(2 * N, orthogonal=True).double()
    with torch.no_grad():
        layer.a.copy_(rotation.generator)
    p, q = _phase_space()
    for found, expected in (
        (layer.push(p, q), rotation.push(p, q)[:2]),
        (layer.pull(p, q), rotation.pull(p, q)),
    ):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_the_orthogonal_case_keeps_lengths_and_the_general_one_need_not(layer):
    matrix = _matrix(layer)
    stretched = (matrix @ matrix.T - torch.eye(2 * N, dtype=torch.float64)).abs().max()
    assert stretched < 1e-13 if layer.orthogonal else stretched > 0.1


def test_gradients_through_the_exponential_match_finite_differences(layer):
    p, q = _phase_space()
    on_p, on_q = _phase_space().flip(0)

    def loss():
        pushed, pulled = layer.push(p, q), layer.pull(p, q)
        return sum((on_p * a).sum() + (on_q * b).sum() for a, b in (pushed, pulled))

    weights = list(layer.parameters())
    h = 1e-5
    for weight, gradient in zip(weights, torch.autograd.grad(loss(), weights), strict=True):
        numerical = torch.zeros_like(gradient)
        with torch.no_grad():
            for place in itertools.product(range(N), range(N)):
                weight[place] += h
                above = loss()
                weight[place] -= 2 * h
                numerical[place] = (above - loss()) / (2 * h)
                weight[place] += h
        assert gradient.abs().max() > 0.1
        assert (gradient - numerical).abs().max() < 1e-7 * gradient.abs().max()


def test_gradients_are_finite_at_the_start():
    """Y = 0, where eigenvectors of it would not be."""
    layer = LinearSymplectic(2 * N).double()
    p, q = _phase_space()
    weights = list(layer.parameters())
    gradients = torch.autograd.grad((layer.push(p, q)[0] ** 3).sum(), weights)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert gradients[0].abs().max() > 0.1


@pytest.mark.parametrize("dimension", [7, 1, 0])
def test_a_phase_space_without_pairs_is_refused(dimension):
    with pytest.raises(OptionError, match=f"a phase space has 2n dimensions.* got {dimension}$"):
        LinearSymplectic(dimension)
