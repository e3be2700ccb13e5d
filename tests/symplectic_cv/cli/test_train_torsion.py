"""`train --chart torsion`, and what the other commands do with its modes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run

from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.cli.main import main
from symplectic_cv.models.torsion_folder import load_torsion_model


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 ps of alanine dipeptide in vacuum, a frame each 0.1 ps."""
    folder = tmp_path_factory.mktemp("torsion") / "md"
    run(
        *("simulate", "alanine-dipeptide", "--solvent", "vacuum"),
        *("--time-ns", 0.02, "--stride-ps", 0.1, "-o", folder),
    )
    return folder


@pytest.fixture(scope="module")
def model(simulated: Path) -> Path:
    folder = simulated.with_name("model")
    run("train", simulated / "trajectory.xtc", "--chart", "torsion", "--order", 1, "-o", folder)
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as info:
        main([str(argument) for argument in arguments])
    assert info.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


def test_modes_are_printed_with_their_errors(
    simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", simulated / "trajectory.xtc", "--chart", "torsion", "-o", tmp_path / "model")
    text = capsys.readouterr().out
    assert "2 rotatable bonds, harmonics up to 2" in text
    assert "rad/ps (held out" in text
    assert "phi_ALA2" in text
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert len(config["omega_rad_per_ps"]) == 3
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def test_the_modes_are_exported_and_biased(simulated: Path, model: Path, tmp_path: Path) -> None:
    run("export", model, "--plumed", "-o", tmp_path)
    assert "TORSION ATOMS=5,7,9,15" in (tmp_path / "cv-plumed.dat").read_text()
    bias = ("metadynamics", model, "--system", simulated / "system.xml", "--pace", 0.2)
    folder = tmp_path / "bias"
    run(*bias, "--width", 0.3, "--time-ns", 0.002, "-o", folder)
    run(*bias, "--width", 0.3, "--time-ns", 0.004, "-o", folder, "--resume")
    found = BiasedRun.read(folder)
    assert len(found.colvar) == len(found.hills) == 20
    assert np.isfinite(found.colvar.to_numpy()).all()
    frames = pd.read_csv(folder / "colvar.csv")
    assert frames["mode_0"].abs().max() < 4.0
    ends = load_torsion_model(model).ends([0, 1])
    grid = found.record.grid
    assert np.allclose(grid.low, [low for low, _ in ends], atol=1e-3)
    assert np.allclose(grid.high, [high for _, high in ends], atol=1e-3)
    assert np.all(np.array(grid.low) <= [low for low, _ in ends])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chart", "torsion", "--layers", 3], ["--layers", "--chart torsion"]),
        (["--chart", "torsion", "--steps", 3], ["--steps", "--chart torsion"]),
        (["--chart", "torsion", "--order", 4], ["--order", "1, 2 or 3"]),
        (["--order", 1], ["--order", "--chart torsion"]),
        (["--chart", "torsion", "--atoms", "name CA C O"], ["no rotatable bond", "--atoms"]),
    ],
)
def test_options_that_do_not_fit(
    simulated: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    words: list[str],
) -> None:
    output = tmp_path / "model"
    line = refused(capsys, "train", simulated / "trajectory.xtc", *arguments, "-o", output)
    assert all(word in line for word in words), line
    assert not output.exists()


@pytest.mark.parametrize("command", ["path", "sample", "thermodynamics"])
def test_commands_that_need_a_flow_say_so(
    model: Path, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    more: dict[str, list[object]] = {
        "path": ["--start", simulated / "topology.pdb", "--end", simulated / "topology.pdb"],
    }
    line = refused(capsys, command, model, *more.get(command, []), "-o", tmp_path / "out")
    assert "modes of torsions" in line
    assert "cartesian" in line
    assert not (tmp_path / "out").exists()


def test_each_backend_of_torsion_modes(model: Path, simulated: Path, tmp_path: Path) -> None:
    """By itself a run on the CPU takes the native force; OpenMM's own forces when asked."""
    for backend in ("auto", "openmm"):
        folder = tmp_path / backend
        run(
            *("metadynamics", model, "--system", simulated / "system.xml", "--width", 0.3),
            *("--pace", 0.02, "--time-ns", 0.0002, "--backend", backend, "-o", folder),
        )
        found = json.loads((folder / "run.json").read_text())["backend"]
        assert found == {"auto": "native"}.get(backend, backend)
