"""Single moves: their proposals and decisions, reversibility, order of error, adaptation."""

import math

import pytest
import torch
from gaussian_models import gaussian_model

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.canonical import Composition
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.flows.options import Flow, FlowOptions
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.sampling.moves import (
    DYNAMICS_STEPS,
    CrankNicolson,
    Independence,
    LatentHamiltonian,
    ShortDynamics,
    decide,
)
from symplectic_cv.sampling.target import LatentTarget


@pytest.fixture
def target():
    """Ringworld under a Gaussian that is too wide."""
    return LatentTarget(gaussian_model(2, 1.7, 0.3), ReducedHamiltonian(Ringworld()))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def start(target, n=16):
    return target.decode(target.draw(n, generator()))


def test_a_decision_takes_the_better_point_and_never_one_without_weight(target):
    here = start(target)
    there = target.encode(here.x.detach() * 0.9)
    worthless = there.log_weight.clone()
    worthless[::2] = -math.inf
    there = type(there)(**{**there.parts(), "log_weight": worthless})
    step = decide(here, there, torch.full((16,), 1.0, dtype=torch.float64), generator())
    assert step.accepted.tolist() == [False, True] * 8
    assert step.chance.tolist() == [0.0, 1.0] * 8
    assert torch.equal(step.points.u[1], there.u[1])
    assert torch.equal(step.points.u[0], here.u[0])


@pytest.mark.statistical
def test_decisions_have_their_probability(target):
    here = start(target, 1)[torch.zeros(40_000, dtype=torch.int64)]
    step = decide(here, here, torch.full((40_000,), math.log(0.3)).double(), generator(1))
    share = float(step.accepted.double().mean())
    assert abs(share - 0.3) < 4.0 * math.sqrt(0.3 * 0.7 / 40_000)


def test_crank_nicolson_proposes_what_leaves_the_gaussian_invariant(target):
    """u' = √(1−s²) u + s ξ for the noise that its generator gives."""
    move = CrankNicolson(target)
    move.size = 0.6
    here = start(target)
    step = move.step(here, generator(4))
    noise = target.draw(16, generator(4))
    proposed = 0.8 * here.u + 0.6 * noise
    moved = step.points.u[step.accepted]
    assert 0 < len(moved) < 16
    torch.testing.assert_close(moved, proposed[step.accepted])
    ratio = target.decode(proposed).log_weight - here.log_weight
    torch.testing.assert_close(step.chance, ratio.clamp(max=0.0).exp())


def test_the_largest_step_of_crank_nicolson_is_the_independence_sampler(target):
    move = CrankNicolson(target)
    move.size = 1.0
    here = start(target)
    local, global_ = move.step(here, generator(5)), Independence(target).step(here, generator(5))
    torch.testing.assert_close(local.points.u, global_.points.u)
    assert torch.equal(local.accepted, global_.accepted)
    torch.testing.assert_close(
        global_.proposed, target.decode(target.draw(16, generator(5))).log_weight
    )


def test_velocity_verlet_is_reversible(target):
    """With the momenta turned round the dynamics lead back, and the energy change changes sign."""
    move = ShortDynamics(target)
    move.size = 0.03
    x = start(target, 5).x.detach()

    class Given:
        """torch.randn that gives known momenta."""

        def __init__(self, monkey, p):
            monkey.setattr(torch, "randn", lambda *_, **__: p.clone())

    with pytest.MonkeyPatch.context() as monkey:
        p = torch.linspace(-1.0, 1.0, 10, dtype=torch.float64).reshape(5, 2)
        Given(monkey, p)
        there, change = move._verlet(x, generator())
        # the momenta at the end, from a step further and back of the same map
        momenta = _verlet_momenta(move, x, p)
        Given(monkey, -momenta)
        back, change_back = move._verlet(there, generator())
    torch.testing.assert_close(back, x, rtol=0.0, atol=1e-10)
    torch.testing.assert_close(change_back, -change, rtol=0.0, atol=1e-10)


def _verlet_momenta(move, x, p):
    """Momenta after the steps of velocity Verlet, written by hand for ln π = −V(x)."""

    def force(x):
        x = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(-Ringworld().potential(x).sum(), x)
        return slope

    for _ in range(DYNAMICS_STEPS):
        p = p + 0.5 * move.size * force(x)
        x = x + move.size * p
        p = p + 0.5 * move.size * force(x)
    return p


def test_the_error_of_latent_dynamics_falls_with_the_square_of_the_step(target):
    """Half the step size rejects about a quarter as many of the same moves."""
    here, rejected = start(target, 400), []
    for size in (0.08, 0.04):
        move = LatentHamiltonian(target)
        move.size = size
        rejected.append(float((1.0 - move.step(here, generator(7)).chance).mean()))
    assert rejected[1] < 0.35 * rejected[0]


@pytest.mark.parametrize("goal", [0.3, 0.75])
def test_a_step_size_goes_towards_its_goal_by_a_falling_gain(target, goal):
    move = LatentHamiltonian(target)
    move.goal = goal
    sizes = []
    for before in (0, 100):
        for chance in (goal + 0.2, goal, goal - 0.2):
            move.size = 0.1
            move.adapt(torch.full((8,), chance), before)
            sizes.append(move.size)
    larger, same, smaller = sizes[:3]
    assert larger > 0.1 > smaller
    assert same == pytest.approx(0.1)
    assert larger * smaller == pytest.approx(0.01)
    assert 0.1 < sizes[3] < larger


def test_short_dynamics_need_a_flow_of_coordinates_alone():
    flow = Composition([LinearSymplectic(2)])
    model = PhaseSpaceModel(flow, HarmonicPrior(torch.ones(1)), FlowOptions(flow=Flow.LINEAR))
    with pytest.raises(OptionError, match="`method` hybrid: its dynamics needs"):
        ShortDynamics(LatentTarget(model, ReducedHamiltonian(DoubleWell())))
