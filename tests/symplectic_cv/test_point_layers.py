"""Every layer and flow through the same identities, in float64 with random weights."""

import pytest
import torch
from torch.autograd.functional import jacobian

from symplectic_cv.coupling import SCALE_BOUND, AffineCoupling, Conditioner
from symplectic_cv.errors import FrameError
from symplectic_cv.flow import PointTransformation, coupling_flow, quasi_harmonic_start
from symplectic_cv.layers import ModeOrder, NormalModes

HIDDEN = 12


def _rotation(n):
    generator = torch.Generator().manual_seed(n)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q


def _spread(n):
    return torch.logspace(0.0, -1.5, n, dtype=torch.float64)


def _modes(n):
    return NormalModes(_rotation(n), 0.1 * torch.arange(n, dtype=torch.float64))


def _affine(n, swapped=False):
    halves = torch.arange(0, n, 2), torch.arange(1, n, 2)
    kept, moved = reversed(halves) if swapped else halves
    return AffineCoupling(kept, moved, _spread(n), HIDDEN)


def _uneven():
    return AffineCoupling(torch.tensor([4, 0]), torch.tensor([2, 5, 1, 3]), _spread(6), HIDDEN)


LAYERS = {
    "normal modes, odd": lambda: _modes(5),
    "normal modes, even": lambda: _modes(6),
    "mode order": lambda: ModeOrder(torch.tensor([3, 0, 4, 2, 1])),
    "affine coupling, odd": lambda: _affine(5),
    "affine coupling, odd, swapped": lambda: _affine(5, swapped=True),
    "affine coupling, even": lambda: _affine(6),
    "affine coupling, unordered halves": _uneven,
}
FLOWS = {
    "empty chain": lambda: PointTransformation([]),
    "coupling flow, 3 atoms": lambda: coupling_flow(_modes(3), _spread(3), 3, HIDDEN),
    "coupling flow, odd": lambda: coupling_flow(_modes(9), _spread(9), 4, HIDDEN),
    "coupling flow, even": lambda: coupling_flow(_modes(6), _spread(6), 5, HIDDEN),
}


def _dimension(module):
    for buffer in module.buffers():
        return buffer.shape[0]
    return 4


def _build(constructor, perturb):
    module = constructor().double()
    # every second buffer size says n only for the linear layers, so ask the coupling itself
    n = _dimension(module)
    if isinstance(module, AffineCoupling):
        n = module.merge.shape[0]
    perturb(module, seed=1, size=0.4)
    return module.requires_grad_(False), n


@pytest.fixture(params=[*LAYERS, *FLOWS])
def transformation(request, perturb):
    """(point transformation, n), single layers wrapped into a chain of one."""
    if request.param in FLOWS:
        return _build(FLOWS[request.param], perturb)
    layer, n = _build(LAYERS[request.param], perturb)
    return PointTransformation([layer]), n


@pytest.fixture(params=LAYERS)
def layer(request, perturb):
    return _build(LAYERS[request.param], perturb)


def _phase_space(n, n_frames=4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, n_frames, n, generator=generator, dtype=torch.float64)
    return p, q * _spread(n)


def test_phase_space_is_mapped_canonically(transformation):
    """M J Mᵀ = J."""
    flow, n = transformation

    def mapped(z):
        p_new, q_new, _ = flow.push(z[:, :n], z[:, n:])
        return torch.cat([p_new, q_new], -1)[0]

    zero, one = torch.zeros(n, n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    symplectic = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])
    for p, q in zip(*_phase_space(n), strict=True):
        m = jacobian(mapped, torch.cat([p, q]).unsqueeze(0))[:, 0]
        # entries of M grow with the inverse of the spread: rounding is relative to them
        scale = max(1.0, float(m.abs().max()))
        assert (m @ symplectic @ m.T - symplectic).abs().max() < 1e-10 * scale
        assert abs(float(torch.linalg.slogdet(m)[1])) < 1e-10


def test_the_inverse_undoes_the_map_both_ways(transformation):
    flow, n = transformation
    _, q = _phase_space(n, n_frames=10)
    latent, log_det = flow(q)
    back, log_det_back = flow.inverse(latent)
    torch.testing.assert_close(back, q, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-10, atol=1e-10)
    source, _ = flow.inverse(q)
    torch.testing.assert_close(flow(source)[0], q, rtol=1e-10, atol=1e-10)


def test_log_determinants_are_those_of_the_jacobian(transformation):
    flow, n = transformation
    _, q = _phase_space(n)
    latent, log_det = flow(q)
    _, log_det_back = flow.inverse(latent)
    for k in range(len(q)):
        forward = jacobian(lambda x: flow(x.unsqueeze(0))[0][0], q[k])
        backward = jacobian(lambda x: flow.inverse(x.unsqueeze(0))[0][0], latent[k])
        assert abs(float(torch.linalg.slogdet(forward)[1] - log_det[k])) < 1e-10
        assert abs(float(torch.linalg.slogdet(backward)[1] - log_det_back[k])) < 1e-10


def test_momenta_are_pushed_by_their_definition(transformation):
    """P = p · ∂q/∂Q, with the Jacobian of the inverse by autograd."""
    flow, n = transformation
    p, q = _phase_space(n)
    p_new, q_new, log_det = flow.push(p, q)
    expected, expected_log_det = flow(q)
    torch.testing.assert_close(q_new, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-14, atol=1e-14)
    for k in range(len(q)):
        inverse = jacobian(lambda x: flow.inverse(x.unsqueeze(0))[0][0], q_new[k])
        torch.testing.assert_close(p_new[k], p[k] @ inverse, rtol=1e-10, atol=1e-10)


def test_pull_undoes_push_both_ways(transformation):
    flow, n = transformation
    p, q = _phase_space(n, n_frames=10)
    p_new, q_new, _ = flow.push(p, q)
    p_back, q_back = flow.pull(p_new, q_new)
    torch.testing.assert_close(p_back, p, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q_back, q, rtol=1e-10, atol=1e-10)
    p_source, q_source = flow.pull(p, q)
    p_again, q_again, _ = flow.push(p_source, q_source)
    torch.testing.assert_close(p_again, p, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(q_again, q, rtol=1e-10, atol=1e-10)


def test_the_reverse_pass_by_hand_is_autograds(layer):
    layer, n = layer
    cotangent, q = _phase_space(n)
    q = q.requires_grad_(True)
    output = layer(q)[0]
    (expected,) = torch.autograd.grad((output * cotangent).sum(), q)
    recorded, tape = layer.record(q.detach())
    torch.testing.assert_close(recorded, output.detach(), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(layer.pull_back(cotangent, tape), expected, rtol=1e-10, atol=1e-10)


def test_any_batch_shape_gives_the_same_numbers(transformation):
    flow, n = transformation
    p, q = _phase_space(n, n_frames=6)
    together = flow.push(p, q)
    folded = flow.push(p.reshape(2, 3, n), q.reshape(2, 3, n))
    assert folded[2].shape == (2, 3)
    for one, other in zip(together, folded, strict=True):
        torch.testing.assert_close(other.reshape(one.shape), one, rtol=1e-13, atol=1e-13)


def test_couplings_start_as_the_identity_behind_the_normal_modes():
    modes = _modes(6)
    flow = coupling_flow(modes, _spread(6), 4, HIDDEN).double()
    _, q = _phase_space(6)
    latent, log_det = flow(q)
    torch.testing.assert_close(latent, modes(q)[0], rtol=1e-14, atol=1e-14)
    assert torch.equal(log_det, torch.zeros(4, dtype=torch.float64))


def test_every_coordinate_meets_every_other_in_the_flow(perturb):
    """No coordinate is left out: ∂Q/∂q has no zero once both ways to halve them have acted."""
    flow = coupling_flow(
        NormalModes(torch.eye(5, dtype=torch.float64), torch.zeros(5)), _spread(5), 4, HIDDEN
    ).double()
    perturb(flow, seed=2, size=0.4)
    matrix = jacobian(lambda x: flow(x.unsqueeze(0))[0][0], _phase_space(5)[1][0])
    assert matrix.abs().min() > 1e-6


def test_a_coupling_stays_bounded_far_from_its_data(perturb):
    layer = _affine(6).double()
    perturb(layer, seed=3, size=5.0)
    _, q = _phase_space(6)
    _, log_det = layer(1e4 * q)
    assert log_det.abs().max() <= SCALE_BOUND * layer.n_moved + 1e-12
    assert torch.isfinite(layer(1e4 * q)[0]).all()


def test_the_conditioners_reverse_pass_is_autograds(perturb):
    network = Conditioner(3, 4, HIDDEN).double()
    perturb(network, seed=4, size=0.5)
    generator = torch.Generator().manual_seed(5)
    a = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    c, h1, h2 = network(a)
    (expected,) = torch.autograd.grad((c * cotangent).sum(), a, retain_graph=True)
    found = network.pull_back(cotangent, h1, h2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def _correlated(n_frames=500, n=6, seed=6):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n_frames, n, generator=generator, dtype=torch.float64)
    return noise * _spread(n) @ _rotation(n) + 0.3


def test_the_quasi_harmonic_start_diagonalises_the_covariance_slowest_first():
    q = _correlated()
    modes, spread = quasi_harmonic_start(q)
    latent, _ = modes(q)
    assert latent.mean(0).abs().max() < 1e-12
    covariance = latent.T @ latent / len(q)
    torch.testing.assert_close(covariance, torch.diag(spread**2), rtol=0.0, atol=1e-12)
    assert (spread[:-1] >= spread[1:]).all()
    identity = torch.eye(6, dtype=torch.float64)
    assert (modes.rotation.T @ modes.rotation - identity).abs().max() < 1e-12


def test_weights_of_the_quasi_harmonic_start_count_frames():
    q = _correlated()
    times = torch.arange(len(q)) % 4
    repeated, spread_repeated = quasi_harmonic_start(q.repeat_interleave(times, 0))
    weighted, spread = quasi_harmonic_start(q, times)
    torch.testing.assert_close(spread, spread_repeated, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(weighted.shift, repeated.shift, rtol=1e-12, atol=1e-14)
    overlap = (weighted.rotation.T @ repeated.rotation).abs()  # eigenvectors have no sign
    assert (overlap - torch.eye(6, dtype=torch.float64)).abs().max() < 1e-9


def test_frames_that_determine_no_gaussian_are_refused():
    q = _correlated()
    with pytest.raises(FrameError, match="the same structure"):
        quasi_harmonic_start(q[:1].expand(50, -1))
    with pytest.raises(FrameError, match="6 training frames cannot determine 6"):
        quasi_harmonic_start(q[:6])
    flat = q @ torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64))
    with pytest.raises(FrameError, match="2 of 6 internal coordinates have zero variance"):
        quasi_harmonic_start(flat)
