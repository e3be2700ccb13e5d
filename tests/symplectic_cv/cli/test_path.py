"""`path` beyond the plain one: refined, scanned, with hydrogens; `sample --fix`."""

import csv
import json

import mdtraj as md
import numpy as np
import pytest
import torch
from commands import run

from symplectic_cv.models.model_folder import save_model


def rows(path):
    with open(path, newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def network(make_model):
    return make_model(torch.float64)


@pytest.fixture
def folder(tmp_path, network, wobble, molecule):
    save_model(tmp_path / "model", network)
    trajectory = md.Trajectory(wobble(4, seed=3).astype(np.float32), molecule.topology)
    trajectory.save_xtc(str(tmp_path / "run.xtc"))
    trajectory[0].save_pdb(str(tmp_path / "run.pdb"))
    return tmp_path


def test_the_command_refines_and_adds_hydrogens(folder, capsys):
    run(
        *("path", folder / "model", "--start", f"{folder}/run.xtc:0"),
        *("--end", f"{folder}/run.xtc:1", "--points", "4", "--refine", "--all-atom"),
        *("-o", folder / "out"),
    )
    said = capsys.readouterr().out
    assert "the refinement changed" in said
    assert "on the straight line in the latent space" in said
    heavy = md.load(str(folder / "out" / "path.pdb"))
    every = md.load(str(folder / "out" / "path-all-atom.pdb"))
    assert (every.n_frames, every.n_atoms) == (4, 22)
    there = every.topology.select("element != H")
    np.testing.assert_allclose(every.xyz[:, there], heavy.xyz, atol=2e-4)
    bonds = [
        (bond.atom1.index, bond.atom2.index)
        for bond in every.topology.bonds
        if "H" in (bond.atom1.element.symbol, bond.atom2.element.symbol)
    ]
    assert len(bonds) == 12
    lengths = md.compute_distances(every, bonds, periodic=False)
    assert (np.abs(lengths - 0.105) < 0.012).all()


def test_the_command_scans(folder):
    run(
        *("path", folder / "model", "--scan", "1", "--reach", "2", "--points", "5"),
        *("--start", f"{folder}/run.xtc:2", "-o", folder / "out"),
    )
    values = [float(row["mode_1"]) for row in rows(folder / "out" / "path.csv")]
    np.testing.assert_allclose(values, [-2.0, -1.0, 0.0, 1.0, 2.0])
    assert (folder / "out" / "path.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs --start and --end"),
        (["--scan", "99"], "--scan 99: the model has 24 modes"),
        (["--scan", "0", "--end", "run.xtc:0"], "takes --start"),
        (["--scan", "0", "--reach", "0"], "--reach must be positive"),
        (["--scan", "0", "--modes", "1"], "--modes is for a path between two ends"),
        (["--scan", "0", "--points", "1"], "--points must be at least 2"),
        (["--scan", "0", "--forcefield", "none.xml"], "--forcefield is for --all-atom"),
        (["--scan", "0", "--all-atom", "--forcefield", "none.xml"], "--forcefield none.xml"),
        (["--scan", "0", "--all-atom", "--forcefield", "tip3p.xml"], "cannot be added"),
    ],
)
def test_what_makes_no_path_is_told(folder, refused, options, message):
    line = refused("path", folder / "model", *options, "-o", folder / "out")
    assert message in line
    assert not (folder / "out").exists()


def test_undefined_torsions_are_told(folder, refused):
    """An end in which N, CA and C lie on a line: φ and ψ mean nothing there."""
    x = md.load(str(folder / "run.pdb"))
    phi = md.compute_phi(x)[0][0]
    i, j, k = phi[1:]
    x.xyz[0, i] = 2.0 * x.xyz[0, j] - x.xyz[0, k]
    x.save_pdb(str(folder / "line.pdb"))
    line = refused(
        *("path", folder / "model", "--start", f"{folder}/line.pdb"),
        *("--end", f"{folder}/run.xtc:0", "-o", folder / "out"),
    )
    assert "point 0 of the path: three atoms of phi lie on a line" in line


def test_structures_at_a_value_of_a_mode(folder, network):
    run(
        *("sample", folder / "model", "--fix", "mode 0 = 1.2", "--fix", "mode_2=-0.5"),
        *("--samples", "40", "-o", folder / "out"),
    )
    found = md.load(str(folder / "out/samples.dcd"), top=str(folder / "out/topology.pdb"))
    modes = network.collective_variables(torch.from_numpy(found.xyz.astype(float)))
    modes = modes.detach().numpy()
    np.testing.assert_allclose(modes[:, [0, 2]], np.tile([1.2, -0.5], (40, 1)), atol=0.1)
    assert modes[:, 1].std() > 0.5
    table = rows(folder / "out" / "samples.csv")
    assert {float(row["mode_0"]) for row in table} == {1.2}
    assert json.loads((folder / "out/summary.json").read_text())["fixed"] == {
        "mode_0": 1.2,
        "mode_2": -0.5,
    }


def test_structures_at_a_value_of_a_mode_are_drawn_at_once(folder, refused):
    """Else --resume would write among the files of another run."""
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("of another run")
    line = refused(
        "sample", folder / "model", "--fix", "mode 0 = 1", "--resume", "-o", folder / "out"
    )
    assert "leave --resume out" in line
    assert [path.name for path in (folder / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ("mode 0", "not of the form"),
        ("phi = 60", "not of the form"),
        ("mode 0 = 1.2.3", "not of the form"),
        ("mode 99 = 1", "--fix 99: the model has 24 modes"),
        ("mode 0 = 30", "nothing beyond"),
    ],
)
def test_what_cannot_be_fixed_is_told(folder, refused, fix, message):
    assert message in refused("sample", folder / "model", "--fix", fix, "-o", folder / "out")
    assert not (folder / "out").exists()
