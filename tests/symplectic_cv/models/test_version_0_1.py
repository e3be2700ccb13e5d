"""Model folders that version 0.1 wrote are read, and give the numbers of version 0.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from symplectic_cv.flows.options import Chart
from symplectic_cv.models.model_folder import load_model, read_config
from symplectic_cv.training.options import TrainingOptions

FOLDER = Path(__file__).parent / "version_0_1"
"""`train` of version 0.1 on alanine dipeptide, few and narrow layers, with values it computed."""


@pytest.mark.parametrize("chart", ["cartesian", "internal"])
def test_it_gives_the_same_numbers(chart):
    model = load_model(FOLDER / chart)
    assert model.options.chart is Chart(chart)
    with np.load(FOLDER / f"{chart}.npz") as known:
        x = known["positions"]
        for method in ("collective_variables", "log_likelihood"):
            found = getattr(model, method)(x)
            np.testing.assert_allclose(found, known[method], rtol=2e-6, atol=2e-5)
        np.testing.assert_allclose(model.encode(x), known["latent"], rtol=2e-6, atol=2e-5)
        np.testing.assert_allclose(model.decode(known["latent"]), known["decoded"], atol=2e-6)


@pytest.mark.parametrize("chart", ["cartesian", "internal"])
def test_its_training_options_are_understood(chart):
    stored = read_config(FOLDER / chart)["training"]["options"]
    assert TrainingOptions(**stored).to_json() == stored
