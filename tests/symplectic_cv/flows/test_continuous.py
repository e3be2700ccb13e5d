"""Continuous flows: solutions that are known, orders of convergence, what is conserved."""

import itertools
import math

import pytest
import torch
from scipy.special import ellipj

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.canonical import symplectic_form
from symplectic_cv.flows.continuous import (
    MOST_STEPS,
    WEIGHT_BOUND,
    ContinuousSymplectic,
    GeneralNetwork,
    GeneratingFunction,
    Integrator,
    MidpointError,
    ScalarNetwork,
    SeparableNetwork,
    refined,
    substeps,
)

LEAPFROG, MIDPOINT = Integrator.LEAPFROG, Integrator.MIDPOINT


class Pendulum(GeneratingFunction):
    """G = p²/2 − cos q of each coordinate."""

    separable = True

    def gradients(self, p, q):
        return p, torch.sin(q)


class Twist(GeneratingFunction):
    """G = I²/2 with I = Σ (p² + q²)/2, not separable: phase space turns at the rate I."""

    def gradients(self, p, q):
        action = 0.5 * (p * p + q * q).sum(-1, keepdim=True)
        return action * p, action * q


class Quadratic(GeneratingFunction):
    """G = x S xᵀ/2 with a symmetric S, not separable."""

    def __init__(self, n):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        s = torch.randn(2 * n, 2 * n, generator=generator, dtype=torch.float64)
        self.s = 0.5 * (s + s.T)

    def forward(self, p, q):
        x = torch.cat([p, q], -1)
        return 0.5 * ((x @ self.s) * x).sum(-1)

    def gradients(self, p, q):
        by_x = torch.cat([p, q], -1) @ self.s
        return by_x[..., : p.shape[-1]], by_x[..., p.shape[-1] :]


def _swing(duration):
    """Pendula from the lowest point with different momenta, and where they are at the end."""
    p = torch.tensor([[0.3, 0.9, 1.6]], dtype=torch.float64)
    k = 0.5 * p
    sn, cn, _, _ = ellipj(duration, (k * k).numpy())
    after = 2.0 * k * torch.as_tensor(cn), 2.0 * torch.arcsin(k * torch.as_tensor(sn))
    return (p, torch.zeros_like(p)), after


def _twisted(duration):
    p, q = _phase_space(3)
    angle = 0.5 * (p * p + q * q).sum(-1, keepdim=True) * duration
    cos, sin = torch.cos(angle), torch.sin(angle)
    return (p, q), (p * cos - q * sin, q * cos + p * sin)


def _phase_space(n, n_frames=4, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(2, n_frames, n, generator=generator, dtype=torch.float64)


def _distance(one, other):
    return max(float((a - b).detach().abs().max()) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def learned(perturb):
    """learned(kind): a generating function with random weights."""

    def build(kind, dimension=6):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            generator = kind(dimension, hidden=10).double()
        perturb(generator, seed=4)
        return generator.requires_grad_(False)

    return build


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(
    ("generator", "integrator", "solution"),
    [(Pendulum(), LEAPFROG, _swing), (Pendulum(), MIDPOINT, _swing), (Twist(), MIDPOINT, _twisted)],
    ids=["pendulum, leapfrog", "pendulum, midpoint", "twist, midpoint"],
)
def test_the_error_falls_with_the_order_of_the_step(generator, integrator, solution, order):
    """Half the step, a 2^order-th of the error against the exact solution."""
    before, after = solution(2.0)
    errors = []
    for steps in (20, 40, 80):
        flow = ContinuousSymplectic(generator, integrator, 2.0, steps, order)
        errors.append(_distance(flow.push(*before), after))
    assert errors[-1] < 1e-3
    for coarse, fine in itertools.pairwise(errors):
        assert abs(math.log2(coarse / fine) - order) < 0.1


@pytest.mark.parametrize("order", [2, 4])
def test_leapfrog_and_midpoint_agree_as_the_step_vanishes(learned, order):
    generator = learned(SeparableNetwork)
    x = _phase_space(3)
    differences = []
    for steps in (8, 16, 32):
        ends = [
            ContinuousSymplectic(generator, integrator, 1.0, steps, order).push(*x)
            for integrator in (LEAPFROG, MIDPOINT)
        ]
        differences.append(_distance(*ends))
    assert _distance(ends[0], x) > 0.1
    for coarse, fine in itertools.pairwise(differences):
        assert abs(math.log2(coarse / fine) - order) < 0.3


@pytest.mark.parametrize("order", [2, 4])
def test_the_midpoint_rule_conserves_a_quadratic_function(order):
    generator = Quadratic(3)
    flow = ContinuousSymplectic(generator, MIDPOINT, 5.0, 50, order)
    x = _phase_space(3)
    moved = flow.push(*x)
    assert _distance(moved, x) > 0.1
    value = generator(*x)
    assert (generator(*moved) - value).abs().max() < 1e-12 * value.abs().max()


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(
    ("generator", "integrator"),
    [(Pendulum(), LEAPFROG), (Pendulum(), MIDPOINT), (Twist(), MIDPOINT)],
)
def test_a_long_flow_is_undone_to_rounding(generator, integrator, order):
    flow = ContinuousSymplectic(generator, integrator, 10.0, 200, order)
    x = _phase_space(3)
    moved = flow.push(*x)
    assert _distance(moved, x) > 0.1
    assert _distance(flow.pull(*moved), x) < 1e-11


@pytest.mark.parametrize("kind", [SeparableNetwork, GeneralNetwork])
@pytest.mark.parametrize("order", [2, 4])
def test_two_flows_on_end_are_one_of_twice_the_time(learned, kind, order):
    generator = learned(kind)
    once = ContinuousSymplectic(generator, MIDPOINT, 0.7, 3, order)
    twice = ContinuousSymplectic(generator, MIDPOINT, 1.4, 6, order)
    x = _phase_space(3)
    assert _distance(once.push(*once.push(*x)), twice.push(*x)) < 1e-13


def test_substeps_fill_the_step_and_are_the_same_backwards():
    for order in (2, 4):
        assert sum(substeps(order)) == pytest.approx(1.0, abs=1e-15)
        assert substeps(order) == substeps(order)[::-1]
    assert sum(part**3 for part in substeps(4)) == pytest.approx(0.0, abs=1e-14)


def test_the_gradient_of_the_network_by_hand_is_autograds(perturb):
    network = ScalarNetwork(5, 10).double()
    perturb(network, seed=5, size=1.0)
    x = _phase_space(5, n_frames=7)[0].requires_grad_(True)
    (expected,) = torch.autograd.grad(network(x).sum(), x)
    torch.testing.assert_close(network.gradient(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [SeparableNetwork, GeneralNetwork])
def test_gradients_of_generating_functions_are_those_of_their_values(learned, kind):
    generator = learned(kind)
    p, q = (part.requires_grad_(True) for part in _phase_space(3).unbind())
    expected = torch.autograd.grad(generator(p, q).sum(), (p, q))
    assert _distance(generator.gradients(p, q), expected) < 1e-12


def test_only_a_separable_function_has_gradients_that_do_not_mix(learned):
    (p, p_other), (q, q_other) = _phase_space(3, n_frames=2).unsqueeze(2)
    by_p, by_q = learned(SeparableNetwork).gradients(p, q)
    assert torch.equal(learned(SeparableNetwork).gradients(p, q_other)[0], by_p)
    assert torch.equal(learned(SeparableNetwork).gradients(p_other, q)[1], by_q)
    general = learned(GeneralNetwork)
    assert not torch.equal(general.gradients(p, q_other)[0], general.gradients(p, q)[0])


def test_weights_that_grow_without_bound_leave_the_function_bounded():
    network = ScalarNetwork(2, 10)
    with torch.no_grad():
        network.last.fill_(1e6)
    assert network(_phase_space(2)[0].float()).abs().max() <= 10 * WEIGHT_BOUND


def test_a_gradient_through_many_midpoint_steps_is_the_exact_solutions():
    """The end of the twist by its beginning."""
    (p, q), _ = _twisted(2.0)
    p.requires_grad_(True)
    flow = ContinuousSymplectic(Twist(), MIDPOINT, 2.0, 40, order=4)
    (found,) = torch.autograd.grad(flow.push(p, q)[1].sum(), p)
    angle = (p * p + q * q).sum(-1, keepdim=True)
    (expected,) = torch.autograd.grad((q * torch.cos(angle) + p * torch.sin(angle)).sum(), p)
    assert expected.abs().max() > 1.0
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_nothing_is_recorded_where_no_gradient_is_wanted(learned):
    flow = ContinuousSymplectic(learned(GeneralNetwork).requires_grad_(True))
    with torch.no_grad():
        moved = flow.push(*_phase_space(3))
    assert not moved[0].requires_grad
    assert flow.push(*_phase_space(3))[0].requires_grad
    assert _distance(moved, flow.push(*_phase_space(3))) < 1e-14


def test_leapfrog_refuses_a_function_that_is_not_separable():
    for generator in (GeneralNetwork(4), Twist()):
        with pytest.raises(OptionError, match=r"leapfrog integrates only a separable .*midpoint"):
            ContinuousSymplectic(generator, LEAPFROG)


@pytest.mark.parametrize("duration", [1.0, 1e3])
def test_a_step_of_any_size_has_the_gradient_of_cayleys_transform(duration):
    """For a quadratic G the step is (1 − ½hA)⁻¹(1 + ½hA), with A the matrix of the field."""
    generator = Quadratic(3)
    flow = ContinuousSymplectic(generator, MIDPOINT, duration=duration, steps=1)
    field = 0.5 * duration * generator.s @ symplectic_form(6)  # x → ½h ∇G J for rows x
    one = torch.eye(6, dtype=torch.float64)
    cayley = torch.linalg.solve(one - field, one + field)

    def push(x):
        return torch.cat(flow.push(x[None, :3], x[None, 3:]), -1)[0]

    x = torch.cat(list(_phase_space(3)), -1)[0]
    torch.testing.assert_close(push(x), x @ cayley)
    torch.testing.assert_close(torch.autograd.functional.jacobian(push, x), cayley.T)


@pytest.fixture
def steep(learned):
    """A flow whose step is too long for its G."""
    generator = learned(GeneralNetwork)
    with torch.no_grad():
        generator.network.first.weight *= 20.0
    return ContinuousSymplectic(generator, MIDPOINT, duration=4.0, steps=2)


def test_a_midpoint_rule_that_does_not_converge_is_told(steep):
    x = _phase_space(3, n_frames=50)
    with pytest.raises(OptionError, match=r"not converge with a time step of 2: .*`integrat"):
        steep.push(*x)
    with pytest.raises(OptionError, match="the midpoint rule does not converge"):
        steep.pull(*x)


def test_a_flow_is_refined_until_it_can_be_integrated(steep):
    x = _phase_space(3, n_frames=50)
    moved = refined(steep, lambda: steep.push(*x))
    assert 2 < steep.steps <= MOST_STEPS
    assert _distance(refined(steep, lambda: steep.pull(*moved)), x) < 1e-10
    again = ContinuousSymplectic(steep.generator, MIDPOINT, duration=4.0, steps=2)
    again.load_state_dict(steep.state_dict())
    assert again.steps == steep.steps


def test_refinement_ends(steep):
    tries = []

    def fail():
        tries.append(steep.steps)
        raise MidpointError("never")

    with pytest.raises(MidpointError, match="never"):
        refined(steep, fail)
    assert tries == [2 * 2**k for k in range(len(tries))]
    assert tries[-1] == MOST_STEPS
    with pytest.raises(MidpointError, match="never"):  # nothing to refine
        refined(torch.nn.Identity(), fail)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 3}, "`order` must be 2 or 4; got 3"),
        ({"order": 0}, "`order` must be 2 or 4; got 0"),
        ({"steps": 0}, "a positive duration and at least one step; got 1.0 and 0"),
        ({"duration": 0.0}, "a positive duration and at least one step; got 0.0 and 4"),
        ({"duration": -1.0}, "got -1.0 and 4"),
        ({"duration": float("inf")}, "got inf and 4"),
        ({"duration": float("nan")}, "got nan and 4"),
    ],
)
def test_options_without_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        ContinuousSymplectic(Pendulum(), **options)


@pytest.mark.parametrize("kind", [SeparableNetwork, GeneralNetwork])
@pytest.mark.parametrize("dimension", [5, 0])
def test_a_phase_space_without_pairs_is_refused(kind, dimension):
    with pytest.raises(OptionError, match=f"a phase space has 2n dimensions.* got {dimension}$"):
        kind(dimension)
