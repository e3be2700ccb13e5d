"""Exported files of torsion modes: chosen modes in their order, and damage that is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ligands import torsion_model

from symplectic_cv.errors import ModelError, OptionError, OutputError
from symplectic_cv.exporting.export import export, exported_in, files_to_export
from symplectic_cv.exporting.torsion_file import read_torsion_file


def test_a_file_holds_the_chosen_modes_in_their_order(tmp_path: Path) -> None:
    model = torsion_model()
    metadata = export(model, [1, 0], tmp_path, plumed=True)
    names = ("cv.json", "cv.pt", "cv.safetensors", "cv-plumed.dat")
    written = [tmp_path / name for name in names]
    assert files_to_export(model, tmp_path, plumed=True) == written
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert metadata["modes"] == [1, 0]
    assert exported_in(tmp_path) == tmp_path / "cv.json"
    found = read_torsion_file(tmp_path / "cv.json")
    assert found.modes == [1, 0]
    x = np.random.default_rng(1).normal(size=(5, 6, 3))
    assert (found.model.modes(x) == model.modes(x, [1, 0])).all()


def test_files_are_not_overwritten(tmp_path: Path) -> None:
    export(torsion_model(), [0], tmp_path / "a.json")
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        export(torsion_model(), [1], tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == before


def test_modes_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="2 modes"):
        export(torsion_model(), [2], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_folder_needs_a_path() -> None:
    with pytest.raises(OptionError, match="`path`"):
        export(torsion_model(), [0])


@pytest.mark.parametrize("damage", ["cut", "changed", "list", "empty", "deep"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    export(torsion_model(), [0, 1], tmp_path)
    path = tmp_path / "cv.json"
    content = json.loads(path.read_text())
    content["torsion_modes"]["coefficients"][0][0][0][0] += 0.5
    path.write_text(
        {
            "cut": path.read_text()[:200],
            "changed": json.dumps(content),
            "list": "[]",
            "empty": "",
            "deep": "[" * 100_000,
        }[damage]
    )
    with pytest.raises(ModelError, match="export again"):
        read_torsion_file(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_torsion_file(tmp_path / "cv.json")
