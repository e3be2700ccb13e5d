"""Free energies, entropies and their errors, against cases that are known exactly."""

import math

import numpy as np
import pytest
import torch

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import Flow, FlowOptions
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.sampling.importance import RELIABLE_TAIL, pareto_k
from symplectic_cv.sampling.thermodynamics import estimate, free_energy_difference


def harmonic_model(chain, beta=1.0, stretch=1.0, flow=Flow.POINT):
    """The chain's normal modes, with frequencies that are off by a factor where told."""
    n = chain.dimension
    modes = NormalModes(chain.normal_modes(), torch.zeros(n, dtype=torch.float64))
    options = FlowOptions(flow=flow, layers=2, hidden=4)
    omega = stretch * chain.exact_omega()
    model = PhaseSpaceModel(
        build_flow(options, modes, 1.0 / omega), HarmonicPrior(omega), options
    ).double()
    assert ReducedHamiltonian(chain, beta).dimension == model.dimension
    return model


@pytest.fixture
def chain():
    return HarmonicChain(4)


@pytest.mark.parametrize("flow", [Flow.POINT, Flow.LINEAR])
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_an_exact_model_has_an_exact_bound_without_noise(chain, beta, flow):
    found = estimate(harmonic_model(chain, beta, flow=flow), ReducedHamiltonian(chain, beta), 2000)
    assert found.free_energy_bound == pytest.approx(chain.exact_free_energy(beta), abs=1e-9)
    assert found.standard_error < 1e-9


@pytest.mark.statistical
@pytest.mark.parametrize("flow", [Flow.POINT, Flow.LINEAR])
def test_importance_estimates_are_exact_within_their_errors(chain, flow):
    beta = 1.7
    found = estimate(
        harmonic_model(chain, beta, 1.2, flow), ReducedHamiltonian(chain, beta), 20_000, seed=2
    )
    exact = chain.exact_free_energy(beta)
    energy, entropy = float(chain.dimension), chain.dimension - exact
    assert 0.0 < found.ln_z_standard_error < 0.02
    assert abs(found.ln_z + exact) < 4.0 * found.ln_z_standard_error
    assert abs(found.internal_energy - energy) < 4.0 * found.internal_energy_standard_error
    assert abs(found.entropy - entropy) < 4.0 * found.entropy_standard_error
    assert found.reliable
    # the bound is off by KL of the Gaussians: stretched by s in n modes, (s⁻² − 1)/2 + ln s each
    kl = chain.dimension * (0.5 * (1.2**-2 - 1.0) + math.log(1.2))
    assert abs(found.free_energy_bound - exact - kl) < 4.0 * found.standard_error


@pytest.mark.statistical
def test_stated_errors_are_the_scatter_over_seeds(chain):
    model, reduced = harmonic_model(chain, stretch=0.8), ReducedHamiltonian(chain)
    runs = [estimate(model, reduced, 2000, seed=seed) for seed in range(30)]
    scores = np.array(
        [(run.ln_z + chain.exact_free_energy(1.0)) / run.ln_z_standard_error for run in runs]
    )
    # 30 standard normal numbers: their mean square is 1 ± 0.26
    assert abs(scores.mean()) < 4.0 / math.sqrt(30)
    assert 0.3 < (scores**2).mean() < 2.1


@pytest.mark.statistical
def test_other_temperatures_and_hamiltonians_from_the_same_samples(chain):
    class Stiffer(HarmonicChain):
        def potential(self, q):
            return 1.3 * super().potential(q)

    beta, warm = 1.5, 1.2
    model, own = harmonic_model(chain, beta), ReducedHamiltonian(chain, beta)
    other = ReducedHamiltonian(chain, warm, units_beta=beta)
    found = free_energy_difference(model, own, other, 20_000)
    exact = chain.exact_free_energy(warm) - chain.exact_free_energy(beta)
    assert found.standard_error < 0.02
    assert abs(found.difference - exact) < 4.0 * found.standard_error
    stiffer = ReducedHamiltonian(Stiffer(4), beta)
    found = free_energy_difference(model, own, stiffer, 20_000)
    # each of n frequencies grows by √1.3
    assert abs(found.difference - 2.0 * math.log(1.3)) < 4.0 * found.standard_error


@pytest.mark.statistical
@pytest.mark.parametrize("counted", [True, False])
def test_the_volume_element_counts(counted):
    """A radius in five dimensions: Z = ∫ r⁴ exp(−r²/2) dr; without r⁴ the test must fail."""

    class Radius(Hamiltonian):
        name = "radius"
        dimension = 1

        def potential(self, q):
            return 0.5 * (q * q).sum(-1) + torch.where(q[..., 0] > 0.0, 0.0, torch.inf)

        def log_volume(self, q):
            return counted * 4.0 * q[..., 0].abs().clamp(min=1e-30).log()

    options = FlowOptions(layers=1, hidden=4)
    centre = NormalModes(torch.eye(1), torch.tensor([2.0]))
    model = PhaseSpaceModel(
        build_flow(options, centre, torch.ones(1)), HarmonicPrior(torch.tensor([1.0])), options
    )
    found = estimate(model, ReducedHamiltonian(Radius()), 40_000)
    # momentum: ln √2π and ½; radius: ln 3√(π/2) and 5/2
    exact_ln_z = 0.5 * math.log(2.0 * math.pi) + math.log(3.0 * math.sqrt(math.pi / 2.0))
    off = abs(found.ln_z - exact_ln_z) / found.ln_z_standard_error
    off_energy = abs(found.internal_energy - 3.0) / found.internal_energy_standard_error
    assert max(off, off_energy) < 4.0 if counted else min(off, off_energy) > 20.0


@pytest.mark.parametrize("exponent", [0.2, 0.5, 0.9])
def test_the_tail_of_the_weights_is_found(exponent):
    rng = np.random.default_rng(0)
    weights = rng.uniform(size=50_000) ** -exponent
    assert pareto_k(weights) == pytest.approx(exponent, abs=0.12)
    assert pareto_k(np.ones(1000)) == 0.0


def test_a_proposal_without_a_tail_is_told_unreliable():
    """One well of two, and beyond it nothing: a double well far colder than its model."""
    model = harmonic_model(HarmonicChain(1), stretch=30.0)
    found = estimate(model, ReducedHamiltonian(DoubleWell()), 5000)
    assert found.pareto_k > RELIABLE_TAIL
    assert not found.reliable


def test_samples_are_repeatable_and_counted(chain):
    model, reduced = harmonic_model(chain, stretch=1.1), ReducedHamiltonian(chain)
    done = []
    first = estimate(model, reduced, 9000, seed=5, progress=done.append)
    assert sum(done) == 2 * 9000
    assert estimate(model, reduced, 9000, seed=5) == first
    assert estimate(model, reduced, 9000, seed=6).ln_z != first.ln_z


def test_what_does_not_fit_is_told(chain):
    model = harmonic_model(chain)
    with pytest.raises(OptionError, match="at least 100"):
        estimate(model, ReducedHamiltonian(chain), 10)
    with pytest.raises(OptionError, match="double-well has 1 coordinates, the model 4"):
        estimate(model, ReducedHamiltonian(DoubleWell()))
    with pytest.raises(OptionError, match="not of the same system"):
        free_energy_difference(model, ReducedHamiltonian(chain), ReducedHamiltonian(DoubleWell()))
