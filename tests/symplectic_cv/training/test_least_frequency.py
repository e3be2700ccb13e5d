"""Modes of least frequency: known answers, and the identities of the quotient."""

from __future__ import annotations

import numpy as np
import pytest

from symplectic_cv.charts.torsion_basis import torsion_features
from symplectic_cv.errors import FrameError
from symplectic_cv.training.least_frequency import (
    QuotientParts,
    least_frequency_modes,
    quotient_parts,
    quotients,
    solve_quotient,
)


def coupled(n_frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two torsions that depend on one another, (F, 2) in rad, and a metric of each frame."""
    rng = np.random.default_rng(seed)
    first = rng.vonmises(0.5, 1.0, n_frames) + np.pi * (rng.random(n_frames) < 0.3)
    second = first + rng.normal(0.0, 0.8, n_frames)
    metric = np.empty((n_frames, 2, 2))
    metric[:, 0, 0] = 20.0 + 5.0 * np.cos(second)
    metric[:, 1, 1] = 30.0
    metric[:, 0, 1] = metric[:, 1, 0] = -6.0 + 2.0 * np.sin(first)
    return np.angle(np.exp(1j * np.stack([first, second], 1))), metric


def sums(
    angles: np.ndarray, metric: np.ndarray, order: int = 2, weights: np.ndarray | None = None
) -> QuotientParts:
    features, slopes = torsion_features(angles, [1] * angles.shape[1], order)
    weights = np.ones(len(angles)) if weights is None else weights
    return quotient_parts(features, slopes, metric, weights)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_a_free_rotor_turns_at_the_harmonics_of_its_thermal_rate(fold: int) -> None:
    """Uniform angles and constant G: χ = cos(m n s) has ω² = (m n)² G exactly."""
    angles = np.linspace(-np.pi, np.pi, 720, endpoint=False)[:, None]
    features, slopes = torsion_features(angles, [fold], 3)
    parts = quotient_parts(features, slopes, np.full((720, 1, 1), 7.0), np.ones(720))
    omega, _, _ = solve_quotient(parts)
    expected = fold * np.sqrt(7.0) * np.array([1, 1, 2, 2, 3, 3])
    assert np.abs(omega - expected).max() < 1e-9


def test_a_stiff_torsion_is_a_harmonic_oscillator() -> None:
    """κ = kT/σ² and I = kT/G give ω = √(κ/I) = √G/σ, to second order in σ."""
    sigma, g = 0.02, 50.0
    grid = np.linspace(-0.2, 0.2, 4001)
    weights = np.exp(-0.5 * (grid / sigma) ** 2)
    angles = (grid + 1.1)[:, None]
    features, slopes = torsion_features(angles, [1], 1)
    parts = quotient_parts(features, slopes, np.full((len(grid), 1, 1), g), weights)
    omega, _, _ = solve_quotient(parts)
    assert abs(omega[0] / (np.sqrt(g) / sigma) - 1.0) < 2.0 * sigma**2


def test_the_slowest_mode_is_the_slow_eigenfunction_of_the_generator() -> None:
    """A double well on the circle: the quotient decreases to the generator's eigenvalue."""
    n, g = 400, 10.0
    s = np.linspace(-np.pi, np.pi, n, endpoint=False)
    potential = 2.0 * np.cos(2.0 * s)
    # the generator of overdamped dynamics as a symmetric matrix of fluxes between neighbours
    density = np.exp(-potential)
    middle = np.exp(-2.0 * np.cos(2.0 * s + 2.0 * np.pi / n))
    step = 2.0 * np.pi / n
    flux = g * middle / step**2
    matrix = np.diag(flux + np.roll(flux, 1))
    for k in range(n):
        matrix[k, (k + 1) % n] -= flux[k]
        matrix[(k + 1) % n, k] -= flux[k]
    root = np.sqrt(density)
    exact = np.sqrt(np.linalg.eigvalsh(matrix / np.outer(root, root))[1])
    found = []
    for order in (1, 2, 3):
        features, slopes = torsion_features(s[:, None], [1], order)
        parts = quotient_parts(features, slopes, np.full((n, 1, 1), g), density)
        found.append(solve_quotient(parts)[0][0])
    assert found[0] > found[2] > exact * (1 - 1e-4)
    assert found[2] < 1.15 * exact


def test_modes_have_zero_mean_unit_variance_and_no_correlation() -> None:
    angles, metric = coupled(4000)
    modes = least_frequency_modes([sums(angles, metric)], 6)
    features, _ = torsion_features(angles, [1, 1], 2)
    values = (features - modes.mean) @ modes.coefficients.T
    assert np.abs(values.mean(0)).max() < 1e-10
    assert np.abs(np.cov(values.T, bias=True) - np.eye(6)).max() < 1e-9
    assert (np.diff(modes.omega) >= 0.0).all()


def test_the_frequency_is_the_mean_square_rate_over_the_variance() -> None:
    """⟨χ̇²⟩ with velocities drawn from N(0, G), within five standard errors."""
    angles, metric = coupled(200_000, seed=4)
    modes = least_frequency_modes([sums(angles, metric)], 3)
    _, slopes = torsion_features(angles, [1, 1], 2)
    rng = np.random.default_rng(9)
    velocity = np.einsum("fij,fj->fi", np.linalg.cholesky(metric), rng.normal(size=angles.shape))
    weights = modes.coefficients.reshape(3, 2, -1)
    slope = np.einsum("fia,kia->fki", slopes.reshape(len(angles), 2, -1), weights)
    square = np.einsum("fki,fi->fk", slope, velocity) ** 2
    error = square.std(0) / np.sqrt(len(square))
    assert (np.abs(square.mean(0) - modes.omega**2) < 5.0 * error).all()


def test_the_order_of_the_frames_does_not_matter() -> None:
    angles, metric = coupled(3000)
    shuffled = np.random.default_rng(1).permutation(3000)
    here = least_frequency_modes([sums(angles, metric)], 4)
    there = least_frequency_modes([sums(angles[shuffled], metric[shuffled])], 4)
    assert np.abs(here.omega - there.omega).max() < 1e-9
    assert np.abs(here.coefficients - there.coefficients).max() < 1e-6


def test_a_weight_of_two_is_a_frame_given_twice() -> None:
    angles, metric = coupled(1000)
    weights = np.random.default_rng(2).integers(0, 3, 1000)
    repeated = np.repeat(np.arange(1000), weights)
    here = solve_quotient(sums(angles, metric, weights=weights.astype(float)))[0]
    there = solve_quotient(sums(angles[repeated], metric[repeated]))[0]
    assert np.abs(here - there).max() < 1e-8 * there.max()


def test_the_origin_of_a_torsion_does_not_matter() -> None:
    angles, metric = coupled(3000)
    here = solve_quotient(sums(angles, metric))[0]
    there = solve_quotient(sums(angles + np.array([0.7, -2.0]), metric))[0]
    assert np.abs(here - there).max() < 1e-8 * here.max()


def test_a_mode_minimises_the_quotient() -> None:
    angles, metric = coupled(3000)
    parts = sums(angles, metric)
    omega, coefficients, _ = solve_quotient(parts)
    rng = np.random.default_rng(6)
    others = coefficients[0] + 0.1 * rng.normal(size=(50, coefficients.shape[1]))
    assert (quotients(parts, others) > omega[0] ** 2).all()


def test_errors_cover_the_scatter_over_independent_data() -> None:
    """The error from ten blocks against the scatter of 40 repetitions, within a factor 1.5."""
    found, errors = [], []
    for seed in range(40):
        angles, metric = coupled(1000, seed=100 + seed)
        blocks = [sums(angles[part], metric[part]) for part in np.array_split(np.arange(1000), 10)]
        modes = least_frequency_modes(blocks, 1)
        found.append(modes.omega[0])
        errors.append(modes.error[0])
    ratio = np.mean(errors) / np.std(found, ddof=1)
    assert 1 / 1.5 < ratio < 1.5


def test_held_out_frequencies_show_overfitting() -> None:
    """From few frames the fitted ω is too low, and the held-out one too high."""
    truth = solve_quotient(sums(*coupled(100_000, seed=999), order=3))[0][0]
    below = above = 0
    for seed in range(20):
        angles, metric = coupled(60, seed=seed)
        blocks = [sums(angles[k::5], metric[k::5], order=3) for k in range(5)]
        modes = least_frequency_modes(blocks, 1)
        below += modes.omega[0] < truth
        above += modes.held_out[0] > modes.omega[0]
    assert below >= 17
    assert above >= 17


def test_torsions_that_never_move_are_refused() -> None:
    angles = np.full((100, 2), 0.3)
    with pytest.raises(FrameError, match="no torsion moves"):
        solve_quotient(sums(angles, np.ones((100, 2, 2))))
