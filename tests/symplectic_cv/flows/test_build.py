"""Flows built from their options: which halves of the modes the couplings take."""

import pytest
import torch
from torch.autograd.functional import jacobian

from symplectic_cv.flows.build import build_flow, mode_halves
from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import FlowOptions

HIDDEN = 12


def _rotation(n):
    generator = torch.Generator().manual_seed(n)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q


def _spread(n):
    return torch.logspace(0.0, -1.5, n, dtype=torch.float64)


def _coordinates(n, n_frames=4, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_frames, n, generator=generator, dtype=torch.float64) * _spread(n)


def _chain(start, n_couplings):
    """Affine couplings behind normal modes."""
    spread = _spread(len(start.shift))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_flow(FlowOptions(layers=n_couplings, hidden=HIDDEN), start, spread).double()


def test_couplings_start_as_the_identity_behind_the_normal_modes():
    modes = NormalModes(_rotation(6), 0.1 * torch.arange(6, dtype=torch.float64))
    flow = _chain(modes, 4)
    q = _coordinates(6)
    latent, log_det = flow(q)
    torch.testing.assert_close(latent, modes(q)[0], rtol=1e-14, atol=1e-14)
    assert torch.equal(log_det, torch.zeros(4, dtype=torch.float64))


def test_every_coordinate_meets_every_other_in_the_flow(perturb):
    """No coordinate is left out: ∂Q/∂q has no zero once both ways to halve them have acted."""
    flow = _chain(NormalModes(torch.eye(5), torch.zeros(5)), 4)
    perturb(flow, seed=2, size=0.4)
    matrix = jacobian(lambda x: flow(x.unsqueeze(0))[0][0], _coordinates(5)[0])
    assert matrix.abs().min() > 1e-6


@pytest.mark.parametrize("n", range(2, 10))
def test_both_halves_of_the_modes_are_filled_and_make_the_whole(n):
    for place in range(8):
        kept, moved = mode_halves(n, place)
        assert len(kept) > 0
        assert len(moved) > 0
        assert torch.equal(torch.sort(torch.cat([kept, moved])).values, torch.arange(n))


@pytest.mark.parametrize("n", range(2, 10))
def test_halves_take_turns_and_the_slowest_mode_conditions_first(n):
    for place in range(0, 8, 2):
        kept, moved = mode_halves(n, place)
        assert 0 in kept
        kept_next, moved_next = mode_halves(n, place + 1)
        assert torch.equal(kept_next, moved)
        assert torch.equal(moved_next, kept)


def test_a_single_mode_is_moved_by_every_coupling():
    for place in range(4):
        kept, moved = mode_halves(1, place)
        assert len(kept) == 0
        assert moved.tolist() == [0]
