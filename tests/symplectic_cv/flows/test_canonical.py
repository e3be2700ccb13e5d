"""Every transformation of phase space through the same identities, float64, random weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.build import build_flow, mode_halves
from symplectic_cv.flows.canonical import (
    CanonicalTransformation,
    Composition,
    half_dimension,
    split_phase_space,
    symplectic_defect,
    symplectic_form,
)
from symplectic_cv.flows.continuous import (
    ContinuousSymplectic,
    GeneralNetwork,
    Integrator,
    SeparableNetwork,
)
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.layers import ModeOrder, NormalModes, PointLayer, Rotation
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.flows.options import Coupling, Flow, FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.flows.spline import SplineCoupling

HIDDEN = 12
REACH = 2.0
"""Coordinates are drawn up to this many spreads; it is half the period of the angles."""
INTERVAL = 1.5
"""Half-length of the splines' intervals in spreads: a quarter of the coordinates lies outside."""


def _spread(n):
    return torch.logspace(0.0, -1.5, n, dtype=torch.float64)


def _modes(n):
    generator = torch.Generator().manual_seed(n)
    square = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return NormalModes(torch.linalg.qr(square).Q, 0.1 * torch.arange(n, dtype=torch.float64))


def _affine(n, place=0):
    return AffineCoupling(*mode_halves(n, place), _spread(n), HIDDEN)


def _uneven():
    return AffineCoupling(torch.tensor([4, 0]), torch.tensor([2, 5, 1, 3]), _spread(6), HIDDEN)


def _spline(n, place=0, bins=5):
    return SplineCoupling(*mode_halves(n, place), INTERVAL * _spread(n), HIDDEN, bins)


def _angles(n, place=0, angles=None):
    """A spline coupling of which the named coordinates, or all of them, are angles."""
    circular = torch.zeros(n, dtype=torch.bool)
    circular[list(range(n)) if angles is None else angles] = True
    half_width = torch.where(circular, REACH, INTERVAL) * _spread(n)
    return SplineCoupling(*mode_halves(n, place), half_width, HIDDEN, 5, circular)


def _point(*layers):
    return PointTransformation(layers)


def _built(n, **options):
    return build_flow(FlowOptions(hidden=HIDDEN, **options), _modes(n), _spread(n))


def _continuous(network, integrator, order, n=3):
    return ContinuousSymplectic(network(2 * n, HIDDEN), integrator, steps=3, order=order)


TRANSFORMATIONS = {
    "empty chain of layers": (4, lambda: _point()),
    "normal modes, odd": (5, lambda: _point(_modes(5))),
    "normal modes, even": (6, lambda: _point(_modes(6))),
    "mode order": (5, lambda: _point(ModeOrder(torch.tensor([3, 0, 4, 2, 1])))),
    "rotation": (5, lambda: _point(Rotation(5))),
    "affine coupling, odd": (5, lambda: _point(_affine(5))),
    "affine coupling, odd, swapped": (5, lambda: _point(_affine(5, place=1))),
    "affine coupling, even": (6, lambda: _point(_affine(6))),
    "affine coupling, unordered halves": (6, lambda: _point(_uneven())),
    "affine coupling, one coordinate": (1, lambda: _point(_affine(1))),
    "spline, interval, odd": (5, lambda: _point(_spline(5))),
    "spline, interval, even, swapped": (6, lambda: _point(_spline(6, place=1))),
    "spline, interval, one coordinate": (1, lambda: _point(_spline(1))),
    "spline, two bins": (4, lambda: _point(_spline(4, bins=2))),
    "spline, circle": (5, lambda: _point(_angles(5))),
    "spline, circle, one angle": (1, lambda: _point(_angles(1))),
    "spline, mixed": (6, lambda: _point(_angles(6, angles=[0, 2, 5]))),
    "spline, kept angles only": (4, lambda: _point(_angles(4, angles=[0, 1]))),
    "spline, moved angles only": (4, lambda: _point(_angles(4, angles=[2, 3]))),
    "chain of torsions": (4, lambda: _point(*(_angles(4, k) for k in range(4)))),
    "built flow, 2 coordinates": (2, lambda: _built(2, layers=2)),
    "built flow, 3 atoms": (3, lambda: _built(3, layers=3)),
    "built flow, odd": (9, lambda: _built(9, layers=4)),
    "built flow, even": (6, lambda: _built(6, layers=5)),
    "built flow, splines": (
        4,
        lambda: _built(4, layers=2, coupling=Coupling.SPLINE, rotation=True),
    ),
    "built flow, linear": (4, lambda: _built(4, flow=Flow.LINEAR)),
    "built flow, continuous": (3, lambda: _built(3, flow=Flow.CONTINUOUS)),
    "splines between rotations": (
        4,
        lambda: _point(Rotation(4), _spline(4), Rotation(4), _spline(4, 1), _affine(4)),
    ),
    "linear, general": (4, lambda: LinearSymplectic(8)),
    "linear, orthogonal": (4, lambda: LinearSymplectic(8, orthogonal=True)),
    "linear, one coordinate": (1, lambda: LinearSymplectic(2)),
    "leapfrog, order 2": (3, lambda: _continuous(SeparableNetwork, Integrator.LEAPFROG, 2)),
    "leapfrog, order 4": (3, lambda: _continuous(SeparableNetwork, Integrator.LEAPFROG, 4)),
    "midpoint, separable, order 2": (
        3,
        lambda: _continuous(SeparableNetwork, Integrator.MIDPOINT, 2),
    ),
    "midpoint, separable, order 4": (
        3,
        lambda: _continuous(SeparableNetwork, Integrator.MIDPOINT, 4),
    ),
    "midpoint, general, order 2": (3, lambda: _continuous(GeneralNetwork, Integrator.MIDPOINT, 2)),
    "midpoint, general, order 4": (3, lambda: _continuous(GeneralNetwork, Integrator.MIDPOINT, 4)),
    "empty composition": (2, lambda: Composition([])),
    "composition: normal modes, linear, affine couplings": (
        5,
        lambda: Composition(
            [_point(_modes(5)), LinearSymplectic(10), _point(_affine(5), _affine(5, 1))]
        ),
    ),
    "composition: linear, splines, leapfrog": (
        4,
        lambda: Composition(
            [
                LinearSymplectic(8, orthogonal=True),
                _point(_spline(4), _spline(4, 1)),
                _continuous(SeparableNetwork, Integrator.LEAPFROG, 4, n=4),
            ]
        ),
    ),
    "composition: midpoint, rotation, linear": (
        3,
        lambda: Composition(
            [
                _continuous(GeneralNetwork, Integrator.MIDPOINT, 2),
                _point(Rotation(3)),
                LinearSymplectic(6),
            ]
        ),
    ),
    "composition of compositions": (
        3,
        lambda: Composition(
            [
                Composition([LinearSymplectic(6), _point(_affine(3))]),
                Composition([_continuous(GeneralNetwork, Integrator.MIDPOINT, 4)]),
                _point(_spline(3)),
            ]
        ),
    ),
}


def _unperturbed(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TRANSFORMATIONS[name][1]()


def _learned(name):
    return bool(list(_unperturbed(name).parameters()))


def _starts_as_identity(name):
    fixed = (NormalModes, ModeOrder)
    modules = _unperturbed(name).modules()
    return _learned(name) and not any(isinstance(module, fixed) for module in modules)


POINT = [name for name in TRANSFORMATIONS if isinstance(_unperturbed(name), PointTransformation)]
SINGLE_LAYERS = [name for name in POINT if len(_unperturbed(name).layers) == 1]
LEARNED = [name for name in TRANSFORMATIONS if _learned(name)]
IDENTICAL_AT_START = [name for name in TRANSFORMATIONS if _starts_as_identity(name)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("built flow, odd", AffineCoupling),
        ("built flow, splines", SplineCoupling),
        ("built flow, linear", LinearSymplectic),
        ("built flow, continuous", ContinuousSymplectic),
    ],
)
def test_a_built_flow_is_of_the_kind_its_name_says(name, kind):
    kinds = {AffineCoupling, SplineCoupling, LinearSymplectic, ContinuousSymplectic}
    found = {type(module) for module in _unperturbed(name).modules()} & kinds
    assert found == ({kind, LinearSymplectic} if kind is ContinuousSymplectic else {kind})


@pytest.fixture(scope="module")
def build(perturb):
    """build(name): (transformation with random weights, n)."""

    def random_weights(name):
        module = _unperturbed(name).double()
        perturb(module, seed=1, size=0.25)
        return module.requires_grad_(False), TRANSFORMATIONS[name][0]

    return random_weights


@pytest.fixture(params=TRANSFORMATIONS)
def transformation(request, build):
    return build(request.param)


@pytest.fixture(params=POINT)
def point(request, build):
    return build(request.param)


@pytest.fixture(params=SINGLE_LAYERS)
def layer(request, build):
    flow, n = build(request.param)
    return flow.layers[0], n


def _phase_space(n, n_frames=4, seed=3):
    """Momenta and coordinates: within the circles, within and outside of the intervals."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(n_frames, n, generator=generator, dtype=torch.float64)
    q = 2.0 * torch.rand(n_frames, n, generator=generator, dtype=torch.float64) - 1.0
    return p, REACH * _spread(n) * q


class Inverse(CanonicalTransformation):
    """The inverse of a transformation as a transformation of its own."""

    def __init__(self, transformation):
        super().__init__()
        self.push = transformation.pull
        self.pull = transformation.push


class Stretch(CanonicalTransformation):
    """Not canonical: stretches the coordinates and leaves the momenta alone."""

    def push(self, p, q):
        return p, 2.0 * q


def test_phase_space_is_mapped_canonically_both_ways(transformation):
    """M J Mᵀ = J."""
    transformation, n = transformation
    x = torch.cat(_phase_space(n), -1)
    assert symplectic_defect(transformation, x) < 1e-10
    assert symplectic_defect(Inverse(transformation), x) < 1e-10


def test_phase_space_volume_is_kept(transformation):
    """ln|det M| = 0."""
    transformation, n = transformation
    for x in torch.cat(_phase_space(n), -1):
        m = jacobian(lambda y: torch.cat(transformation.push(*split_phase_space(y)), -1), x[None])
        assert abs(float(torch.linalg.slogdet(m[0, :, 0])[1])) < 1e-10


def test_pull_undoes_push_both_ways(transformation):
    transformation, n = transformation
    p, q = _phase_space(n, n_frames=20)
    p_back, q_back = transformation.pull(*transformation.push(p, q))
    torch.testing.assert_close(p_back, p, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q_back, q, rtol=1e-10, atol=1e-10)
    p_again, q_again = transformation.push(*transformation.pull(p, q))
    torch.testing.assert_close(p_again, p, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q_again, q, rtol=1e-10, atol=1e-10)


def test_any_batch_shape_gives_the_same_numbers(transformation):
    transformation, n = transformation
    p, q = _phase_space(n, n_frames=6)
    for direction in (transformation.push, transformation.pull):
        together = direction(p, q)
        folded = direction(p.reshape(2, 3, n), q.reshape(2, 3, n))
        alone = [direction(p[k : k + 1], q[k : k + 1]) for k in range(6)]
        for one, other, singles in zip(together, folded, zip(*alone, strict=True), strict=True):
            assert other.shape == (2, 3, n)
            torch.testing.assert_close(other.reshape(6, n), one, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(torch.cat(singles), one, rtol=1e-12, atol=1e-12)


def test_single_precision_stays_single_and_near_double(transformation):
    transformation, n = transformation
    p, q = _phase_space(n)
    expected = [*transformation.push(p, q), *transformation.pull(p, q)]
    transformation = transformation.float()
    p, q = p.float(), q.float()
    for found, exact in zip(
        [*transformation.push(p, q), *transformation.pull(p, q)], expected, strict=True
    ):
        assert found.dtype == torch.float32
        # some hundred roundings of 6e-8 each, of the largest number that occurs
        scale = max(1.0, float(exact.abs().max()))
        assert (found - exact).abs().max() < 1e-4 * scale


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_by_the_weights_match_finite_differences(build, name):
    """One random direction within each tensor of weights, pushing and pulling."""
    transformation, n = build(name)
    transformation.requires_grad_(True)
    p, q = _phase_space(n)
    on_p, on_q = _phase_space(n, seed=4)

    def loss():
        pushed, pulled = transformation.push(p, q), transformation.pull(p, q)
        return sum((on_p * a).mean() + (on_q * b).mean() for a, b in (pushed, pulled))

    parameters = list(transformation.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    assert max(float(gradient.abs().max()) for gradient in gradients if gradient.numel()) > 1e-3
    generator = torch.Generator().manual_seed(5)
    h = 2e-6
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if not parameter.numel():
                continue
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            direction /= direction.norm()
            parameter += h * direction
            above = loss()
            parameter -= 2 * h * direction
            below = loss()
            parameter += h * direction
            expected = float((above - below) / (2 * h))
            found = float((gradient * direction).sum())
            assert abs(found - expected) < 1e-6 * max(1.0, abs(expected))


@pytest.mark.parametrize("name", IDENTICAL_AT_START)
def test_what_is_learned_starts_as_the_identity(name):
    transformation = _unperturbed(name).double()
    p, q = _phase_space(TRANSFORMATIONS[name][0])
    for p_new, q_new in (transformation.push(p, q), transformation.pull(p, q)):
        torch.testing.assert_close(p_new, p, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(q_new, q, rtol=1e-13, atol=1e-13)


def test_momenta_are_pushed_by_their_definition(point):
    """P = p · ∂q/∂Q, with the Jacobian of the inverse by autograd."""
    flow, n = point
    p, q = _phase_space(n)
    p_new, q_new = flow.push(p, q)
    for k in range(len(q)):
        inverse = jacobian(lambda x: flow.inverse(x.unsqueeze(0))[0][0], q_new[k])
        torch.testing.assert_close(p_new[k], p[k] @ inverse, rtol=1e-10, atol=1e-10)


def test_log_determinants_are_those_of_the_jacobian(point):
    flow, n = point
    _, q = _phase_space(n)
    latent, log_det = flow(q)
    _, log_det_back = flow.inverse(latent)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-10, atol=1e-10)
    for k in range(len(q)):
        forward = jacobian(lambda x: flow(x.unsqueeze(0))[0][0], q[k])
        backward = jacobian(lambda x: flow.inverse(x.unsqueeze(0))[0][0], latent[k])
        assert abs(float(torch.linalg.slogdet(forward)[1] - log_det[k])) < 1e-10
        assert abs(float(torch.linalg.slogdet(backward)[1] - log_det_back[k])) < 1e-10


def test_pushing_with_the_volume_is_pushing_and_the_volume(point):
    flow, n = point
    p, q = _phase_space(n)
    p_new, q_new, log_det = flow.push_with_volume(p, q)
    latent, expected = flow(q)
    for found, other in zip((p_new, q_new), flow.push(p, q), strict=True):
        assert torch.equal(found, other)
    torch.testing.assert_close(q_new, latent, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(log_det, expected, rtol=1e-14, atol=1e-14)
    folded = flow.push_with_volume(p.reshape(2, 2, n), q.reshape(2, 2, n))[2]
    torch.testing.assert_close(folded, log_det.reshape(2, 2), rtol=1e-13, atol=1e-13)


def test_coordinates_alone_go_there_and_back(point):
    flow, n = point
    _, q = _phase_space(n, n_frames=10)
    torch.testing.assert_close(flow.inverse(flow(q)[0])[0], q, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(flow(flow.inverse(q)[0])[0], q, rtol=1e-10, atol=1e-10)


def test_the_reverse_pass_by_hand_is_autograds(layer):
    layer, n = layer
    cotangent, q = _phase_space(n)
    q = q.requires_grad_(True)
    output = layer(q)[0]
    (expected,) = torch.autograd.grad((output * cotangent).sum(), q)
    recorded, tape = layer.record(q.detach())
    torch.testing.assert_close(recorded, output.detach(), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(layer.pull_back(cotangent, tape), expected, rtol=1e-10, atol=1e-10)


def test_a_layers_own_pull_is_the_inverse_and_its_reverse_pass(layer):
    layer, n = layer
    p, q = _phase_space(n)
    for found, expected in zip(layer.pull(p, q), PointLayer.pull(layer, p, q), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


class EveryMethod(nn.Module):
    """The results of all methods of a layer, so that TorchScript compiles each."""

    def __init__(self, layer: PointLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, p: Tensor, q: Tensor) -> list[Tensor]:
        recorded, tape = self.layer.record(q)
        results = [recorded, self.layer.pull_back(p, tape)]
        results += list(self.layer(q))
        results += list(self.layer.inverse(q))
        results += list(self.layer.push(p, q))
        results += list(self.layer.pull(p, q))
        return results


def test_a_layer_compiled_by_torchscript_gives_the_same_numbers(layer):
    layer, n = layer
    p, q = _phase_space(n)
    module = EveryMethod(layer)
    compiled = torch.jit.script(module)
    for _ in range(3):  # the first calls are profiled, later ones optimised
        for found, expected in zip(compiled(p, q), module(p, q), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_parts_of_a_composition_act_in_their_order(build):
    first, n = build("composition: midpoint, rotation, linear")
    second, _ = build("built flow, 3 atoms")
    x = _phase_space(n)
    chain = Composition([first, second])
    for found, expected in zip(chain.push(*x), second.push(*first.push(*x)), strict=True):
        assert torch.equal(found, expected)
    for found, expected in zip(chain.pull(*x), first.pull(*second.pull(*x)), strict=True):
        assert torch.equal(found, expected)


def test_the_symplectic_form_pairs_each_coordinate_with_its_momentum():
    form = symplectic_form(4)
    x, y = torch.randn(2, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    (p, q), (p_other, q_other) = split_phase_space(x), split_phase_space(y)
    torch.testing.assert_close(x @ form @ y, p @ q_other - q @ p_other, rtol=1e-14, atol=1e-14)


def test_the_defect_tells_a_map_that_is_not_canonical():
    assert symplectic_defect(Stretch(), torch.zeros(1, 6, dtype=torch.float64)) == 0.5


@pytest.mark.parametrize("dimension", [-2, 0, 3])
def test_a_phase_space_has_pairs_of_dimensions(dimension):
    with pytest.raises(OptionError, match=f"one momentum for each coordinate; got {dimension}"):
        half_dimension(dimension)
