"""The samples and the averages of the variational free energy."""

import math

import pytest
import torch

from symplectic_cv.hamiltonians.free_energy import draw_latent, whitened_latent
from symplectic_cv.statistics import weighted_mean


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_weighted_samples_are_those_of_the_latent_density(dimension):
    n = 200_000
    p, q, weights = draw_latent(n, dimension, torch.Generator().manual_seed(0))
    z, w = torch.cat([p, q], -1).double(), weights.double()
    assert abs(float(w.mean()) - 1.0) < 4.0 * float(w.std()) / math.sqrt(n)
    for moment, expected in ((1, 0.0), (2, 1.0), (4, 3.0)):
        values = (w[:, None] * z**moment).mean(1)
        assert abs(float(values.mean()) - expected) < 4.0 * float(values.std()) / math.sqrt(n)


def test_a_weighted_mean_states_its_scatter():
    generator = torch.Generator().manual_seed(1)
    runs = []
    for _ in range(200):
        values = torch.randn(500, generator=generator, dtype=torch.float64)
        weights = torch.rand(500, generator=generator, dtype=torch.float64)
        runs.append(weighted_mean(values.numpy(), weights.numpy()))
    scores = torch.tensor([mean / error for mean, error in runs])
    assert abs(float(scores.square().mean()) - 1.0) < 4.0 * math.sqrt(2.0 / 200)


def test_whitened_samples_have_exact_moments():
    p, q = whitened_latent(64, 3, seed=2)
    z = torch.cat([p, q], -1)
    torch.testing.assert_close(z.mean(0), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(z.T @ z / 64, torch.eye(6, dtype=torch.float64))
