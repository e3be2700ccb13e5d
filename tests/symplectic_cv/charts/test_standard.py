"""Standardised internal coordinates: white where they are stiff, angles where they go round."""

import math

import numpy as np
import pytest
import torch
from identities import require_exact

from symplectic_cv.charts.standard import standardise, widest_gap
from symplectic_cv.errors import FrameError
from symplectic_cv.flows.point import PointTransformation


def test_the_scaling_is(spinning):
    layer = standardise(spinning, 10)
    assert len(layer.round) == 2
    require_exact(PointTransformation([layer]), 24, spinning[:4])


def test_stiff_coordinates_are_white_and_round_ones_stay(spinning):
    layer = standardise(spinning, 10)
    z = layer(spinning)[0]
    assert layer.round.tolist() == [17, 18]
    torch.testing.assert_close(
        torch.cov(z[:, 2:].T, correction=0), torch.eye(22, dtype=torch.float64), rtol=0, atol=1e-9
    )
    assert (z[:, :2].abs() <= math.pi).all()


def test_beyond_a_cut_a_structure_is_not_counted_again(spinning):
    layer = standardise(spinning, 10)
    z = torch.zeros(2, 24, dtype=torch.float64)
    xi, log_det = layer.inverse(z)
    d = xi.new_zeros(24)
    d[20] = 2.0 * math.pi  # once round a torsion that is cut
    z[1, 2:] = d[layer.line] @ layer.whitening
    xi, log_det = layer.inverse(z)
    torch.testing.assert_close(xi[0], xi[1], rtol=0.0, atol=1e-9)
    assert torch.isfinite(log_det[0])
    assert torch.isposinf(log_det[1])


def test_the_widest_gap_crosses_the_cut():
    width, middle = widest_gap(np.array([-3.0, 3.0, 2.5]))
    assert width == pytest.approx(5.5)
    assert middle == pytest.approx(-0.25)


def test_coordinates_that_do_not_move_are_told(spinning):
    rigid = spinning.clone()
    rigid[:, 3] = 0.1
    with pytest.raises(FrameError, match=r"1 internal coordinates do not move.*bond.*`flexible`"):
        standardise(rigid, 10)
    with pytest.raises(FrameError, match="20 frames cannot determine 24"):
        standardise(spinning[:20].clone(), 10)
