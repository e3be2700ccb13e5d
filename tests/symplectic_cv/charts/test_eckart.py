"""The Eckart frame: exact identities in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symplectic_cv.charts.eckart import (
    EckartFrame,
    eckart_basis,
    mean_structure,
    pull_back_to_positions,
    superpose,
    superpose_differentiable,
)
from symplectic_cv.errors import FrameError, OptionError, SelectionError
from symplectic_cv.units import thermal_energy

WATER = [[0.0, 0.0, 0.0], [0.0957, 0.0, 0.0], [-0.024, 0.0927, 0.0]]
PLANAR = [[0.0, 0.0, 0.0], [0.12, 0.0, 0.0], [-0.06, 0.11, 0.0], [-0.07, -0.10, 0.0]]
CHIRAL = [[0.0, 0.0, 0.0], [0.11, 0.0, 0.0], [-0.04, 0.13, 0.0], [-0.05, -0.06, 0.12]]
MASSES = {
    "water": [15.999, 1.008, 1.008],
    "planar": [12.011, 15.999, 1.008, 35.45],
    "chiral": [12.011, 15.999, 1.008, 35.45],
    "dipeptide": [12.011, 12.011, 15.999, 14.007, 12.011, 12.011, 12.011, 15.999, 14.007, 12.011],
}
KT = thermal_energy(300.0)


@pytest.fixture(scope="module")
def frames(dipeptide):
    structures = {"water": WATER, "planar": PLANAR, "chiral": CHIRAL, "dipeptide": dipeptide}
    return {
        name: EckartFrame(
            torch.as_tensor(np.array(structure)), torch.tensor(MASSES[name]), temperature=300.0
        )
        for name, structure in structures.items()
    }


@pytest.fixture(params=MASSES)
def frame(request, frames):
    return frames[request.param]


def _jitter(frame, n_frames, seed=0, size=0.015):
    """Distorted copies of the reference, (F, N, 3)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n_frames, frame.n_atoms, 3, generator=generator, dtype=torch.float64)
    return frame.reference + size * noise


def _move(positions, seed):
    """Every frame turned and translated at random."""
    rng = np.random.default_rng(seed)
    n = len(positions)
    turns = torch.as_tensor(Rotation.random(n, rng=rng).as_matrix())
    shifts = torch.as_tensor(3.0 * rng.normal(size=(n, 1, 3)))
    return positions @ turns.transpose(-1, -2) + shifts


def test_superposed_frames_meet_the_eckart_conditions(frame):
    y, _, _ = superpose(_move(_jitter(frame, 20), 1), frame.reference, frame.masses)
    weighted = frame.masses.unsqueeze(-1) * (y - frame.reference)
    assert weighted.sum(-2).abs().max() < 1e-12
    r = frame.reference.expand_as(y)
    assert torch.linalg.cross(r, weighted).sum(-2).abs().max() < 1e-12


def test_the_superposition_is_the_least_squares_one(frame):
    x = _move(_jitter(frame, 10), 2)
    y, rotation, _ = superpose(x, frame.reference, frame.masses)
    assert (torch.linalg.det(rotation) - 1.0).abs().max() < 1e-12
    m = frame.masses.unsqueeze(-1)
    for k in range(10):
        centered = x[k] - (m * x[k]).sum(0) / m.sum()
        _, distance = Rotation.align_vectors(
            frame.reference.numpy(), centered.numpy(), weights=frame.masses.numpy()
        )
        found = (m * (y[k] - frame.reference) ** 2).sum().sqrt()
        assert abs(float(found) - distance) < 1e-7


def test_the_basis_is_orthonormal_and_free_of_rigid_motion(frame):
    n = frame.n_atoms
    assert frame.dimension == 3 * n - 6
    identity = torch.eye(3 * n - 6, dtype=torch.float64)
    assert (frame.basis.T @ frame.basis - identity).abs().max() < 1e-12
    root = frame.masses.sqrt().unsqueeze(-1)
    for axis in torch.eye(3, dtype=torch.float64):
        shift = (root * axis).reshape(-1)
        turn = (root * torch.linalg.cross(axis.expand(n, 3), frame.reference)).reshape(-1)
        assert (shift @ frame.basis).abs().max() < 1e-12
        assert (turn @ frame.basis).abs().max() < 1e-12


def test_the_chart_loses_nothing_but_rigid_motion(frame):
    x = _move(_jitter(frame, 20), 3)
    q = frame.coordinates(x)
    assert q.shape == (20, frame.dimension)
    y, _, _ = superpose(x, frame.reference, frame.masses)
    assert (frame.positions(q) - y).abs().max() < 1e-12
    assert (frame.coordinates(frame.positions(q)) - q).abs().max() < 1e-12
    # distances between atoms do not know the frame at all
    assert (torch.cdist(frame.positions(q), frame.positions(q)) - torch.cdist(x, x)).abs().max() < (
        1e-12
    )


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(MASSES)))
def test_coordinates_ignore_rotations_and_translations(frames, seed, name):
    frame = frames[name]
    x = _jitter(frame, 5, seed)
    assert (frame.coordinates(_move(x, seed)) - frame.coordinates(x)).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["chiral", "dipeptide"])
def test_a_mirror_image_is_another_molecule(frames, name):
    frame = frames[name]
    mirror = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    mirrored = _move((frame.reference * mirror).expand(10, -1, -1), 4)
    y, rotation, _ = superpose(mirrored, frame.reference, frame.masses)
    assert (torch.linalg.det(rotation) - 1.0).abs().max() < 1e-12
    # a reflection would bring every atom back onto the reference
    assert (y - frame.reference).abs().amax((-1, -2)).min() > 0.02
    assert frame.coordinates(mirrored).norm(dim=-1).min() > 0.05


def test_puckering_of_a_planar_molecule_keeps_its_sign(frames):
    frame = frames["planar"]
    out = torch.zeros(4, 3, dtype=torch.float64)
    out[0, 2] = 0.02
    up = frame.positions(frame.coordinates(_move((frame.reference + out)[None], 1)[0]))
    down = frame.positions(frame.coordinates(_move((frame.reference - out)[None], 2)[0]))
    assert (up[:, :2] - down[:, :2]).abs().max() < 1e-12
    assert (up[:, 2] + down[:, 2]).abs().max() < 1e-12
    assert up[0, 2] > 0.005


def test_the_gradient_of_coordinates_matches_finite_differences(frame):
    x = _move(_jitter(frame, 1, seed=5), 5)[0]
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(frame.dimension, generator=generator, dtype=torch.float64)
    moving = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(frame.coordinates(moving) @ w, moving)
    h = 1e-5
    steps = h * torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
    numerical = (frame.coordinates(x + steps) - frame.coordinates(x - steps)) @ w / (2 * h)
    torch.testing.assert_close(gradient.flatten(), numerical, rtol=0.0, atol=1e-6)
    assert gradient.abs().max() > 0.1


def test_the_pull_back_by_hand_is_autograds_without_net_force_or_torque(frame):
    x = _move(_jitter(frame, 6, seed=7), 7).requires_grad_(True)
    generator = torch.Generator().manual_seed(2)
    g = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    y = superpose_differentiable(x, frame.reference, frame.masses)
    (expected,) = torch.autograd.grad((y * g).sum(), x)
    x = x.detach()
    fixed, rotation, a = superpose(x, frame.reference, frame.masses)
    assert torch.equal(fixed, y.detach())
    found = pull_back_to_positions(g, fixed, rotation, a, frame.reference, frame.masses)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-10)
    assert found.abs().max() > 0.1
    assert found.sum(-2).abs().max() < 1e-10
    assert torch.linalg.cross(x, found).sum(-2).abs().max() < 1e-10


def test_one_bond_in_a_molecule_vibrates_with_the_root_of_k_over_mu(frames):
    """Only the bond 0–1 of 'planar' is a spring: one ω = √(k/μ), all others 0."""
    frame = frames["planar"]
    k = 250_000.0  # kJ/(mol nm²)
    length = (frame.reference[0] - frame.reference[1]).norm()

    def beta_energy(q):
        x = frame.positions(q)
        return 0.5 * k * ((x[0] - x[1]).norm() - length) ** 2 / KT

    start = torch.zeros(frame.dimension, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(beta_energy, start)
    squares = torch.linalg.eigvalsh(hessian)
    mu = float(frame.masses[0] * frame.masses[1] / (frame.masses[0] + frame.masses[1]))
    assert math.sqrt(float(squares[-1])) == pytest.approx(math.sqrt(k / mu), rel=1e-12)
    assert squares[:-1].abs().max() < 1e-9 * squares[-1]


def test_normal_modes_in_the_frame_are_those_of_the_mass_weighted_hessian(frame):
    pairs = [(i, j) for i in range(frame.n_atoms) for j in range(i)]
    k = {pair: 1e4 * (1 + n) for n, pair in enumerate(pairs)}

    def energy(x):
        terms = [
            0.5
            * k[i, j]
            * ((x[i] - x[j]).norm() - (frame.reference[i] - frame.reference[j]).norm()) ** 2
            for i, j in pairs
        ]
        return torch.stack(terms).sum()

    n = 3 * frame.n_atoms
    cartesian = torch.autograd.functional.hessian(energy, frame.reference).reshape(n, n)
    root = frame.masses.sqrt().repeat_interleave(3)
    expected = torch.linalg.eigvalsh(cartesian / torch.outer(root, root))
    start = torch.zeros(frame.dimension, dtype=torch.float64)
    internal = torch.autograd.functional.hessian(lambda q: energy(frame.positions(q)) / KT, start)
    found = torch.linalg.eigvalsh(internal)
    # the six rigid motions have ω² = 0, the others agree
    assert expected[:6].abs().max() < 1e-8 * expected[-1]
    torch.testing.assert_close(found, expected[6:], rtol=1e-9, atol=1e-9 * float(expected[-1]))


def test_the_volume_element_is_the_jacobian_of_shape_rotation_and_translation(frame):
    """ln|det ∂x/∂(q, θ, X)| − the same at q = 0, by autograd, against `log_volume`."""
    n = frame.dimension

    def motion(z):
        y = frame.positions(z[:n])
        return (y + torch.linalg.cross(z[n : n + 3].expand_as(y), y) + z[n + 3 :]).flatten()

    def log_jacobian(q):
        at = torch.cat([q, torch.zeros(6, dtype=torch.float64)])
        return torch.linalg.slogdet(torch.autograd.functional.jacobian(motion, at))[1]

    coordinates = frame.coordinates(_jitter(frame, 5, seed=9, size=0.02))
    start = log_jacobian(torch.zeros(n, dtype=torch.float64))
    expected = torch.stack([log_jacobian(q) - start for q in coordinates])
    torch.testing.assert_close(frame.log_volume(coordinates), expected, rtol=0.0, atol=1e-11)
    assert expected.abs().max() > 0.01


def test_momenta_conjugate_to_q_have_unit_covariance_for_every_shape(frame):
    """p = β (∂y/∂q)ᵀ p_phys with p_phys ~ N(0, m kT): its covariance is the identity."""
    q = frame.coordinates(_jitter(frame, 1))[0]
    jacobian = torch.autograd.functional.jacobian(lambda z: frame.positions(z).flatten(), q)
    physical = (frame.masses * KT).repeat_interleave(3)
    covariance = jacobian.T @ (physical.unsqueeze(-1) * jacobian) / KT**2
    identity = torch.eye(frame.dimension, dtype=torch.float64)
    assert (covariance - identity).abs().max() < 1e-12


def test_maxwell_momenta_become_standard_normal_in_the_frame(frames):
    frame = frames["dipeptide"]
    n_frames = 20_000
    generator = torch.Generator().manual_seed(4)
    p = torch.randn(n_frames, 10, 3, generator=generator, dtype=torch.float64)
    _, rotation, _ = superpose(_move(_jitter(frame, n_frames), 6), frame.reference, frame.masses)
    momenta = (p @ rotation.transpose(-1, -2)).flatten(-2) @ frame.basis
    covariance = momenta.T @ momenta / n_frames
    identity = torch.eye(24, dtype=torch.float64)
    # standard errors 1/√F off the diagonal, √(2/F) on it; the largest of 300 entries
    assert (covariance - identity).abs().max() < 5.0 * math.sqrt(2.0 / n_frames)


def test_temperature_scales_coordinates_with_its_inverse_root(frames):
    cold = frames["chiral"]
    hot = EckartFrame(cold.reference, cold.masses, 1200.0)
    x = _jitter(cold, 3)
    assert (hot.scale / cold.scale - 0.5).abs().max() < 1e-14
    torch.testing.assert_close(hot.coordinates(x), 0.5 * cold.coordinates(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("change", ["float", "half", "bfloat16", "double"])
def test_the_frame_stays_double_when_its_model_changes_precision(make_model, wobble, change):
    model = make_model()
    before = model.frame.coordinates(torch.as_tensor(wobble(3)))
    getattr(model, change)()
    assert {buffer.dtype for buffer in model.frame.buffers()} == {torch.float64}
    x = torch.as_tensor(wobble(3))
    assert torch.equal(model.frame.coordinates(x), before)
    assert model.frame.coordinates(x.float()).dtype == torch.float64


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]], "at least 3"),
        ([[0.0, 0.0, 0.0], [0.1, 0.1, 0.0], [0.3, 0.3, 0.0]], "on one line"),
        ([[0.1, 0.2, 0.3]] * 4, "on one line"),
    ],
)
def test_atoms_that_cannot_carry_a_frame_are_refused(structure, message):
    x = torch.tensor(structure, dtype=torch.float64)
    masses = torch.ones(len(structure), dtype=torch.float64)
    with pytest.raises(SelectionError, match=message):
        EckartFrame(x, masses, 300.0)
    with pytest.raises(SelectionError, match=message):
        mean_structure(x.expand(4, -1, -1), masses)


@pytest.mark.parametrize("temperature", [0.0, -10.0])
def test_a_frame_needs_a_positive_temperature(temperature):
    with pytest.raises(OptionError, match="`temperature`"):
        EckartFrame(torch.tensor(WATER), torch.tensor(MASSES["water"]), temperature)


def test_health_names_the_frame_nearest_to_the_limit(frames):
    frame = frames["dipeptide"]
    q = frame.coordinates(_jitter(frame, 101, size=0.002))
    assert not frame.health(q).near_limit
    # a molecule shrunk to a fifth has det A of 1/125, and a point has no orientation
    q[37] = frame.coordinates(0.2 * frame.reference)
    health = frame.health(q)
    assert health.frame == 37
    assert health.smallest == pytest.approx(1.0 / 125.0, rel=0.05)
    assert health.near_limit
    health.require_unique()
    q[50] = frame.coordinates(0.0 * frame.reference)
    with pytest.raises(FrameError, match="frame 50 cannot be superposed"):
        frame.health(q).require_unique()


def test_the_mean_of_rigid_copies_is_the_structure_itself(frame):
    copies = _move(frame.reference.expand(12, -1, -1), 8)
    mean = mean_structure(copies, frame.masses)
    assert (frame.masses.unsqueeze(-1) * mean).sum(0).abs().max() < 1e-12
    assert (torch.cdist(mean, mean) - torch.cdist(frame.reference, frame.reference)).abs().max() < (
        1e-12
    )
    assert EckartFrame(mean, frame.masses, 300.0).coordinates(copies).abs().max() < 1e-12


def test_the_mean_structure_is_where_coordinates_average_to_zero(frame):
    x = _move(_jitter(frame, 200, size=0.01), 9)
    centred = EckartFrame(mean_structure(x, frame.masses, tolerance=1e-12), frame.masses, 300.0)
    assert centred.coordinates(x).mean(0).abs().max() < 1e-10


def test_weights_of_the_mean_structure_count_frames(frames):
    frame = frames["dipeptide"]
    x = _move(_jitter(frame, 30), 10)
    times = torch.tensor([1 + k % 3 for k in range(30)])
    repeated = mean_structure(x.repeat_interleave(times, 0), frame.masses)
    weighted = mean_structure(x, frame.masses, times.to(torch.float64))
    assert (repeated - weighted).abs().max() < 1e-13


def test_turning_the_reference_turns_only_the_axes_of_q(frames):
    frame = frames["chiral"]
    turned = _move(frame.reference[None], 3)[0]
    turned = turned - (frame.masses.unsqueeze(-1) * turned).sum(0) / frame.masses.sum()
    basis = eckart_basis(turned, frame.masses)
    other = EckartFrame(turned, frame.masses, 300.0)
    assert (other.basis @ other.basis.T - basis @ basis.T).abs().max() < 1e-12
    x = _jitter(frame, 4)
    torch.testing.assert_close(
        other.coordinates(x).norm(dim=-1), frame.coordinates(x).norm(dim=-1), rtol=1e-12, atol=0.0
    )
