"""Mutual information: known values, the cut of the circle, repeatability."""

import numpy as np
import pytest

from symplectic_cv.analysis.mutual_information import (
    cut_circle,
    least_populated_angle,
    mutual_information,
)
from symplectic_cv.errors import TrajectoryError

# spread of the estimator on 3000 frames, from twenty seeds: below 0.02 nats
TOLERANCE = 0.08


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.95])
def test_correlated_gaussians_have_the_known_value(correlation):
    generator = np.random.default_rng(1)
    x, noise = generator.normal(size=(2, 3000))
    # narrow enough to stay on the circle
    angle = 0.5 * (correlation * x + np.sqrt(1 - correlation**2) * noise)
    exact = -0.5 * np.log(1 - correlation**2)
    found = mutual_information(x[:, None], angle[:, None])
    assert abs(found[0, 0] - exact) < TOLERANCE


def test_the_cut_of_the_circle_does_not_matter():
    generator = np.random.default_rng(2)
    x, noise = generator.normal(size=(2, 2000))
    angle = 0.4 * (0.8 * x + 0.6 * noise)
    across = np.angle(np.exp(1j * (angle + np.pi)))
    here, there = mutual_information(x[:, None], np.column_stack([angle, across]))[0]
    assert abs(here - there) < 1e-6


def test_shape_and_progress():
    generator = np.random.default_rng(3)
    done = []
    modes, torsions = generator.normal(size=(200, 4)), generator.normal(size=(200, 2))
    found = mutual_information(modes, torsions, progress=done.append)
    assert found.shape == (4, 2)
    assert (found >= 0.0).all()
    assert sum(done) == 8


def test_the_draw_follows_from_the_seed():
    generator = np.random.default_rng(4)
    modes = generator.normal(size=(600, 1))
    torsions = 0.3 * modes + 0.1 * generator.normal(size=(600, 1))
    first, same, other = (
        mutual_information(modes, torsions, n_frames=200, seed=seed) for seed in (0, 0, 1)
    )
    assert first == same
    assert first != other


def test_too_few_frames_are_refused():
    with pytest.raises(TrajectoryError, match="6 frames are too few"):
        mutual_information(np.zeros((6, 1)), np.zeros((6, 1)))


@pytest.mark.parametrize("centre", [-3.0, -1.0, 0.0, 2.5, np.pi])
def test_the_circle_is_cut_opposite_to_a_single_peak(centre):
    angles = centre + 0.3 * np.random.default_rng(5).normal(size=500)
    angles = np.angle(np.exp(1j * angles))
    distance = np.angle(np.exp(1j * (least_populated_angle(angles) - centre - np.pi)))
    assert abs(distance) < 0.5
    line = cut_circle(angles)
    assert line.max() - line.min() < np.pi
    np.testing.assert_allclose(np.exp(1j * line), np.exp(1j * angles), atol=1e-12)


def test_angles_everywhere_can_be_cut_too():
    angles = np.linspace(-np.pi, np.pi, 7201)[:-1]
    assert -np.pi <= least_populated_angle(angles) <= np.pi
