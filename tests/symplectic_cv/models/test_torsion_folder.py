"""Folders of torsion modes: written, read, and refused where damaged or of another kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ligands import torsion_model

from symplectic_cv.errors import ModelError
from symplectic_cv.models.model_folder import load_model
from symplectic_cv.models.torsion_folder import (
    load_modes,
    load_torsion_model,
    open_modes,
    save_torsion_model,
)


def test_a_folder_gives_its_modes_back(tmp_path: Path) -> None:
    model = torsion_model()
    save_torsion_model(tmp_path / "new" / "folder", model, {"note": 1})
    x = np.random.default_rng(0).normal(size=(9, 6, 3))
    for read in (load_torsion_model, load_modes, open_modes):
        again = read(tmp_path / "new" / "folder")
        assert (again.modes(x) == model.modes(x)).all()
    assert open_modes(model) is model


def test_an_altered_folder_is_refused(tmp_path: Path) -> None:
    save_torsion_model(tmp_path, torsion_model())
    config = tmp_path / "config.json"
    content = json.loads(config.read_text())
    content["torsion_modes"]["constant"][0] += 1.0
    config.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="altered since it was saved"):
        load_torsion_model(tmp_path)


def test_torsion_modes_are_no_flow(tmp_path: Path) -> None:
    save_torsion_model(tmp_path, torsion_model())
    with pytest.raises(ModelError, match="without their density"):
        load_model(tmp_path)


def test_a_flow_is_no_torsion_model() -> None:
    folder = Path(__file__).parent / "version_0_1"
    cartesian = next(path.parent for path in sorted(folder.rglob("config.json")))
    with pytest.raises(ModelError, match="holds no modes of torsions"):
        load_torsion_model(cartesian)


def test_something_that_is_no_model() -> None:
    with pytest.raises(ModelError, match="must be the model of a molecule, or its folder; got int"):
        open_modes(3)  # type: ignore[arg-type]
