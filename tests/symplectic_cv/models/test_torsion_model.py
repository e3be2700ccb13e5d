"""Torsion modes as a model: values, slopes, bounds, shares, and the description on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ligands import torsion_model

from symplectic_cv.errors import ModelError, OptionError
from symplectic_cv.models.torsion_model import TorsionModel

STEP = 1e-6


@pytest.fixture(scope="module")
def model() -> TorsionModel:
    return torsion_model(order=3)


def test_a_mode_is_its_sum_of_harmonics(model: TorsionModel) -> None:
    x = np.random.default_rng(1).normal(size=(7, 6, 3))
    angles = model.torsions(x)
    expected = np.zeros((7, 2)) - model.constant
    for k in range(2):
        for i in range(len(model.bonds)):
            for m in (1, 2, 3):
                a, b = model.coefficients[k, i, m - 1]
                expected[:, k] += a * np.cos(m * angles[:, i]) + b * np.sin(m * angles[:, i])
    assert np.abs(model.modes(x) - expected).max() < 1e-12
    assert np.abs(model.modes(x, [1])[:, 0] - expected[:, 1]).max() < 1e-12


def test_slopes_are_finite_differences(model: TorsionModel) -> None:
    angles = np.random.default_rng(2).uniform(-np.pi, np.pi, (20, len(model.bonds)))
    slopes = model.slopes(angles)
    for i in range(len(model.bonds)):
        shift = STEP * np.eye(len(model.bonds))[i]
        up, down = (model.modes_of_torsions(angles + s * shift) for s in (1.0, -1.0))
        assert np.abs((up - down) / (2 * STEP) - slopes[:, :, i]).max() < 1e-6


def test_no_conformation_exceeds_the_bound(model: TorsionModel) -> None:
    angles = np.random.default_rng(3).uniform(-np.pi, np.pi, (50_000, len(model.bonds)))
    values = model.modes_of_torsions(angles) + model.constant
    assert (np.abs(values) <= model.bound).all()
    assert (np.abs(values).max(0) > 0.5 * model.bound).all()


def test_shares_add_up_to_one(model: TorsionModel) -> None:
    shares = model.shares()
    assert shares.shape == (2, len(model.bonds))
    assert np.abs(shares.sum(1) - 1.0).max() < 1e-12


def test_a_description_survives_json(model: TorsionModel) -> None:
    again = TorsionModel.from_json(json.loads(json.dumps(model.to_json())))
    x = np.random.default_rng(4).normal(size=(5, 6, 3))
    assert (again.modes(x) == model.modes(x)).all()
    assert again.bonds == model.bonds
    assert np.isnan(again.omega_error[1])
    assert again.omega_held_out.tolist() == model.omega_held_out.tolist()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("coefficients", [[1.0]]),
        ("constant", [0.0]),
        ("order", 2),
        ("bonds", []),
        ("molecule", {}),
        ("omega_rad_per_ps", None),
    ],
)
def test_a_damaged_description_is_refused(model: TorsionModel, key: str, value: object) -> None:
    with pytest.raises(ModelError, match=r"damaged|incomplete"):
        TorsionModel.from_json(model.to_json() | {key: value})


def test_positions_of_other_atoms_are_refused(model: TorsionModel) -> None:
    with pytest.raises(OptionError, match="`data` has shape"):
        model.modes(np.zeros((3, 5, 3)))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ends_hold_every_conformation_and_are_reached(order: int) -> None:
    model = torsion_model(order=order)
    rng = np.random.default_rng(order)
    angles = rng.uniform(-np.pi, np.pi, (100_000, len(model.bonds)))
    values = model.modes_of_torsions(angles)
    for (low, high), column in zip(model.ends(), values.T, strict=True):
        assert low <= column.min() < low + 0.05 * (high - low)
        assert high >= column.max() > high - 0.05 * (high - low)
    assert model.ends([0]) == model.ends()[:1]
