"""Reading for commands: counts before work, checks without training, masses of beads."""

import mdtraj as md
import numpy as np
import pytest
from commands import run

from symplectic_cv.models.model_folder import load_model


@pytest.fixture
def files(tmp_path, topology, wobble):
    trajectory = md.Trajectory(wobble(200).astype(np.float32), topology)
    trajectory[0].save(str(tmp_path / "top.pdb"))
    trajectory.save(str(tmp_path / "run.dcd"))
    return tmp_path


def test_a_check_reports_and_writes_nothing(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    run("train", "run.dcd", "--top", "top.pdb", "--check")
    text = capsys.readouterr().out
    for words in (
        "run.dcd: 200 frames",
        "atoms: 10 of 10, ACE1-CH3 (atom 1) to NME3-C (atom 10), 9 bonds",
        "coordinates: 24 (3N - 6)",
        "coordinates are not rounded",
        "stereocentres: ALA2-CA (atom 5)",
        "training frames: 180 (180.0 effective), validation frames: 20",
        "nothing was written (--check)",
    ):
        assert words in text
    assert {path.name for path in files.iterdir()} == {"top.pdb", "run.dcd"}
    run("train", "run.dcd", "--top", "top.pdb", "--check", "--chart", "torsion")
    text = capsys.readouterr().out
    assert "mode 0" in text
    assert "nothing was written (--check)" in text
    assert {path.name for path in files.iterdir()} == {"top.pdb", "run.dcd"}


def test_too_few_frames_are_refused_before_they_are_read(files, refused, monkeypatch):
    monkeypatch.setattr("symplectic_cv.cli.frames.read_trajectories", None)  # never called
    md.load(str(files / "run.dcd"), top=str(files / "top.pdb"))[:20].save(str(files / "few.dcd"))
    line = refused("train", files / "few.dcd", "--top", files / "top.pdb", "-o", files / "m")
    assert "20 frames (18 training frames) cannot determine 24 internal coordinates" in line
    assert "--atoms" in line
    assert not (files / "m").exists()


def test_strict_refuses_a_cut_file(files, refused, capsys):
    content = (files / "run.dcd").read_bytes()
    (files / "cut.dcd").write_bytes(content[:-7])
    words = ["train", files / "cut.dcd", "--top", files / "top.pdb", "--check"]
    assert "frame 199 is cut" in refused(*words, "--strict")
    run(*words)
    assert "199 whole frames were read" in capsys.readouterr().err


@pytest.mark.parametrize("masses", ["72", "file"])
def test_beads_take_their_masses_from_the_user(tmp_path, wobble, refused, masses):
    topology = md.Topology()
    chain = topology.add_chain()
    for number in range(5):
        residue = topology.add_residue("ALA", chain, resSeq=number + 1)
        topology.add_atom("BB", None, residue)
        topology.add_atom("SC1", None, residue)
    np.savez(tmp_path / "run.npz", wobble(200))
    md.Trajectory(wobble(1), topology).save(str(tmp_path / "top.gro"))
    words = ["train", tmp_path / "run.npz", "--top", tmp_path / "top.gro", "--atoms", "all"]
    words += ["-o", tmp_path / "model", "--steps", "2", "--layers", "1", "--hidden", "4"]
    assert "bead of a coarse-grained model such as Martini" in refused(*words)
    expected = np.full(10, 72.0)
    if masses == "file":
        expected = np.arange(10) + 40.0
        masses = tmp_path / "masses.txt"
        masses.write_text("\n".join(map(str, expected)))
    run(*words, "--masses", masses)
    np.testing.assert_array_equal(load_model(tmp_path / "model").molecule.masses, expected)
    assert "neither a number nor a file" in refused(*words[:-6], "--masses", "heavy", "--check")
