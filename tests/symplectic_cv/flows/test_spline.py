"""Spline couplings on intervals and circles, and the splines of single bins."""

import pytest
import torch
from couplings import HALF_WIDTH, HIDDEN, KEPT, MOVED, coordinates, moved_to, spline_of
from torch.autograd.functional import jacobian

from symplectic_cv.flows.spline import (
    SMALLEST_BIN,
    SMALLEST_SLOPE,
    SplineCoupling,
    spline_argument,
    spline_value,
)


def _with_slopes(layer, q):
    """Images of the moved half in half-widths, (F, 2), and their slopes, (F, 2)."""
    ones = torch.zeros_like(q)
    ones[:, MOVED] = 1.0
    p_new, q_new, _ = layer.push(ones, q)
    return (q_new / HALF_WIDTH)[:, MOVED], 1.0 / p_new[:, MOVED]


def _nearest(difference):
    """Differences on a circle of length 2, between −1 and 1."""
    return difference - 2.0 * torch.round(0.5 * difference)


def test_a_spline_is_the_identity_outside_of_its_interval(interval):
    u = torch.tensor([-1e3, -1.5, -1.0, 1.0, 1.001, 7.0], dtype=torch.float64)
    q = moved_to(u)
    momenta = coordinates(4, len(u))
    for found in (interval(q)[0], interval.inverse(q)[0]):
        torch.testing.assert_close(found, q, rtol=1e-13, atol=0.0)
    assert interval(q)[1].abs().max() < 1e-12
    outside = u.abs() > 1.0
    p_new = interval.push(momenta, q)[0]
    assert torch.equal(p_new[outside], momenta[outside])


def test_a_spline_reaches_the_ends_of_its_interval_with_slope_one(interval):
    gap = 1e-8
    u = torch.tensor([-1.0 + gap, 1.0 - gap], dtype=torch.float64)
    values, slopes = _with_slopes(interval, moved_to(u))
    # second derivatives of these bins are some hundred
    torch.testing.assert_close(slopes, torch.ones_like(slopes), rtol=0.0, atol=1e4 * gap)
    torch.testing.assert_close(values, u.unsqueeze(-1).expand(2, 2), rtol=0.0, atol=1e-13)


def test_a_spline_bends_what_lies_inside(interval):
    u = torch.linspace(-0.9, 0.9, 19, dtype=torch.float64)
    values, slopes = _with_slopes(interval, moved_to(u))
    assert (values - u.unsqueeze(-1)).abs().max() > 0.05
    assert slopes.max() > 1.1
    assert slopes.min() < 0.9


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
def test_a_spline_rises_everywhere(perturb, size):
    layer = spline_of(perturb, seed=6, size=size)
    u = torch.linspace(-1.2, 1.2, 4001, dtype=torch.float64)
    values, slopes = _with_slopes(layer, moved_to(u))
    assert (values.diff(dim=0) > 0.0).all()
    assert (slopes > 0.0).all()


def test_the_kept_half_decides_how_a_spline_bends(interval):
    u = torch.linspace(-0.9, 0.9, 19, dtype=torch.float64)
    one, other = (_with_slopes(interval, moved_to(u, seed))[0] for seed in (4, 5))
    assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize("at", [-1.0, -0.5, 0.0, 0.25, 1.0])
def test_the_inverse_of_a_spline_has_its_derivative_at_the_knots_too(at):
    """At the start every bin is as wide as high, so that the knots are known."""
    layer = SplineCoupling(KEPT, MOVED, HALF_WIDTH, HIDDEN, bins=8).double()
    q = moved_to(torch.tensor([at], dtype=torch.float64))[0]
    found = jacobian(lambda x: layer.inverse(x.unsqueeze(0))[0][0], q)
    torch.testing.assert_close(found, torch.eye(4, dtype=torch.float64), rtol=0.0, atol=1e-13)


def _any_bins(dtype, n_bins=20_000):
    """Values inside of bins as narrow, low, steep and flat as there can be, and the bins."""
    generator = torch.Generator().manual_seed(7)
    draws = torch.rand(7, n_bins, generator=generator, dtype=torch.float64)
    corner, sizes, slopes = -draws[:2], 2.0 * SMALLEST_BIN ** draws[2:4], draws[4:6]
    slopes = 10.0 * (SMALLEST_SLOPE / 10.0) ** slopes
    bins = [part.to(dtype) for part in (*corner, *sizes, *slopes)]
    x0, y0, w, h = bins[:4]
    near_an_end = draws[6].to(dtype) ** 3
    t = torch.where(torch.arange(n_bins) % 2 == 0, near_an_end, 1.0 - near_an_end)
    y = spline_value(x0 + w * t, bins)[0]
    return torch.minimum(torch.maximum(y, y0), y0 + h), bins


def test_the_argument_of_any_bin_is_found_to_rounding():
    y, bins = _any_bins(torch.float64)
    reached, slope = spline_value(spline_argument(y, bins), bins)
    assert ((reached - y).abs() / (1.0 + slope)).max() < 20 * torch.finfo(torch.float64).eps


def test_the_argument_of_any_bin_has_the_gradient_of_the_implicit_function():
    """∂x/∂y = 1 / slope."""
    y, bins = _any_bins(torch.float64)
    x = spline_argument(y.requires_grad_(True), bins)
    (found,) = torch.autograd.grad(x.sum(), y)
    slope = spline_value(x.detach(), bins)[1]
    torch.testing.assert_close(found * slope, torch.ones_like(slope), rtol=0.0, atol=1e-7)


def test_the_argument_of_any_bin_has_a_finite_gradient_in_single_precision():
    y, bins = _any_bins(torch.float32)
    inputs = [part.requires_grad_(True) for part in (y, *bins)]
    gradients = torch.autograd.grad(spline_argument(y, bins).sum(), inputs)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_circular_spline_has_no_cut(circle):
    """Value and slope are the same on both sides of ±W, and change little close to it."""
    gap = 1e-9
    u = torch.tensor([-1.0, 1.0, -1.0 + gap, 1.0 - gap], dtype=torch.float64)
    values, slopes = _with_slopes(circle, moved_to(u))
    assert (slopes[0] - 1.0).abs().min() > 0.01  # not the slope of an interval's end
    assert _nearest(values[1] - values[0]).abs().max() < 1e-13
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-12, atol=0.0)
    torch.testing.assert_close(
        _nearest(values[2] - values[3]), 2.0 * gap * slopes[0], rtol=1e-5, atol=0.0
    )
    torch.testing.assert_close(slopes[2:], slopes[:1].expand(2, 2), rtol=0.0, atol=1e4 * gap)


def test_a_circular_spline_goes_around_the_circle_once(circle):
    u = torch.linspace(-1.0, 1.0, 2001, dtype=torch.float64)
    values, _ = _with_slopes(circle, moved_to(u))
    steps = _nearest(values.diff(dim=0))
    assert (steps > 0.0).all()
    torch.testing.assert_close(
        steps.sum(0), torch.full((2,), 2.0, dtype=torch.float64), rtol=0.0, atol=1e-12
    )
    assert values.min() >= -1.0
    assert values.max() <= 1.0


def test_whole_turns_of_angles_change_nothing(circle):
    """A circle has no end, for kept angles and for moved ones."""
    q, p = moved_to(torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)), coordinates(4, 7)
    p_new, q_new, log_det = circle.push(p, q)
    turns = torch.tensor([1.0, -2.0, 3.0, 1.0], dtype=torch.float64)
    for chosen in (KEPT, MOVED):
        shift = torch.zeros_like(q)
        shift[:, chosen] = 2.0 * (turns * HALF_WIDTH)[chosen]
        p_turned, q_turned, log_det_turned = circle.push(p, q + shift)
        torch.testing.assert_close(p_turned, p_new, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(log_det_turned, log_det, rtol=1e-11, atol=1e-11)
        assert _nearest((q_turned - q_new) / HALF_WIDTH).abs().max() < 1e-12


def test_a_straight_coordinate_is_told_from_an_angle_by_whole_turns(interval):
    q = moved_to(torch.linspace(-0.9, 0.9, 7, dtype=torch.float64))
    turned = q.clone()
    turned[:, KEPT] += 2.0 * HALF_WIDTH[KEPT]
    assert (interval(turned)[0] - interval(q)[0])[:, MOVED].abs().max() > 1e-3
