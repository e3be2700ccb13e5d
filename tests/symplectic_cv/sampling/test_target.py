"""The target in latent variables: its weight, its slope, its two directions."""

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
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.training.variational import VariationalOptions, prepare_variational


@pytest.fixture(params=["coordinates", "phase space"])
def target(request, perturb):
    """Ringworld under a point flow, or a double well under a flow that mixes momenta."""
    if request.param == "coordinates":
        options = VariationalOptions(flow=FlowOptions(layers=2, hidden=6))
        model = prepare_variational(Ringworld(), options).model
        perturb(model, seed=2, size=0.2)
        return LatentTarget(model, ReducedHamiltonian(Ringworld(), 1.5))
    flow = Composition([LinearSymplectic(2)])
    perturb(flow, seed=3, size=0.2)
    model = PhaseSpaceModel(
        flow, HarmonicPrior(torch.full((1,), 1.7)), FlowOptions(flow=Flow.LINEAR)
    )
    return LatentTarget(model, ReducedHamiltonian(DoubleWell(), 0.8))


def draws(target, n=7):
    return target.draw(n, torch.Generator().manual_seed(0))


def test_encode_inverts_decode_with_the_same_weight(target):
    u = draws(target)
    there = target.decode(u)
    back = target.encode(there.x.detach())
    for name in ("u", "log_likelihood", "energy", "log_weight"):
        torch.testing.assert_close(
            getattr(back, name), getattr(there, name), rtol=1e-9, atol=1e-9, msg=name
        )


def test_the_weight_is_the_density_of_the_target_over_that_of_the_model(target):
    """ln w = −βH − ln ρ, with ln ρ from the model itself."""
    points = target.decode(draws(target))
    n, model = target.model.dimension, target.model
    x = points.x.detach() / math.sqrt(target.reduced.scale)
    if target.only_coordinates:
        energy = target.reduced.beta * target.reduced.hamiltonian.potential(x)
        log_likelihood = model.log_likelihood_coordinates(points.x.detach())
    else:
        energy = target.reduced.beta * target.reduced.hamiltonian.energy(x[:, :n], x[:, n:])
        log_likelihood = model(points.x[:, :n].detach(), points.x[:, n:].detach())
    torch.testing.assert_close(points.log_likelihood, log_likelihood, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(points.log_weight, -energy - log_likelihood, rtol=1e-9, atol=1e-9)


def test_the_slope_is_that_of_finite_differences(target):
    u, step = draws(target, 3), 1e-6
    _, slope = target.slope(u)
    for place in range(u.shape[1]):
        shift = torch.zeros_like(u)
        shift[:, place] = step
        up, down = (target.decode(u + sign * shift).log_weight for sign in (1.0, -1.0))
        torch.testing.assert_close(
            slope[:, place], ((up - down) / (2.0 * step)).detach(), rtol=1e-5, atol=1e-5
        )


def test_the_density_of_the_target_does_not_depend_on_the_flow(target):
    x = target.decode(draws(target)).x.detach()
    wide = gaussian_model(target.model.dimension, 3.0)
    other = LatentTarget(wide, target.reduced, only_coordinates=target.only_coordinates)
    torch.testing.assert_close(other.log_density(x), target.log_density(x), rtol=1e-12, atol=1e-12)


def test_points_are_chosen_one_by_one(target):
    here, there = target.decode(draws(target)), target.encode(0.5 * draws(target))
    chosen = torch.tensor([True, False] * 3 + [True])
    mixed = here.where(chosen, there)
    for name, value in mixed.parts().items():
        assert torch.equal(value[chosen], getattr(here, name)[chosen])
        assert torch.equal(value[~chosen], getattr(there, name)[~chosen])
    assert len(mixed[1:4]) == 3


def test_another_number_of_coordinates_is_refused():
    with pytest.raises(OptionError, match="ringworld has 2 coordinates, the model 1"):
        LatentTarget(gaussian_model(1, 1.0), ReducedHamiltonian(Ringworld()))
