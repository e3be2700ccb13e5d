"""`train`: its files, a training that is killed, and the frames and options it refuses."""

import json
import re
import signal
import subprocess
import sys
import time

import mdtraj as md
import numpy as np
import pytest
from commands import (
    N_FRAMES,
    N_MODES,
    SMALL,
    begin,
    content,
    kill,
    numbers,
    run,
    table_rows,
    wait_for,
)


def test_train_writes_a_model_folder(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {"model.safetensors", "config.json", "history.csv"}
    config = json.loads((trained / "config.json").read_text())
    assert len(config["omega_rad_per_ps"]) == N_MODES
    assert config["training"]["frames"] == N_FRAMES
    assert any("the data are few" in warning for warning in config["training"]["warnings"])
    header, *rows = table_rows(trained / "history.csv")
    assert header[:3] == ["step", "train_nll", "validation_nll"]
    assert numbers(rows)[-1, 0] == 12


def test_a_complete_training_is_told_and_other_options_are_refused(
    trained, trajectory, refused, capsys
):
    before = content(trained)
    run("train", trajectory, "-o", trained, *SMALL, "--resume")
    assert "this training is complete" in capsys.readouterr().out
    line = refused("train", trajectory, "-o", trained, *SMALL, "--resume", "--hidden", "16")
    assert "this training is complete, with hidden 8, not 16" in line
    line = refused("train", trajectory, "-o", trained, "--chart", "torsion", "--resume")
    assert "with another --chart" in line
    assert content(trained) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_is_told_to_stop_says_so_and_is_resumed(
    trajectory, tmp_path, number, status
):
    options = ["--steps", "400", "--layers", "2", "--hidden", "8", "--batch", "64"]
    words = [sys.executable, "-m", "symplectic_cv", "train", trajectory, "-o", tmp_path / "m"]
    with subprocess.Popen(
        [*map(str, words), *options], stderr=subprocess.PIPE, text=True
    ) as process:
        while not (tmp_path / "m" / "checkpoint" / "last.ckpt").is_file():
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert "finished parts are kept, --resume goes on" in told
    assert not (tmp_path / "m" / "config.json").exists()
    run("train", trajectory, "-o", tmp_path / "m", *options, "--resume")
    run("train", trajectory, "-o", tmp_path / "whole", *options)
    for name in ("config.json", "history.csv", "model.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_training_is_resumed_as_if_nothing_had_happened(
    trajectory, tmp_path, refused, capsys
):
    options = ["--steps", "1200", "--layers", "2", "--hidden", "8", "--batch", "64"]
    run("train", trajectory, "-o", tmp_path / "whole", *options)
    killed = tmp_path / "killed"
    process = begin("train", trajectory, "-o", killed, *options)
    assert wait_for((killed / "checkpoint" / "last.ckpt").is_file, process)
    assert kill(process)
    assert not (killed / "config.json").exists()
    line = refused("analyze", killed, trajectory, "-o", tmp_path / "analysis")
    assert "unfinished training" in line
    before = content(killed)
    assert "already holds another run" in refused("train", trajectory, "-o", killed, *options)
    line = refused("train", trajectory, "-o", killed, *options, "--resume", "--seed", "5")
    assert "cannot resume, seed was 0 and is now 5" in line
    assert content(killed) == before
    run("train", trajectory, "-o", killed, *options, "--resume")
    for name in ("config.json", "history.csv", "model.safetensors"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in killed.iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


def _nan(x):
    x[17, 4, 1] = np.nan


def _infinite(x):
    x[59, 0, 2] = np.inf


def _broken(x):
    x[23, 8:] += [2.3, 0.0, 0.0]


def _repeated(x):
    x[:] = x[0]


def _one_coordinate_fixed(x):
    """Atoms that only breathe along one direction: most coordinates have no variance."""
    x[:] = x[0]
    x[:, :, 0] *= 1.0 + 0.01 * np.arange(60)[:, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, r"frames\.npz: frame 17 has NaN or infinite coordinates at .*\(atom 5\)"),
        (_infinite, r"frames\.npz: frame 59 has NaN or infinite coordinates at .*\(atom 1\)"),
        (_broken, r"frames\.npz: frame 23: .* nm apart, and the file holds no box"),
        (_repeated, r"all 54 training frames are the same structure"),
        (_one_coordinate_fixed, r"21 of 24 internal coordinates have zero variance"),
        (lambda x: x[:3], r"3 frames are too few"),
        (lambda x: x[:0], r"frames\.npz"),
        (lambda x: x[:, :9], r"frames\.npz: has 9 atoms, its topology has 10"),
        (lambda x: np.arange(7.0), r"frames\.npz: shape \(7,\)"),
    ],
    ids=["nan", "infinite", "broken", "repeated", "flat", "few", "none", "atoms", "shape"],
)
def test_bad_coordinates_are_refused(npz, refused_without_output, change, message):
    line = refused_without_output("train", npz(change), *SMALL)
    assert re.search(message, line), line


def test_collinear_atoms_are_refused(tmp_path, refused_without_output):
    """A linear molecule has no frame; all frames are otherwise healthy."""
    topology = md.Topology()
    residue = topology.add_residue("LIN", topology.add_chain())
    atoms = [topology.add_atom(name, md.element.carbon, residue) for name in ("C1", "C2", "C3")]
    topology.add_bond(atoms[0], atoms[1])
    topology.add_bond(atoms[1], atoms[2])
    rng = np.random.default_rng(0)
    stretch = np.cumsum(0.15 + 0.01 * rng.normal(size=(60, 3)), axis=1)
    x = stretch[..., None] * np.array([0.6, 0.0, 0.8])
    np.savez(tmp_path / "line.npz", positions=x)
    md.Trajectory(x[:1], topology).save_pdb(str(tmp_path / "line.pdb"))
    line = refused_without_output("train", tmp_path / "line.npz", *SMALL)
    assert "the selected atoms lie on one line" in line


def test_a_missing_trajectory_is_refused(tmp_path, refused_without_output):
    line = refused_without_output("train", tmp_path / "none.xtc")
    assert "none.xtc: no such trajectory file" in line


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_the_whole_frames_of_a_truncated_trajectory_are_trained_on(md_folder, capsys, kept):
    path = md_folder / "trajectory.xtc"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    run("train", path, "--check")
    assert "whole frames were read; frame" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [0.0, 0.001])
def test_a_truncated_trajectory_is_refused(md_folder, refused_without_output, kept):
    path = md_folder / "trajectory.xtc"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    line = refused_without_output("train", path, *SMALL)
    assert "trajectory.xtc: " in line


def test_a_trajectory_without_topology_is_refused(md_folder, refused_without_output):
    (md_folder / "topology.pdb").unlink()
    line = refused_without_output("train", md_folder / "trajectory.xtc")
    assert "no topology found beside it; name one with --top" in line


def test_a_topology_of_other_atoms_is_refused(trajectory, npz, refused_without_output):
    top = npz(lambda x: None).with_suffix(".pdb")
    line = refused_without_output("train", trajectory, "--top", top)
    assert re.search(r"trajectory\.xtc: has 22 atoms, its topology has 10: .*--top", line)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("name CA", r"has 1 atoms, a molecular frame needs at least 3"),
        ("name CA or name CB", r"has 2 atoms"),
        ("resname XYZ", r"has 0 atoms"),
        ("this is no selection (", r"is not an MDTraj selection"),
    ],
)
def test_a_selection_that_carries_no_frame_is_refused(
    trajectory, refused_without_output, selection, message
):
    line = refused_without_output("train", trajectory, "--atoms", selection)
    assert re.search(message, line)


def test_weights_that_do_not_fit_are_refused(trajectory, refused_without_output, tmp_path):
    path = tmp_path / "weights.npy"
    for weights, message in (
        (np.ones(N_FRAMES - 1), "399"),
        (-np.ones(N_FRAMES), "negative"),
        (np.full(N_FRAMES, np.nan), "NaN"),
        (np.zeros(N_FRAMES), "zero"),
    ):
        np.save(path, weights)
        line = refused_without_output("train", trajectory, *SMALL, "--weights", path)
        assert message in line
    path.write_bytes(b"no numbers")
    line = refused_without_output("train", trajectory, "--weights", path)
    assert "weights.npy: not a readable .npy file" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "a.xtc", "--steps", "0"], "--steps must be at least 1"),
        (["train", "a.xtc", "--momenta", "none"], "--momenta"),
        (["train", "a.xtc", "--momentum-weight", "-1"], "--momentum-weight"),
        (["train", "a.xtc", "--seed", "-1"], "--seed"),
        (["train", "a.docx"], "a.docx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = refused(*arguments)
    assert message in line
    assert not list(tmp_path.iterdir())
