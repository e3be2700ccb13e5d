"""Reweighting from Python: plain strings in, tables and files out."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import symplectic_cv as sc
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.errors import OptionError

REGIONS = ["low=phi:-180:-137", "high=phi:-137:0"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_run):
    """Two biased runs of different modes."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "a", seed=1, modes=(0,))
    make_run(root / "b", seed=2, modes=(1, 0))
    return [root / "a", root / "b"]


def test_what_is_saved_is_what_was_computed(folders, tmp_path):
    result = sc.reweight(folders, torsions=["phi", "psi"], regions=REGIONS, skip_ps=0.0)
    result.save(tmp_path / "out")
    assert result.reference == "low"
    assert result.combined.weights.sum() == pytest.approx(1.0)
    rows = list(csv.DictReader((tmp_path / "out" / "frames.csv").open()))
    weights = [float(row["weight"]) for row in rows]
    assert weights == pytest.approx(result.combined.weights, rel=1e-5)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["weighting"] == "mbar"
    assert summary["effective_frames"] == result.effective_frames
    assert summary["differences_kj_per_mol"]["high"]["value"] == result.differences["high"].value
    # nothing is drawn
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "frames.csv", "free_energy.csv", "free_energy.npz", "summary.json",
    ]  # fmt: skip


def test_runs_are_folders_or_objects_one_or_several(folders):
    expected = sc.reweight([folders[0]], skip_ps=0.0).combined.weights
    for one in (folders[0], str(folders[0]), BiasedRun.read(folders[0])):
        assert np.array_equal(sc.reweight(one, skip_ps=0.0).combined.weights, expected)


def test_the_method_is_a_plain_string(folders):
    running = sc.reweight(folders[0], method="running", skip_ps=0.0)
    table = BiasedRun.read(folders[0]).frames.weight
    assert running.combined.weights == pytest.approx(table / table.sum())
    with pytest.raises(OptionError, match="`method` must be mbar or running; got 'wham'"):
        sc.reweight(folders[0], method="wham")


def test_one_stride_is_for_all_runs(folders):
    assert sc.reweight(folders, skip_ps=0.0, stride=3).combined.strides == [3, 3]
    assert sc.reweight(folders, skip_ps=0.0, stride=[1, 4]).combined.strides == [1, 4]
