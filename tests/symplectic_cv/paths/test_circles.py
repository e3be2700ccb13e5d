"""Paths of torsion models: the shorter way round, across the cut, with equal ends."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torus import chain_frames, random_torus

from symplectic_cv.errors import OptionError
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.paths.circles import latent_of_unwound, unwound
from symplectic_cv.paths.interpolation import spherical_path, straight_latent_path
from symplectic_cv.paths.path import compare_paths, latent_path
from symplectic_cv.paths.strings import scan_mode


@pytest.fixture(scope="module")
def model(perturb):
    rng = np.random.default_rng(0)
    first = rng.vonmises(np.where(rng.random(500) < 0.5, 2.4, -2.4), 4.0)
    second = rng.vonmises(np.where(rng.random(500) < 0.5, 1.0, -1.5), 3.0)
    return random_torus(np.stack([first, second], 1), perturb, size=0.05)


@pytest.fixture(scope="module")
def ends():
    return chain_frames(np.array([[2.4, 1.0], [-2.4, -1.5]]), seed=3)


def latent_angles(model, path):
    prior = in_float64(model.density).prior
    latent = prior.from_normal(torch.from_numpy(path.latent))
    return latent[:, prior.pendulums].numpy()


def test_pendulums_move_at_constant_speed_the_shorter_way(model, ends):
    path = spherical_path(model.density, *ends, 41)
    steps = np.diff(np.unwrap(latent_angles(model, path), axis=0), axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), atol=1e-6)
    assert (np.abs(steps.sum(0)) <= math.pi + 1e-9).all()
    positions = path.positions[[0, -1]]
    expected = model.density.frame.superpose(torch.from_numpy(ends)).numpy()
    np.testing.assert_allclose(positions, expected, atol=1e-6)


def test_a_path_crosses_the_cut_without_a_jump(model, ends):
    """Torsions 2.4 and −2.4 are 1.5 rad apart across ±π; each step is a small part of that."""
    path = latent_path(model, *ends, points=60)
    torsions = model.torsions(path.positions)
    steps = np.abs(np.angle(np.exp(1j * np.diff(torsions, axis=0))))
    assert steps.max() < 0.3
    assert np.isfinite(path.log_likelihood).all()
    np.testing.assert_allclose(path.modes, model.modes(path.positions), atol=1e-9)


def test_the_other_way_round_from_the_same_ends_reversed(model, ends):
    there = spherical_path(model.density, ends[0], ends[1], 21)
    back = spherical_path(model.density, ends[1], ends[0], 21)
    np.testing.assert_allclose(there.positions, back.positions[::-1], atol=1e-6)


def test_straight_latent_paths_take_the_shorter_way_too(model, ends):
    path = spherical_path(model.density, *ends, 15)
    straight = straight_latent_path(model.density, path.latent[0], path.latent[-1], 15)
    np.testing.assert_allclose(
        np.cos(latent_angles(model, straight)), np.cos(latent_angles(model, path)), atol=1e-8
    )


def test_a_refined_path_is_at_least_as_likely(model, ends):
    compared = compare_paths(model, *ends, points=12, refine=True)
    before = compared.unrefined.log_likelihood
    assert compared.path.log_likelihood.mean() >= before.mean()
    assert compared.path.log_likelihood.min() >= before.min() - 1e-6
    steps = np.diff(model.torsions(compared.path.positions), axis=0)
    assert np.abs(np.angle(np.exp(1j * steps))).max() < 1.5
    np.testing.assert_allclose(compared.path.positions[0], compared.unrefined.positions[0])


def test_unwound_points_are_those_of_the_way(model, ends):
    exact = in_float64(model.density)
    path = spherical_path(model.density, *ends, 21)
    u = torch.from_numpy(path.latent)
    points = unwound(exact, u)
    assert float(points.diff(dim=0).abs().max()) < 2.0
    torch.testing.assert_close(
        exact.prior.to_normal(latent_of_unwound(exact, points)), u, rtol=0.0, atol=1e-6
    )


def test_files_hold_modes_and_latent_coordinates(model, ends, tmp_path):
    path = latent_path(model, *ends, points=5)
    path.save(tmp_path / "path")
    table = pd.read_csv(tmp_path / "path" / "path.csv")
    np.testing.assert_allclose(table["mode_0"], path.modes[:, 0], atol=1e-6)
    assert f"latent_{model.density.dimension - 1}" in table


def test_modes_are_no_latent_coordinates(model, ends):
    with pytest.raises(OptionError, match="`modes`: the modes of torsions are functions"):
        latent_path(model, *ends, modes=[0, 1])
    with pytest.raises(OptionError, match="`scan`: the modes of torsions are functions"):
        scan_mode(model, 0)
