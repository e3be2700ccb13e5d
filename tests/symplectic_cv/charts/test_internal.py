"""Internal coordinates: bonds, angles and torsions with their exact Jacobian."""

import math

import mdtraj as md
import numpy as np
import torch
from identities import require_exact
from torch.autograd.functional import jacobian

from symplectic_cv.flows.point import PointTransformation


def test_bonds_angles_and_torsions_are_those_of_mdtraj(chart, molecule, points):
    xi = chart(points)[0].numpy()
    trajectory = md.Trajectory(chart._positions(points).numpy(), molecule.topology)
    rows = np.c_[chart.atoms, chart.references]
    np.testing.assert_allclose(
        xi[:, :9], md.compute_distances(trajectory, rows[1:, :2], periodic=False), atol=1e-6
    )
    np.testing.assert_allclose(
        xi[:, 9:17], md.compute_angles(trajectory, rows[2:, :3], periodic=False), atol=1e-5
    )
    torsions = md.compute_dihedrals(trajectory, rows[3:], periodic=False)
    np.testing.assert_allclose(np.exp(1j * torsions), np.exp(1j * xi[:, 17:]), atol=1e-5)


def test_the_volume_is_r_squared_sine_theta(chart, points):
    """Against the full determinant, with the three turns and three shifts as further columns."""
    xi = chart(points)[0][0]
    slopes = jacobian(lambda v: chart.place(v).reshape(-1), xi)
    x = chart.place(xi)
    axes = torch.eye(3, dtype=torch.float64)
    rigid = [axis.expand(10, 3).reshape(-1) for axis in axes]
    rigid += [torch.linalg.cross(axis.expand(10, 3), x).reshape(-1) for axis in axes]
    whole = torch.cat([slopes, torch.stack(rigid, 1)], 1)
    expected = 2.0 * xi[:9].log().sum() + xi[9:17].sin().log().sum()
    torch.testing.assert_close(torch.linalg.slogdet(whole)[1], expected, rtol=0.0, atol=1e-10)


def test_structures_are_kept_not_mirrored(chart, points):
    """The way back gives the same structure, and a mirror image another ξ."""
    q = chart.inverse(chart(points)[0])[0]
    torch.testing.assert_close(q, points, rtol=0.0, atol=1e-12)
    mirrored = chart._from_positions(chart._positions(points) * torch.tensor([1.0, 1.0, -1.0]))
    torch.testing.assert_close(mirrored[:, :17], chart(points)[0][:, :17])
    torch.testing.assert_close(mirrored[:, 17:], -chart(points)[0][:, 17:])


def test_what_is_no_structure_has_no_density(chart, points):
    xi = chart(points)[0]
    xi[0, 0], xi[1, 9], xi[2, 20] = -0.1, math.pi + 0.01, math.pi + 0.01
    log_det = chart.inverse(xi)[1]
    assert torch.isposinf(log_det[:3]).all()
    assert torch.isfinite(log_det[3])


def test_the_chart_is(chart, points):
    require_exact(PointTransformation([chart]), 24, points)
