"""`symplectic-cv adapt`, tiny: what it writes, kills at any moment, and what can be wrong."""

from __future__ import annotations

import csv
import json

import mdtraj as md
import numpy as np
import pytest
from commands import begin, kill, run, wait_for

from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.adaptation.judging import RoundProgress, thinning_strides
from symplectic_cv.adaptation.mode_choice import modes_to_bias
from symplectic_cv.bias.run import BiasedRun

TINY = [
    "--rounds", "2", "--time-ns", "0.006", "--pace", "0.05", "--start-ns", "0.02", "--steps", "24",
    "--hidden", "8", "--layers", "2", "--seed", "3", "--growth", "0",
]  # fmt: skip
FRAMES = 120


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """system.xml of alanine dipeptide in vacuum, topology.pdb beside it."""
    folder = tmp_path_factory.mktemp("system")
    write_structure(build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM), folder)
    return folder / "system.xml"


@pytest.fixture(scope="module")
def adapted(system, tmp_path_factory):
    """A whole loop that began with nothing but the system."""
    folder = tmp_path_factory.mktemp("adapt") / "adapt"
    run("adapt", "--system", system, "-o", folder, *TINY)
    return folder


def biased_modes(folder):
    """The modes of a round without --modes are those below the widest gap in frequency."""
    config = json.loads((folder / "model" / "config.json").read_text())
    return modes_to_bias(np.array(config["omega_rad_per_ps"]))


def rows_of(folder):
    return list(csv.DictReader((folder / "rounds.csv").open()))


def test_each_round_leaves_its_model_and_its_run(adapted):
    for number in (1, 2):
        folder = adapted / f"round-{number}"
        assert (folder / "model" / "config.json").is_file()
        biased = BiasedRun.read(folder / "metadynamics")
        assert len(biased.frames) == FRAMES
        assert biased.record.modes == [f"mode_{mode}" for mode in biased_modes(folder)]
    assert not (adapted / "round-3").exists()


def test_rounds_csv_tells_of_every_source(adapted):
    rows = rows_of(adapted)
    assert [row["round"] for row in rows] == ["0", "1", "2"]
    assert [int(row["frames"]) for row in rows] == [100, FRAMES, FRAMES]
    assert [float(row["time_ns"]) for row in rows] == pytest.approx([0.02, 0.006, 0.006])
    for row in rows:
        assert float(row["crossings_per_ns"]) == pytest.approx(
            int(row["crossings"]) / float(row["time_ns"]), rel=1e-4
        )
    omega = np.array(rows[2]["slowest_omega_rad_per_ps"].split(), dtype=float)
    assert (np.diff(omega) >= 0).all()
    assert rows[2]["modes"] == " ".join(map(str, biased_modes(adapted / "round-2")))
    assert (adapted / "rounds.png").stat().st_size > 10_000


def test_a_later_round_learns_from_all_frames_before_it(adapted):
    second = np.load(adapted / "round-2" / "weights.npy")
    assert len(second) == 100 + FRAMES
    assert second.mean() == pytest.approx(1.0)
    assert (second > 0).all()
    config = json.loads((adapted / "round-2" / "model" / "config.json").read_text())
    assert config["training"]["frames"] == 100 + FRAMES


def test_free_energies_take_the_exact_weights_of_all_rounds(adapted):
    rows = list(csv.DictReader((adapted / "free_energy" / "frames.csv").open()))
    assert {row["run"] for row in rows} == {"0", "1"}
    progress = [
        RoundProgress(
            int(row["round"]), int(row["frames"]), float(row["time_ns"]),
            int(row["states_visited"]), int(row["crossings"]), float(row["crossings_per_ns"]),
        )
        for row in rows_of(adapted)
    ]  # fmt: skip
    summary = json.loads((adapted / "free_energy" / "summary.json").read_text())
    assert summary["strides"] == thinning_strides(progress)
    weights = np.array([float(row["weight"]) for row in rows])
    assert weights.sum() == pytest.approx(1.0, abs=1e-3)
    assert np.ptp(weights) > 0.0
    with np.load(adapted / "free_energy" / "free_energy.npz") as archive:
        assert {"mode_0", "mode_1", "phi", "psi", "free_energy:phi,psi"} <= set(archive.files)
    page = (adapted / "report.html").read_text()
    assert "The loop ended after 2 rounds" in page
    assert page.count("<figure>") == 4


def test_a_finished_loop_resumes_to_the_same_result(adapted, system):
    kept = (
        (adapted / "rounds.csv").read_bytes(),
        (adapted / "free_energy" / "frames.csv").read_bytes(),
    )
    before = (adapted / "round-2" / "model" / "model.safetensors").stat().st_mtime_ns
    run("adapt", "--system", system, "-o", adapted, *TINY, "--resume")
    assert kept == (
        (adapted / "rounds.csv").read_bytes(),
        (adapted / "free_energy" / "frames.csv").read_bytes(),
    )
    assert before == (adapted / "round-2" / "model" / "model.safetensors").stat().st_mtime_ns


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes(adapted, system, tmp_path):
    """kill -9 in a training, in a biased run, and between rounds; no frame or hill is lost."""
    folder = tmp_path / "adapt"
    arguments = ["adapt", "--system", system, "-o", folder, *TINY, "--resume"]
    moments = [
        folder / "round-1" / "model" / "checkpoint" / "last.ckpt",
        folder / "round-1" / "metadynamics" / "colvar.csv",
        folder / "round-2" / "weights.npy",
    ]
    for moment in moments:
        process = begin(*arguments)
        assert wait_for(moment.exists, process), moment
        assert kill(process)
        assert not (folder / "report.html").exists()
    run(*arguments)
    # the first model is the same, bit for bit, as without a kill
    model = "round-1/model/model.safetensors"
    assert (folder / model).read_bytes() == (adapted / model).read_bytes()
    for number in (1, 2):
        biased = BiasedRun.read(folder / f"round-{number}" / "metadynamics")
        assert biased.frames.time_ps == pytest.approx(0.05 * np.arange(1, FRAMES + 1))
        assert biased.hill_list.time_ps == pytest.approx(biased.frames.time_ps)
        with md.open(str(biased.folder / "trajectory.xtc")) as trajectory:
            assert len(trajectory) == FRAMES
    assert [row["frames"] for row in rows_of(folder)] == ["100", str(FRAMES), str(FRAMES)]
    assert (folder / "report.html").is_file()


def test_other_options_on_resumption_are_told(adapted, system, refused):
    line = refused("adapt", "--system", system, "-o", adapted, *TINY, "--resume", "--height", 2)
    assert "height was 1.0 and is now 2.0" in line


def test_a_folder_in_use_is_left_alone(adapted, system, refused):
    before = (adapted / "rounds.csv").read_bytes()
    line = refused("adapt", "--system", system, "-o", adapted, *TINY)
    assert "already holds another run" in line
    assert (adapted / "rounds.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--modes", "auto", "1"], "--modes auto 1: neither auto nor numbers"),
        (["--time-ns", "0"], "--time-ns must be positive"),
        (["--flatten", "2"], "flatten"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--atoms", "name QQ"], "0 atoms"),
        (["--modes", "0", "99"], "--modes 99"),
        (["--modes", "0", "0"], "--modes names a mode twice: 0 0"),
        (["--chart", "cartesian", "--modes", "0", "-1"], "--modes -1: the model has 24 modes"),
        (["--modes", "0", "1", "2", "3"], "--modes names 4 modes; metadynamics takes 1 to 3"),
        (["--range", "5", "6"], "--range 5 6 must hold -3 to 3"),
        (["--range", "9", "-9"], "--range 9 -9: LOW must be below HIGH"),
        (["--range", "-9", "nan"], "--range must be a finite number; got nan"),
        (["--fill", "-3"], "--fill must be above kT (2.49 kJ/mol); got -3 kJ/mol"),
        (["--fill", "0"], "--fill must be above kT"),
        (["--height", "0"], "--height must be positive"),
        (["--width", "wide"], "--width wide: neither auto nor numbers"),
        (["--width", "-0.2"], "--width must be positive; got -0.2"),
        (["--width", "0.2", "0.3"], "--width 0.2 0.3: without --modes there may be two"),
        (["--width", "0.2", "0.3", "--modes", "0"], "--width has 2 numbers for 1 modes"),
        (["--width", "5"], "must hold more than four hill widths (5)"),
        (["--width", "0.1"], "is too large: give a larger --width"),
        (["--width", "0.03", "--modes", "0", "1"], "is too large: give a larger --width"),
        (["--width", "0.05", "--modes", "0", "1", "--backend", "python"], "or --backend native"),
        (["--bias-factor", "0.5"], "--bias-factor must be above 1"),
        (["--pace", "0"], "--pace must be positive"),
        (["--pace", "0.003"], "--pace 0.003 ps is not a whole number of time steps of 2 fs"),
        (["--timestep-fs", "0"], "--timestep-fs must be positive"),
        (["--temperature", "0"], "--temperature must be positive"),
        (["--flatten", "nan"], "--flatten"),
        (["--growth", "nan"], "--growth must be a finite number"),
        (["--final-ns", "inf"], "--final-ns must be a finite number"),
        (["--start-ns", "-1"], "--start-ns must be positive"),
        (
            ["--chart", "cartesian", "--start-ns", "0.004"],
            "24 modes take at least 28: give 0.006 or more",
        ),
        (["--platform", "Abacus"], "--platform Abacus is not installed"),
        (["--backend", "abacus"], "--backend"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_end_before_anything_is_made(system, tmp_path, refused, arguments, words):
    folder = tmp_path / "adapt"
    assert words in refused("adapt", "--system", system, "-o", folder, *arguments)
    assert not list(tmp_path.iterdir())


def test_no_system_is_told(tmp_path, refused):
    assert "--system system.xml" in refused("adapt", "-o", tmp_path / "adapt")


def test_a_trajectory_of_another_molecule_is_told(system, tmp_path, refused, wobble, topology):
    other = tmp_path / "other.xtc"
    md.Trajectory(wobble(20).astype(np.float32), topology).save_xtc(other)
    folder = tmp_path / "adapt"
    line = refused("adapt", other, "--system", system, "-o", folder)
    assert "has 10 atoms, its topology has 22" in line
    assert not folder.exists()


def test_too_few_frames_are_told_before_anything_is_made(adapted, system, tmp_path, refused):
    few = tmp_path / "few.xtc"
    start = md.load(
        str(adapted / "start" / "trajectory.xtc"), top=str(system.parent / "topology.pdb")
    )
    start[:26].save_xtc(few)
    line = refused(
        "adapt", few, "--chart", "cartesian", "--system", system, "-o", tmp_path / "adapt"
    )
    assert "26 frames, a tenth of them for validation, cannot determine 24" in line
    assert not (tmp_path / "adapt").exists()
