"""Structures at a value of a torsion mode against quadrature over the torus."""

import copy
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torus import random_torus

from symplectic_cv.errors import ModelError, OptionError
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.sampling.conditional import conditional_structures, parse_fixed
from symplectic_cv.sampling.torsion_draws import TorsionDraws
from symplectic_cv.sampling.torsion_levels import TorsionLevel, latent_on_level

SAMPLES = 3000
POINTS, WINDOW = 800, 0.025
"""Points of a quadrature along each torsion, and half the width of what stands for δ(χ − c)."""


@pytest.fixture(scope="module")
def one(perturb):
    """One torsion with two wells."""
    rng = np.random.default_rng(0)
    torsions = rng.vonmises(np.where(rng.random(400) < 0.6, 1.0, -1.5), 4.0)[:, None]
    return random_torus(torsions, perturb)


@pytest.fixture(scope="module")
def two(perturb):
    """Two torsions whose wells depend on one another."""
    rng = np.random.default_rng(1)
    first = rng.vonmises(np.where(rng.random(500) < 0.5, 1.2, -1.8), 3.0)
    second = rng.vonmises(np.where(first > 0.0, 2.5, -0.5), 2.0)
    return random_torus(np.stack([first, second], 1), perturb)


GRIDS = {}


def density_on_grid(model, mode, points):
    """ρ of the angles over a grid of the torus, the mode there, and the torsions (G, k)."""
    key = id(model), mode, points
    if key not in GRIDS:
        GRIDS[key] = _density_on_grid(model, mode, points)
    return GRIDS[key]


def _density_on_grid(model, mode, points):
    draws = TorsionDraws(model, mode)
    k = len(model.bonds)
    axis = -math.pi + 2.0 * math.pi * (torch.arange(points, dtype=torch.float64) + 0.5) / points
    angles = torch.cartesian_prod(*[axis] * k).reshape(-1, k)
    rest = torch.zeros(len(angles), model.density.dimension - k, dtype=torch.float64)
    with torch.no_grad():
        log_density = draws.log_density(angles, rest)
    torsions = draws.torsions(angles, rest)
    values = model.modes_of_torsions(torsions, [mode])[:, 0]
    return log_density.exp().numpy(), values, torsions


def functions(torsions):
    return np.concatenate([np.cos(torsions), np.sin(torsions)], 1)


def test_the_density_of_the_angles_is_normalised(one, two):
    for model, points in ((one, 4000), (two, 400)):
        density, _, _ = density_on_grid(model, 0, points)
        cell = (2.0 * math.pi / points) ** len(model.bonds)
        assert density.sum() * cell == pytest.approx(1.0, abs=2e-4)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(("mode", "value"), [(0, 0.6), (0, -1.0), (1, 0.3)])
def test_structures_at_a_value_have_the_conditional_means(two, mode, value):
    """⟨f δ(χ − c)⟩ / ⟨δ(χ − c)⟩ with a narrow window in place of δ, by quadrature."""
    model = two
    density, values, torsions = density_on_grid(model, mode, POINTS)
    window = np.abs(values - value) < WINDOW
    weights = density[window] / density[window].sum()
    expected = weights @ functions(torsions[window])
    found = conditional_structures(model, {mode: value}, SAMPLES, seed=2)
    held = model.modes(found.positions)[:, mode]
    np.testing.assert_allclose(held, value, atol=1e-8)
    got = functions(model.torsions(found.positions))
    error = got.std(0) / math.sqrt(SAMPLES)
    assert (np.abs(got.mean(0) - expected) < 3.0 * error + 1e-3).all(), (got.mean(0), expected)


@pytest.mark.statistical
def test_the_jacobian_factor_counts(two):
    """Without 1/|∇χ| the means are others, by many standard errors."""
    mode, value = 0, 0.6
    density, values, torsions = density_on_grid(two, mode, POINTS)
    window = np.abs(values - value) < WINDOW
    slopes = np.linalg.norm(two.slopes(torsions[window])[:, mode], axis=1)
    right = density[window] / density[window].sum()
    wrong = right * slopes / (right * slopes).sum()
    f = functions(torsions[window])
    spread = np.sqrt(right @ f**2 - (right @ f) ** 2)
    assert (np.abs(right @ f - wrong @ f) > 4.0 * spread / math.sqrt(SAMPLES)).any()


def test_draws_are_structures_and_come_back(two, perturb):
    """Angles and the rest give the latent numbers that they were drawn from, in any units."""
    bent = replace(two, density=copy.deepcopy(two.density))
    perturb(bent.density.flow.layers[-3], seed=8, size=0.4)
    perturb(bent.density.prior, seed=9, size=0.5)
    draws = TorsionDraws(bent, 0)
    with torch.no_grad():
        angles, rest = draws.draw(50, torch.Generator().manual_seed(0))
        u = draws.normal(angles, rest)
        expected = torch.randn(
            50,
            draws.density.dimension,
            generator=torch.Generator().manual_seed(0),
            dtype=torch.float64,
        )
        positions = draws.density.decode(draws.density.prior.from_normal(u))
    torch.testing.assert_close(u, expected, rtol=0.0, atol=1e-6)
    torsions = draws.torsions(angles, rest)
    np.testing.assert_allclose(
        np.cos(torsions), np.cos(bent.torsions(positions.numpy())), rtol=0.0, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.statistical
def test_angles_that_the_oscillators_turn(two, perturb):
    """With all layers bent: against samples of the density in a narrow window of the mode."""
    bent = replace(two, density=copy.deepcopy(two.density))
    perturb(bent.density.flow.layers[-3], seed=8, size=0.4)
    perturb(bent.density.prior, seed=9, size=0.5)  # oscillators of other units than their layers'
    x = bent.sample(40_000, seed=1)
    values = bent.modes(x)[:, 0]
    near = functions(bent.torsions(x[np.abs(values - 0.6) < 0.04]))
    found = conditional_structures(bent, {0: 0.6}, 2000, seed=4)
    np.testing.assert_allclose(bent.modes(found.positions)[:, 0], 0.6, atol=1e-4)
    got = functions(bent.torsions(found.positions))
    error = np.sqrt(near.var(0) / len(near) + got.var(0) / len(got))
    assert (np.abs(near.mean(0) - got.mean(0)) < 3.5 * error + 1e-3).all()
    unbent = functions(two.torsions(conditional_structures(two, {0: 0.6}, 2000).positions))
    assert (np.abs(unbent.mean(0) - near.mean(0)) > 5.0 * error).any()


@pytest.mark.statistical
def test_one_torsion_has_its_roots_with_their_shares(one):
    """On one circle a level is a few points, with shares ρ/|∂χ/∂s|."""
    value = 0.5
    density, values, torsions = density_on_grid(one, 0, 200_000)
    crossing = np.flatnonzero(np.diff(np.sign(values - value)) != 0)
    shares = density[crossing] / np.abs(one.slopes(torsions[crossing])[:, 0, 0])
    shares = shares / shares.sum()
    assert len(crossing) >= 2
    found = one.torsions(conditional_structures(one, {0: value}, SAMPLES).positions)[:, 0]
    away = np.abs(np.angle(np.exp(1j * (found[:, None] - torsions[crossing, 0]))))
    assert away.min(1).max() < 1e-4
    got = np.bincount(away.argmin(1), minlength=len(crossing)) / SAMPLES
    assert (np.abs(got - shares) < 3.0 * np.sqrt(shares * (1.0 - shares) / SAMPLES) + 1e-6).all()


@pytest.mark.statistical
def test_bonds_and_angles_follow_the_torsions_as_the_density_says(two):
    """The latent oscillators of the structures stay N(0, 1)."""
    u = latent_on_level(two, 0, 0.6, SAMPLES, 3)
    prior = in_float64(two.density).prior
    line = np.setdiff1d(np.arange(two.density.dimension), prior.pendulums.numpy())
    v = u[:, line].numpy()
    assert (np.abs(v.mean(0)) < 4.0 / math.sqrt(SAMPLES)).all()
    assert (np.abs((v**2).mean(0) - 1.0) < 4.0 * math.sqrt(2.0 / SAMPLES)).all()


def test_weights_do_not_depend_on_how_the_forgotten_torsion_is_described(two, monkeypatch):
    """Σw estimates one number for every h: here with 6 nodes and with 72."""
    means = []
    for nodes in (6, 72):
        monkeypatch.setattr("symplectic_cv.sampling.torsion_levels.GRID", nodes)
        level = TorsionLevel(two, 0, 0.6)
        with torch.no_grad():
            points = level.propose(4000, torch.Generator().manual_seed(1))
        w = points.log_weight.exp().numpy()
        means.append((w.mean(), w.std() / math.sqrt(len(w))))
    (a, a_error), (b, b_error) = means
    assert abs(a - b) < 4.0 * math.hypot(a_error, b_error)
    # it is the density of χ at that value
    density, values, _ = density_on_grid(two, 0, POINTS)
    cell = (2.0 * math.pi / POINTS) ** 2
    expected = density[np.abs(values - 0.6) < WINDOW].sum() * cell / (2.0 * WINDOW)
    assert abs(b - expected) < 4.0 * b_error + 0.01 * expected


def test_values_that_make_no_sense(two):
    low, high = -two.bound - two.constant, two.bound - two.constant
    with pytest.raises(OptionError, match=r"the mode lies between -?\d.* in every conformation"):
        conditional_structures(two, {0: float(high[0]) + 0.1}, 10)
    with pytest.raises(OptionError, match="one mode of torsions can be held at a time"):
        conditional_structures(two, {0: 0.1, 1: 0.1}, 10)
    with pytest.raises(OptionError, match=r"`fix` 7: the model has \d modes"):
        conditional_structures(two, {7: 0.0}, 10)
    assert parse_fixed(["mode 1 = 0.5"], two) == {1: 0.5}
    assert low[0] < 0.0 < high[0]


def test_modes_without_a_density_are_told(two):
    with pytest.raises(ModelError, match="modes of torsions have no density"):
        conditional_structures(replace(two, density=None), {0: 0.1}, 10)


def test_files_hold_the_modes(two, tmp_path):
    found = conditional_structures(two, {0: 0.6}, 12)
    found.save(tmp_path / "at")
    table = pd.read_csv(tmp_path / "at" / "samples.csv")
    np.testing.assert_allclose(table["mode_0"], 0.6, atol=1e-6)
    assert {"mode_1", "latent_0", f"latent_{two.density.dimension - 1}"} <= set(table)
    np.testing.assert_allclose(
        table["log_likelihood"], two.log_likelihood(found.positions), rtol=0.0, atol=1e-5
    )
