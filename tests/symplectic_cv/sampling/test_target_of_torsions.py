"""Samplers in the torsion chart against a molecule whose density is known."""

import math

import numpy as np
import pytest
import torch
from four_atoms import KAPPA, MEAN, POPULATIONS, SPREAD, WELLS, Chain, four_atoms, frames, two_wells
from scipy.special import i0e, i1e
from torus import SMALL

from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.prior import PendulumPrior
from symplectic_cv.sampling.chains import SamplingOptions, sample_target
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.statistics import standard_error
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.sampling.thermodynamics import estimate
from symplectic_cv.training.fit import prepare
from symplectic_cv.training.options import TrainingOptions

SAMPLES = {Method.HMC: 1600, Method.HYBRID: 960}
THIN = {Method.PCN: 4}


@pytest.fixture(scope="module")
def chain():
    return four_atoms()


@pytest.fixture(scope="module")
def model(chain, perturb):
    """A flow of the torsion chart that knows the wells in other shares, with bent weights."""
    rng = np.random.default_rng(0)
    torsions = rng.vonmises(np.where(rng.random(1000) < 0.6, *WELLS.tolist()), KAPPA)
    options = TrainingOptions(chart="torsion", **SMALL)
    model = prepare(frames(chain, torsions, 1), chain, 300.0, options).model.double()
    perturb(model.flow, seed=3, size=0.02)
    assert isinstance(model.prior, PendulumPrior)
    return model


@pytest.fixture(scope="module")
def reduced(chain, model):
    return ReducedHamiltonian(Chain(chain, model.frame, two_wells))


def means(found, values, method):
    """The mean of values and its standard error."""
    if method is Method.IMPORTANCE:
        w = np.exp(found.log_weight - found.log_weight.max())
        w /= w.mean()
        mean = float((w * values).mean())
        return mean, float(np.sqrt(np.mean((w * (values - mean)) ** 2) / values.size))
    return float(values.mean()), standard_error(values)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("method", list(Method))
def test_samples_of_every_method_have_the_known_means(model, reduced, method):
    """Two von Mises wells with ⟨cos φ⟩ = A Σ w cos μ, A = I₁(κ)/I₀(κ), and normal bonds."""
    target = LatentTarget(model, reduced)
    count = SAMPLES.get(method, 8000)
    found = sample_target(target, SamplingOptions(count, method, 32, THIN.get(method, 1), 80, 2))
    xi = reduced.hamiltonian.chart(torch.from_numpy(found.x.reshape(-1, 6)))[0].numpy()
    shape = found.energy.shape
    phi = xi[:, 5].reshape(shape)
    order = i1e(KAPPA) / i0e(KAPPA)
    for function in (np.cos, np.sin):
        expected = order * float((POPULATIONS * torch.from_numpy(function(WELLS.numpy()))).sum())
        mean, error = means(found, function(phi), method)
        assert abs(mean - expected) < 3.0 * error, (method, function.__name__, mean, expected)
    for k in range(5):
        mean, error = means(found, xi[:, k].reshape(shape), method)
        assert abs(mean - float(MEAN[k])) < 3.5 * error, (method, k)
    mean, error = means(found, ((xi[:, 3] - float(MEAN[3])) ** 2).reshape(shape), method)
    assert abs(mean - float(SPREAD[3]) ** 2) < 3.5 * error


@pytest.mark.statistical
def test_momenta_are_sampled_with_the_pendulums(model, reduced):
    """In phase space p is N(0, 1) and independent of q, whatever the inertias are."""
    target = LatentTarget(model, reduced, only_coordinates=False)
    assert target.dimension == 12
    options = SamplingOptions(8000, Method.INDEPENDENCE, 32, 1, 80, 2)
    found = sample_target(target, options)
    p = found.x[..., :6]
    for k in range(6):
        for values, expected in ((p[..., k], 0.0), (p[..., k] ** 2, 1.0)):
            error = standard_error(values)
            assert abs(float(values.mean()) - expected) < 3.5 * error, k


def test_weights_do_not_depend_on_the_variables(model, reduced):
    """Decoding and encoding give one ln w, and to_latent undoes from_latent with its volume."""
    target = LatentTarget(model, reduced)
    u = target.draw(50, torch.Generator().manual_seed(0))
    with torch.no_grad():
        points = target.decode(u)
        again = target.encode(points.x)
    torch.testing.assert_close(again.u, u, rtol=0.0, atol=1e-6)
    torch.testing.assert_close(again.log_weight, points.log_weight, rtol=0.0, atol=1e-6)
    for both in (True, False):
        target = LatentTarget(model, reduced, only_coordinates=both)
        u = target.draw(3, torch.Generator().manual_seed(0))
        x, log_det = target.from_latent(u)
        back, log_back = target.to_latent(x.detach())
        torch.testing.assert_close(back, u, rtol=0.0, atol=1e-6)
        torch.testing.assert_close(log_back, -log_det, rtol=0.0, atol=1e-6)
        slopes = torch.autograd.functional.jacobian(
            lambda y, t=target: t.from_latent(y[None])[0][0], u[0]
        )
        torch.testing.assert_close(
            torch.linalg.slogdet(slopes)[1], log_det[0].detach(), rtol=0.0, atol=1e-6
        )


def test_slopes_of_weights_are_finite_differences(model, reduced):
    target = LatentTarget(model, reduced)
    u = target.draw(4, torch.Generator().manual_seed(5))
    _, slope = target.slope(u)
    step = 1e-5
    for k in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[k] = step
        with torch.no_grad():
            up, down = (target.decode(u + sign * shift).log_weight for sign in (1.0, -1.0))
        torch.testing.assert_close(slope[:, k], (up - down) / (2.0 * step), rtol=1e-4, atol=1e-5)


@pytest.mark.statistical
def test_the_free_energy_is_the_exact_one(model, reduced):
    found = estimate(model, reduced, 10_000)
    exact = reduced.hamiltonian.exact_free_energy(1.0)
    assert abs(found.ln_z + exact) < 4.0 * found.ln_z_standard_error < 0.2
    assert found.free_energy_bound > exact - 4.0 * found.standard_error
    assert math.isfinite(found.entropy)
