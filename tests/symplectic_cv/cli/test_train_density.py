"""`train --chart torsion --density`, and the commands that take such a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run

import symplectic_cv as sc

FAST = ("--chart", "torsion", "--density", "--steps", 20, "--layers", 2, "--hidden", 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 ps of alanine dipeptide in vacuum without constraints, and a model of its heavy atoms."""
    folder = tmp_path_factory.mktemp("density")
    run(
        *("simulate", "alanine-dipeptide", "--solvent", "vacuum", "--flexible"),
        *("--time-ns", 0.02, "--stride-ps", 0.04, "-o", folder / "md"),
    )
    run("train", folder / "md" / "trajectory.dcd", *FAST, "--order", 1, "-o", folder / "model")
    return folder


def test_modes_and_likelihoods_are_printed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", place / "md" / "trajectory.dcd", *FAST, "-o", tmp_path / "model")
    text = capsys.readouterr().out
    for words in (
        "mode 0: ω =", "24 coordinates", "validation NLL of phase space", "of structures alone",
        "slowest latent frequencies",
    ):  # fmt: skip
        assert words in text, words
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["flow"]["chart"] == "torsion"
    assert "validation_nll_configuration_nats" in config["training"]
    assert len(config["omega_rad_per_ps"]) == len(config["torsion_modes"]["omega_rad_per_ps"])
    history = pd.read_csv(tmp_path / "model" / "history.csv")
    assert {"validation_nll", "validation_nll_configuration"} <= set(history)
    run("train", place / "md" / "trajectory.dcd", *FAST, "-o", tmp_path / "model", "--resume")
    assert "complete" in capsys.readouterr().out


def test_structures_at_a_value_of_a_mode(place: Path, tmp_path: Path) -> None:
    run("sample", place / "model", "--fix", "mode 0 = 0.5", "--samples", 30, "-o", tmp_path / "at")
    table = pd.read_csv(tmp_path / "at" / "samples.csv")
    np.testing.assert_allclose(table["mode_0"], 0.5, atol=1e-4)
    assert len(table) == 30
    model = sc.load_torsion_model(place / "model")
    data = sc.read_trajectories(str(tmp_path / "at" / "samples.dcd"), molecule=model.molecule)
    np.testing.assert_allclose(model.modes(data)[:, 0], 0.5, atol=1e-3)


def test_a_path_on_the_torus(place: Path, tmp_path: Path) -> None:
    ends = [f"{place / 'md' / 'trajectory.dcd'}:{frame}" for frame in (0, 400)]
    run(
        *("path", place / "model", "--start", ends[0], "--end", ends[1]),
        *("--points", 8, "-o", tmp_path / "path"),
    )
    table = pd.read_csv(tmp_path / "path" / "path.csv")
    assert {"mode_0", "latent_23", "log_likelihood_nats"} <= set(table)
    assert np.isfinite(table.to_numpy()).all()


def test_the_modes_are_biased_as_before(place: Path, tmp_path: Path) -> None:
    run("export", place / "model", "--plumed", "-o", tmp_path)
    assert "TORSION ATOMS" in (tmp_path / "cv-plumed.dat").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["path", "--scan", 0], ["--scan", "functions of all torsions"]),
        (["sample", "--fix", "mode 0 = 7.9"], ["--fix", "between"]),
        (["sample", "--fix", "mode 0 = 1", "--fix", "mode 1 = 1"], ["--fix", "one mode"]),
        (["sample", "--fix", "mode 9 = 1"], ["--fix", "modes"]),
    ],
)
def test_what_cannot_be_is_told(place, tmp_path, refused, arguments, words) -> None:
    command, *rest = arguments
    line = refused(command, place / "model", *rest, "-o", tmp_path / "out")
    assert all(word in line for word in words), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--density"], ["--density", "--chart torsion"]),
        (["--chart", "torsion", "--density", "--coupling", "affine"], ["--coupling affine"]),
        (["--chart", "torsion", "--density", "--energy-weight", 1], ["--energy-weight"]),
    ],
)
def test_options_that_do_not_fit(place, tmp_path, refused, arguments, words) -> None:
    trajectory = place / "md" / "trajectory.dcd"
    line = refused("train", trajectory, *arguments, "-o", tmp_path / "model")
    assert all(word in line for word in words), line
    assert not (tmp_path / "model").exists()


def test_all_atoms_are_sampled_against_their_energies(place: Path, tmp_path: Path) -> None:
    """A short training is a poor proposal; small latent steps are exact with it all the same."""
    trajectory = place / "md" / "trajectory.dcd"
    model = tmp_path / "all"
    run("train", trajectory, "--atoms", "all", *FAST, "-o", model)
    run(
        *("sample", model, "--system", place / "md" / "system.xml", "--method", "pcn"),
        *("--samples", 64, "--chains", 8, "--warmup", 40, "-o", tmp_path / "samples"),
    )
    summary = json.loads((tmp_path / "samples" / "summary.json").read_text())
    assert summary["samples"] == 64
    assert {"energy", "latent_0"} <= set(summary["autocorrelation_of"])
    assert np.isfinite(summary["mean_energy"])
    run(
        *("sample", model, "--system", place / "md" / "system.xml", "--fix", "mode 0 = 0.2"),
        *("--samples", 8, "-o", tmp_path / "fixed"),
    )
    table = pd.read_csv(tmp_path / "fixed" / "samples.csv")
    assert np.isfinite(table["energy"]).all()
    np.testing.assert_allclose(table["mode_0"], 0.2, atol=1e-4)
