"""Layers on parts of the coordinates: conditional Gaussians, angles to the line, scales."""

import math

import pytest
import torch
from identities import require_exact

from symplectic_cv.flows.autoregressive import AutoregressiveSpline
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.parts import AngleToLine, ConditionalGaussian, Scale, SubsetLayer
from symplectic_cv.flows.point import PointTransformation


def layers():
    angles, line = torch.arange(2), torch.arange(2, 6)
    inner = AffineCoupling(torch.tensor([0, 2]), torch.tensor([1]), torch.ones(3), 8)
    return {
        "conditional": ConditionalGaussian(angles, line, 8),
        "autoregressive": AutoregressiveSpline(angles, line, 2, 8, 4),
        "line": SubsetLayer(AngleToLine(), angles, 6),
        "scale": Scale(torch.linspace(0.5, 3.0, 6)),
        "part": SubsetLayer(inner, torch.tensor([4, 0, 3]), 6),
    }


@pytest.mark.parametrize("name", list(layers()))
def test_layers_are_canonical_and_invertible(name, perturb):
    layer = layers()[name]
    perturb(layer, seed=6)
    require_exact(PointTransformation([layer.double()]), 6, scale=0.7)


def test_a_conditional_gaussian_starts_as_a_regression():
    """b of a known law becomes white and independent of the angles; also where frames weigh."""
    generator = torch.Generator().manual_seed(0)
    a = 2.0 * math.pi * torch.rand(4000, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    mix = torch.tensor([[0.5, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.2, 0.1, 1.5]]).double()
    b = noise @ mix.T + torch.stack([a[:, 0].cos(), (3 * a[:, 1]).sin(), 1.0 + a[:, 0].sin()], 1)
    layer = ConditionalGaussian(torch.arange(2), torch.arange(2, 5), 8).double()
    q = torch.cat([a, b], 1)
    layer.fit(q)
    white = layer(q)[0][:, 2:].detach()
    torch.testing.assert_close(white.mean(0), torch.zeros(3).double(), rtol=0.0, atol=1e-9)
    torch.testing.assert_close(
        torch.cov(white.T, correction=0), torch.eye(3).double(), rtol=0.0, atol=1e-9
    )
    assert float((white.T @ a.cos()).abs().max()) / 4000 < 1e-9
    doubled = ConditionalGaussian(torch.arange(2), torch.arange(2, 5), 8).double()
    doubled.fit(q, (torch.arange(4000) < 2000).double())
    half = ConditionalGaussian(torch.arange(2), torch.arange(2, 5), 8).double()
    half.fit(q[:2000])
    torch.testing.assert_close(doubled.linear, half.linear)


@pytest.mark.statistical
def test_angles_become_standard_normal():
    uniform = (torch.rand(20_000, 1, generator=torch.Generator().manual_seed(0)) - 0.5).double()
    z = AngleToLine()(2.0 * math.pi * uniform)[0]
    error = 1.0 / math.sqrt(len(z))
    assert abs(float(z.mean())) < 4.0 * error
    assert abs(float(z.var()) - 1.0) < 4.0 * math.sqrt(2.0) * error
    edge = AngleToLine()(torch.tensor([[-math.pi], [math.pi]]))[0]
    assert torch.isfinite(edge).all()
