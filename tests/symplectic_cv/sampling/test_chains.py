"""Samplers of analytic Hamiltonians against quadrature, and runs that are killed."""

import math

import numpy as np
import pytest
import torch
from gaussian_models import gaussian_model
from scipy.integrate import quad

from symplectic_cv.errors import OptionError, OutputError, SamplingError
from symplectic_cv.flows.canonical import Composition
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.flows.options import Flow, FlowOptions
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.sampling.chains import SamplingOptions, sample_target
from symplectic_cv.sampling.moves import MOVES, Method
from symplectic_cv.sampling.statistics import (
    standard_error,
)
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.statistics import effective_share

SAMPLES = {
    Method.INDEPENDENCE: 20_000,
    Method.PCN: 20_000,
    Method.HMC: 3_200,
    Method.HYBRID: 2_400,
    Method.IMPORTANCE: 20_000,
    Method.REJECTION: 20_000,
}


def sampled(model, hamiltonian, method, beta=1.0, seed=1, samples=None):
    target = LatentTarget(model, ReducedHamiltonian(hamiltonian, beta))
    options = SamplingOptions(samples or SAMPLES[method], method, 32, 1, 60, seed)
    found = sample_target(target, options)
    n = hamiltonian.dimension
    return found, found.x[..., -n:] / math.sqrt(beta)


def require_mean(found, values, expected, method):
    """A mean within three of its own standard errors."""
    if method is Method.IMPORTANCE:
        w = np.exp(found.log_weight - found.log_weight.max())
        w /= w.mean()
        mean = float((w * values).mean())
        error = float(np.sqrt(np.mean((w * (values - mean)) ** 2) / len(values)))
    else:
        mean, error = float(values.mean()), standard_error(values)
    assert error > 0.0
    assert abs(mean - expected) < 3.0 * error, (mean, error, expected)
    return error


def double_well_moments(beta):
    """⟨q²⟩ and the mean and variance of V, by quadrature."""

    def density(q):
        return math.exp(-beta * 2.0 * (q * q - 1.0) ** 2)

    def mean(f):
        return quad(lambda q: f(q) * density(q), -4.0, 4.0, points=[-1, 0, 1])[0] / norm

    norm = quad(density, -4.0, 4.0, points=[-1.0, 0.0, 1.0])[0]
    energy = mean(lambda q: 2.0 * (q * q - 1.0) ** 2)
    square = mean(lambda q: (2.0 * (q * q - 1.0) ** 2) ** 2)
    return mean(lambda q: q * q), energy, square - energy**2


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("method", "beta"),
    [*((method, 1.0) for method in Method), (Method.INDEPENDENCE, 2.0), (Method.HYBRID, 2.0)],
)
def test_the_double_well(method, beta):
    """Means and variances; with β ≠ 1 the variables are scaled."""
    model = gaussian_model(1, 1.1 * math.sqrt(beta), 0.2)
    found, q = sampled(model, DoubleWell(), method, beta)
    q = q[..., 0]
    square, energy, variance = double_well_moments(beta)
    require_mean(found, q, 0.0, method)
    require_mean(found, q**2, square, method)
    v = found.energy / beta
    np.testing.assert_allclose(v, 2.0 * (q * q - 1.0) ** 2, rtol=1e-9)
    require_mean(found, v, energy, method)
    require_mean(found, (v - energy) ** 2, variance, method)


@pytest.mark.statistical
@pytest.mark.parametrize("method", list(Method))
def test_the_ring(method):
    """Radius and angle of Ringworld, by quadrature over the radius."""
    found, q = sampled(gaussian_model(2, 1.6), Ringworld(), method)

    def density(r, power=0):
        return r ** (1 + power) * math.exp(-((r - 2.0) ** 2) / 0.32)

    norm = quad(density, 0.0, 5.0)[0]
    mean, square = (quad(density, 0.0, 5.0, args=(k,))[0] / norm for k in (1, 2))
    radius = np.linalg.norm(q, axis=-1)
    require_mean(found, radius, mean, method)
    require_mean(found, (radius - mean) ** 2, square - mean**2, method)
    for k in (0, 1):
        require_mean(found, q[..., k], 0.0, method)
        require_mean(found, q[..., k] ** 2, 0.5 * square, method)


@pytest.mark.statistical
@pytest.mark.parametrize("method", [m for m in Method if m is not Method.HYBRID])
def test_flows_that_mix_momenta_sample_phase_space(method):
    """A linear symplectic flow: momenta are N(0, 1) and independent of q."""
    torch.manual_seed(0)
    linear = LinearSymplectic(2)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    flow = Composition([linear])
    model = PhaseSpaceModel(flow, HarmonicPrior(torch.ones(1)), FlowOptions(flow=Flow.LINEAR))
    found, q = sampled(model, DoubleWell(), method)
    p = found.x[..., 0]
    require_mean(found, q[..., 0] ** 2, double_well_moments(1.0)[0], method)
    require_mean(found, p**2, 1.0, method)
    require_mean(found, p * q[..., 0], 0.0, method)


def test_the_hybrid_needs_coordinates_alone():
    flow = Composition([LinearSymplectic(2)])
    model = PhaseSpaceModel(flow, HarmonicPrior(torch.ones(1)), FlowOptions(flow=Flow.LINEAR))
    with pytest.raises(OptionError, match="`method` pcn or hmc"):
        sampled(model, DoubleWell(), Method.HYBRID)


class Quadratic(Hamiltonian):
    """½ q²: what a flow of width 1 fits perfectly."""

    name, dimension = "quadratic", 1

    def potential(self, q):
        return 0.5 * (q * q).sum(-1)


@pytest.mark.parametrize("method", list(Method))
def test_a_perfect_flow_accepts_everything(method):
    found, _ = sampled(gaussian_model(1, 1.0), Quadratic(), method, samples=640)
    if method is Method.REJECTION:
        assert found.acceptance > 0.95  # equal weights to rounding
        return
    if method is not Method.HYBRID:
        np.testing.assert_allclose(found.log_weight, found.log_weight.flat[0], atol=1e-9)
    assert found.acceptance == 1.0
    assert effective_share(found.proposed_log_weights) == pytest.approx(1.0, abs=1e-6)


def test_step_sizes_adapt_and_then_stay():
    model = gaussian_model(2, 4.0)
    for method, goal in ((Method.PCN, 0.3), (Method.HMC, 0.75), (Method.HYBRID, None)):
        target = LatentTarget(model, ReducedHamiltonian(Ringworld()))
        long = SamplingOptions(1280, method, 64, 1, 120, 2)
        found = sample_target(target, long)
        start = MOVES[method](target).size
        assert found.size != start
        if goal is not None and found.size < MOVES[method].largest:
            assert abs(found.acceptance - goal) < 0.12, method


class Wall(Hamiltonian):
    """½ q² on the positive side alone."""

    name, dimension = "wall", 1

    def potential(self, q):
        inside = q[..., 0] > 0.0
        return torch.where(inside, 0.5 * (q * q).sum(-1), math.inf)


@pytest.mark.statistical
@pytest.mark.parametrize("method", [Method.INDEPENDENCE, Method.PCN, Method.HMC, Method.HYBRID])
def test_infinite_energies_are_never_reached(method):
    found, q = sampled(gaussian_model(1, 1.0), Wall(), method, samples=3200)
    assert (q > 0.0).all()
    assert np.isfinite(found.energy).all()
    require_mean(found, q[..., 0], math.sqrt(2.0 / math.pi), method)


class Nowhere(Hamiltonian):
    name, dimension = "nowhere", 1

    def potential(self, q):
        return torch.where(q[..., 0] > 50.0, 0.0 * q[..., 0], math.inf)


@pytest.mark.parametrize("method", [Method.INDEPENDENCE, Method.IMPORTANCE])
def test_no_weight_anywhere_is_told(method):
    with pytest.raises(SamplingError, match="does not fit this Hamiltonian"):
        sampled(gaussian_model(1, 1.0), Nowhere(), method, samples=640)


def test_nothing_accepted_is_told():
    """The start is the best of the pilot, in a density 1000 times as narrow as the flow."""

    class Narrow(Hamiltonian):
        name, dimension = "narrow", 3

        def potential(self, q):
            return 0.5e6 * (q * q).sum(-1)

    with pytest.raises(SamplingError, match="none of 128 proposals was accepted: try `method`"):
        target = LatentTarget(gaussian_model(3, 1.0), ReducedHamiltonian(Narrow()))
        sample_target(target, SamplingOptions(128, Method.INDEPENDENCE, 2, 1, 0, 0))


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", [Method.PCN, Method.INDEPENDENCE, Method.REJECTION])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, method):
    target = LatentTarget(gaussian_model(2, 1.6), ReducedHamiltonian(Ringworld()))
    options = SamplingOptions(9000, method, 16, 2, 20, 3)
    whole = sample_target(target, options, tmp_path / "whole")
    calls = []

    def kill(count):
        calls.append(count)
        if len(calls) == 3:
            raise Killed

    with pytest.raises(Killed):
        sample_target(target, options, tmp_path / "killed", kill)
    again = sample_target(target, options, tmp_path / "killed")
    for name in ("u", "x", "energy", "log_weight", "proposed_log_weights"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))
    assert (whole.acceptance, whole.size) == (again.acceptance, again.size)
    if method is Method.PCN:
        (tmp_path / "killed" / "state.npz").write_bytes(b"not a file")
        with pytest.raises(OutputError, match=r"state\.npz: damaged"):
            sample_target(target, options, tmp_path / "killed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 0}, "`samples` must be at least 1"),
        ({"chains": 0}, "`chains` must be at least 1"),
        ({"thin": 0}, "`thin` must be at least 1"),
        ({"warmup": -1}, "`warmup` must be at least 0"),
        ({"samples": 100}, "less than four for each of 32 chains"),
    ],
)
def test_options_that_make_no_sense(change, message):
    with pytest.raises(OptionError, match=message):
        SamplingOptions(**change)
