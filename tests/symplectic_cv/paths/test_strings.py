"""Refined paths and scans along one mode."""

import numpy as np
import pytest
import torch

from symplectic_cv.errors import OptionError
from symplectic_cv.paths.interpolation import spherical_path, straight_latent_path
from symplectic_cv.paths.latent_path import latent_structures
from symplectic_cv.paths.strings import refine_path, scan_mode


@pytest.fixture(scope="module")
def network(make_model):
    return make_model(torch.float64)


def test_refined_paths_are_more_likely_and_keep_their_ends(network, wobble):
    plain = spherical_path(network, *wobble(2, seed=8, size=0.02), 15)
    refined = refine_path(network, plain)
    assert refined.log_likelihood.mean() > plain.log_likelihood.mean() + 0.1
    assert refined.log_likelihood.min() > plain.log_likelihood.min() - 1e-6
    np.testing.assert_allclose(refined.latent[[0, -1]], plain.latent[[0, -1]], rtol=1e-12)
    pieces = np.linalg.norm(np.diff(refined.latent, axis=0), axis=1)
    assert pieces.max() < 1.1 * pieces.min()
    again = network.log_likelihood(torch.from_numpy(refined.positions)).detach().numpy()
    np.testing.assert_allclose(again, refined.log_likelihood, rtol=1e-8)


def test_a_scan_moves_one_mode_alone(network):
    origin = np.linspace(-1.0, 1.0, 24)
    way = scan_mode(network, 3, 2.0, 5, origin)
    np.testing.assert_allclose(way.latent[:, 3], [-2.0, -1.0, 0.0, 1.0, 2.0])
    others = np.delete(np.arange(24), 3)
    np.testing.assert_array_equal(way.latent[:, others], np.tile(origin[others], (5, 1)))
    found = network.collective_variables(torch.from_numpy(way.positions)).detach().numpy()
    np.testing.assert_allclose(found, way.latent, atol=1e-8)


def test_the_straight_latent_path_is_straight(network):
    start, end = np.zeros(24), np.linspace(0.0, 1.0, 24)
    way = straight_latent_path(network, start, end, 3)
    np.testing.assert_allclose(way.latent[1], 0.5 * end)
    again = latent_structures(network, torch.from_numpy(way.latent))
    np.testing.assert_array_equal(again.positions, way.positions)


def test_a_scan_holds_the_other_modes_where_a_structure_has_them(network, wobble):
    structure = wobble(1, seed=8)[0]
    way = scan_mode(network, 3, 2.0, 5, structure)
    latent = network.collective_variables(torch.from_numpy(structure)).detach().numpy()
    others = np.delete(np.arange(24), 3)
    np.testing.assert_allclose(way.latent[:, others], np.tile(latent[others], (5, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "reach", "points", "parameter"),
    [
        (99, 2.0, 5, "scan"),
        (0, 0.0, 5, "`reach`"),
        (0, 25.0, 5, "`reach`"),
        (0, 2.0, 1, "`points`"),
    ],
)
def test_impossible_scans_are_refused(network, mode, reach, points, parameter):
    with pytest.raises(OptionError, match=parameter):
        scan_mode(network, mode, reach, points)
