"""Learning from a Hamiltonian: the loss, its samples, what it reaches, what stops it."""

import math

import pytest
import torch

from symplectic_cv.errors import HamiltonianError, OptionError
from symplectic_cv.flows.continuous import Integrator
from symplectic_cv.flows.options import Coupling, Flow, FlowOptions, Generator
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.free_energy import free_energy_terms
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.training.polish import validation_bound
from symplectic_cv.training.variational import (
    VariationalOptions,
    prepare_variational,
    train_variational,
)

SMALL = FlowOptions(layers=2, hidden=8)


def learn(hamiltonian, steps, flow=SMALL, **more):
    prepared = prepare_variational(
        hamiltonian, VariationalOptions(flow=flow, steps=steps, batch=64, **more)
    )
    return train_variational(prepared)


def test_the_gradient_vanishes_where_the_model_is_exact():
    """Without ln ρ's own gradient, each sample's gradient is zero at the optimum."""
    chain = HarmonicChain(3)
    prepared = prepare_variational(chain, VariationalOptions(flow=SMALL))
    model, reduced = prepared.model.double(), prepared.reduced
    # the start is a ball near the minimum; make it the chain's own modes
    model.flow.layers[0].rotation.copy_(chain.normal_modes())
    model.flow.layers[0].shift.zero_()
    with torch.no_grad():
        model.prior.log_omega.copy_(chain.exact_omega().log())
    z = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p, q = model.flow.pull(z[0], z[1] / model.prior.omega)
    terms = free_energy_terms(model, reduced, p, q)
    torch.testing.assert_close(terms, torch.full_like(terms, chain.exact_free_energy(1.0)))
    gradients = torch.autograd.grad(terms.sum(), list(model.parameters()), allow_unused=True)
    assert max(float(g.abs().max()) for g in gradients if g is not None) < 1e-10


def test_the_gradient_leaves_out_the_score_and_nothing_else():
    """∂/∂ln ω of all of ln ρ + βH, by finite differences, less that of ln ρ at a fixed x.

    The latter is 1 − ω²Q², of which the mean is zero.
    """
    prepared = prepare_variational(DoubleWell(), VariationalOptions(flow=SMALL))
    model, reduced = prepared.model.double(), prepared.reduced
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(2, 50, 1, generator=generator, dtype=torch.float64)

    def pulled():
        return model.flow.pull(z[0], z[1] / model.prior.omega)

    terms = free_energy_terms(model, reduced, *pulled())
    (gradient,) = torch.autograd.grad(terms.mean(), model.prior.log_omega)
    step, ends = 1e-5, []
    with torch.no_grad():
        for change in (step, -2.0 * step):
            model.prior.log_omega += change
            p, q = pulled()
            ends.append((model.log_prob(p, q) + reduced.energy(p, q)).mean())
    slope = (ends[0] - ends[1]) / (2.0 * step)
    score = (1.0 - z[1] ** 2).mean()
    assert abs(float(score)) > 0.01
    assert float(gradient + score) == pytest.approx(float(slope), abs=1e-7)


def test_a_linear_flow_finds_the_normal_modes():
    chain = HarmonicChain(4)
    result = learn(chain, 600, FlowOptions(flow=Flow.LINEAR))
    bound, error = validation_bound(result.model.double(), result.reduced)
    assert bound - chain.exact_free_energy(1.0) < 1e-3
    assert error < 1e-3
    torch.testing.assert_close(
        result.model.omega, chain.exact_omega(), rtol=2e-3, atol=0.0, check_dtype=False
    )


def test_other_temperatures_have_the_same_frequencies():
    chain = HarmonicChain(2)
    options = VariationalOptions(flow=FlowOptions(flow=Flow.LINEAR), steps=400, batch=64)
    prepared = prepare_variational(chain, options, beta=3.0)
    model = train_variational(prepared).model
    torch.testing.assert_close(
        model.omega, chain.exact_omega(), rtol=2e-3, atol=0.0, check_dtype=False
    )


@pytest.mark.parametrize(
    "flow",
    [
        FlowOptions(layers=4, hidden=16),
        FlowOptions(coupling=Coupling.SPLINE, layers=2, hidden=8, bins=4),
        FlowOptions(flow=Flow.CONTINUOUS, hidden=8, integration_steps=2),
        FlowOptions(
            flow=Flow.CONTINUOUS,
            hidden=8,
            generator=Generator.SEPARABLE,
            integrator=Integrator.LEAPFROG,
        ),
    ],
    ids=["affine", "spline", "midpoint", "leapfrog"],
)
def test_every_flow_lowers_its_bound_and_stays_above_the_exact_value(flow):
    ring = Ringworld()
    result = learn(ring, 80, flow)
    first, last = result.history[0], min(result.history, key=lambda row: row.free_energy_bound)
    assert last.free_energy_bound < first.free_energy_bound - 0.1
    assert last.free_energy_bound > ring.exact_free_energy(1.0) - 4.0 * last.standard_error
    assert bool((result.model.omega.diff() >= 0.0).all())


def test_the_seed_makes_a_training_repeatable():
    first, again, other = (learn(DoubleWell(), 30, seed=seed) for seed in (3, 3, 4))
    assert first.history == again.history
    assert first.history != other.history


def test_a_training_that_is_killed_goes_on_as_if_it_had_not(tmp_path):
    options = VariationalOptions(flow=SMALL, steps=60, batch=32)
    whole = train_variational(prepare_variational(Ringworld(), options))

    def stop(step, row):
        if step >= 30:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train_variational(prepare_variational(Ringworld(), options), tmp_path, stop)
    resumed = train_variational(prepare_variational(Ringworld(), options), tmp_path)
    assert resumed.history == whole.history
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0.0, atol=0.0)


def test_an_energy_that_stops_being_a_number_ends_in_one_line():
    class Cliff(Hamiltonian):
        name = "cliff"
        dimension = 1

        def potential(self, q):
            return torch.where(q[..., 0].abs() < 0.5, (q * q).sum(-1), math.nan)

    with pytest.raises(HamiltonianError, match=r"cliff: the energy of .* is NaN"):
        learn(Cliff(), 200)


def test_momenta_of_any_energy_are_sampled():
    class Heavy(Hamiltonian):
        """½ p²/4 + ½ q²: ω = ½, Z = 2π · 2."""

        name = "heavy"
        dimension = 1

        def energy(self, p, q):
            return (p * p / 8.0 + q * q / 2.0).sum(-1)

    heavy = Heavy()
    assert not heavy.kinetic
    result = learn(heavy, 600, FlowOptions(flow=Flow.LINEAR))
    bound, _ = validation_bound(result.model.double(), result.reduced)
    assert bound == pytest.approx(-math.log(4.0 * math.pi), abs=1e-3)
    assert float(result.model.omega[0]) == pytest.approx(0.5, rel=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps`"),
        ({"batch": 0}, "`batch`"),
        ({"learning_rate": 0.0}, "`learning_rate`"),
    ],
)
def test_options_without_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        VariationalOptions(**options)


def test_leapfrog_with_a_general_generator_is_refused():
    flow = FlowOptions(flow=Flow.CONTINUOUS, integrator=Integrator.LEAPFROG)
    with pytest.raises(OptionError, match="separable"):
        prepare_variational(DoubleWell(), VariationalOptions(flow=flow))


def test_the_bound_is_above_the_exact_value_whatever_the_temperature():
    for beta in (0.3, 3.0):
        prepared = prepare_variational(Ringworld(), VariationalOptions(flow=SMALL), beta)
        bound, error = validation_bound(prepared.model, prepared.reduced)
        exact = Ringworld().exact_free_energy(beta) + prepared.reduced.log_volume_of_units
        assert bound > exact - 4.0 * error
        assert prepared.reduced.scale == ReducedHamiltonian(Ringworld(), beta).scale
