"""`symplectic-cv reweight` on run folders made by hand, and all that can be wrong with them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from commands import run

from symplectic_cv.bias.run import COLVAR
from symplectic_cv.units import thermal_energy

T = 300.0
KT = thermal_energy(T)
FRAMES = 240
PHI = -137
"""Near the middle of the made-up frames, degrees."""


def test_weights_of_a_bias_that_stands_still_are_exact(tmp_path, capsys, make_run):
    values = make_run(tmp_path / "run")
    out = tmp_path / "out"
    run(
        "reweight", tmp_path / "run", "-o", out, "--skip-ps", 0, "--torsions", "phi", "psi",
        "--distances", "ends=1,10", "--regions", f"low=phi:-180:{PHI}",
        f"high=phi:{PHI}:0,psi:-180:180",
    )  # fmt: skip
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert len(rows) == FRAMES
    weights = np.array([float(row["weight"]) for row in rows])
    expected = np.exp(2.0 * np.exp(-0.5 * (values[:, 0] - 1.0) ** 2) / KT)
    assert weights == pytest.approx(expected / expected.sum(), rel=1e-4)
    phi = np.array([float(row["phi"]) for row in rows])
    low, high = phi < np.radians(PHI), (phi > np.radians(PHI)) & (phi < 0)
    summary = json.loads((out / "summary.json").read_text())
    found = summary["differences_kj_per_mol"]["high"]
    assert found["value"] == pytest.approx(
        -KT * np.log(weights[high].sum() / weights[low].sum()), abs=1e-3
    )
    assert 0 < found["standard_error"] < found["half_95_percent"]
    assert f"G(high) − G(low) = {found['value']:.2f}" in printed
    with np.load(out / "free_energy.npz") as archive:
        assert archive["free_energy:phi,psi"].shape == (36, 36)
        assert archive["error:ends"].shape == archive["ends"].shape == (36,)
        assert np.nanmin(archive["free_energy:ends"]) == 0.0
    assert (out / "profiles.png").stat().st_size > 10_000
    assert (out / "plane_phi_psi.png").stat().st_size > 10_000


def test_runs_of_different_modes_are_combined(tmp_path, capsys, make_run):
    first = make_run(tmp_path / "a", seed=1, modes=(0,))
    make_run(tmp_path / "b", seed=2, modes=(1, 0))
    out = tmp_path / "out"
    run("reweight", tmp_path / "a", tmp_path / "b", "-o", out, "--skip-ps", 0)
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((out / "frames.csv").open()))
    assert [row["run"] for row in rows] == ["0"] * FRAMES + ["1"] * FRAMES
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(1.0, abs=1e-3)
    assert f"{2 * FRAMES} frames" in printed
    # both biases are gentle, so all weights are within a factor of exp(2 · 2 kJ/mol / kT)
    weights = np.array([float(row["weight"]) for row in rows])
    assert weights.max() / weights.min() < np.exp(4.0 / KT)
    assert np.corrcoef(weights[:FRAMES], np.exp(-0.5 * (first[:, 0] - 1) ** 2))[0, 1] > 0.5


def test_the_running_weights_are_those_of_the_table(tmp_path, capsys, make_run):
    make_run(tmp_path / "run")
    arguments = ("--method", "running", "--skip-ps", 40)
    run("reweight", tmp_path / "run", "-o", tmp_path / "out", *arguments)
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "out" / "frames.csv").open()))
    assert len(rows) == FRAMES - 40
    colvar = np.genfromtxt(tmp_path / "run" / COLVAR, delimiter=",", names=True)["weight"][40:]
    weights = np.array([float(row["weight"]) for row in rows])
    assert weights == pytest.approx(colvar / colvar.sum(), rel=1e-4)
    assert "the first 40 of 240 ps left out" in printed


def test_runs_are_thinned_all_alike_or_each_by_its_own(tmp_path, make_run):
    folders = [tmp_path / "one", tmp_path / "two"]
    make_run(folders[0])
    make_run(folders[1], seed=3)
    for given, expected in (([3], [3, 3]), ([1, 4], [1, 4])):
        folder = tmp_path / f"out-{len(given)}"
        run("reweight", *folders, "-o", folder, "--skip-ps", 0, "--stride", *given)
        frames = [FRAMES // stride for stride in expected]
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["strides"], summary["frames"]) == (expected, frames)
        rows = list(csv.DictReader((folder / "frames.csv").open()))
        times = [float(row["time_ps"]) for row in rows if row["run"] == "1"]
        assert np.diff(times).tolist() == [expected[1]] * (frames[1] - 1)


def test_a_trajectory_of_another_run_is_told(tmp_path, refused, make_run):
    make_run(tmp_path / "run")
    make_run(tmp_path / "other", n_frames=100)
    (tmp_path / "run" / "trajectory.xtc").write_bytes(
        (tmp_path / "other" / "trajectory.xtc").read_bytes()
    )
    line = refused("reweight", tmp_path / "run", "-o", tmp_path / "out")
    assert "weights of 240 frames, the trajectory has 100 frames" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--torsions", "chi1"], "--torsions chi1: no residue"),
        (["--distances", "ends=1,99"], "atom 99 is not among the 10 atoms"),
        (["--distances", "ends=1,x"], "'x' is no atom number"),
        (["--distances", "ALA2-CA:ALA2-XX"], "0 atoms are called 'ALA2-XX'"),
        (["--distances", "ends=1,1"], "name two different atoms"),
        (["--regions", "a=phi:0:9", "b=chi1:0:9"], "--regions b: chi1 is no descriptor here"),
        (["--regions", "a=phi:0"], "--regions a=phi:0: not a region"),
        (["--regions", "a=phi:0:9"], "--regions takes two or more"),
        (["--skip-ps", "9999"], "--skip-ps 9999 leaves nothing"),
        (["--stride", "1", "2"], "--stride 1 2: give one number for each of the 1 runs"),
        (["--stride", "0"], "--stride 0: give one number for each of the 1 runs"),
        (["--atoms", "name CA or name C or name N or name O"], "its model needs atom 1"),
    ],
)
def test_bad_options_end_in_one_line(tmp_path, refused, make_run, arguments, words):
    make_run(tmp_path / "run")
    runs = [tmp_path / "run"]
    if "--atoms" in arguments:  # one run alone needs no model
        make_run(tmp_path / "second", seed=5)
        runs.append(tmp_path / "second")
    assert words in refused("reweight", *runs, "-o", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_is_told(tmp_path, refused):
    (tmp_path / "empty").mkdir()
    line = refused("reweight", tmp_path / "empty", "-o", tmp_path / "out")
    assert "bias.json: missing or damaged" in line
