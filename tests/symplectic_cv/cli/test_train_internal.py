"""`train --chart internal` and what the other commands make of such a model."""

import csv
import json
import math

import mdtraj as md
import numpy as np
import pytest
import torch
from commands import run

from openmm_plugin.energies.hamiltonian import MolecularHamiltonian
from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.models.model_folder import load_model

SMALL = [
    *("--atoms", "all", "--chart", "internal", "--steps", "24", "--batch", "32"),
    *("--layers", "2", "--hidden", "8", "--bins", "4"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames of a flexible dipeptide near its minimum, as normal modes swing."""
    folder = tmp_path_factory.mktemp("internal")
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)
    write_structure(molecule, folder)
    hamiltonian = MolecularHamiltonian(molecule, 300.0)
    curvature, modes = np.linalg.eigh(hamiltonian.hessian().numpy())
    noise = np.random.default_rng(0).normal(size=(400, 60))
    noise /= np.sqrt(np.maximum(curvature, 25.0))
    q = hamiltonian.frame.basis.new_tensor(noise @ modes.T)
    np.savez(folder / "frames.npz", hamiltonian.frame.positions(q).numpy().astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    run(
        *("train", folder / "frames.npz", "--top", folder / "topology.pdb", *SMALL),
        *("--system", folder / "system.xml", "-o", folder / "model"),
    )
    return folder / "model"


def test_a_training_mixes_likelihood_and_energy(model):
    config = json.loads((model / "config.json").read_text())
    assert config["flow"]["chart"] == "internal"
    assert config["training"]["options"]["momentum_weight"] == 0.0
    with open(model / "history.csv") as table:
        rows = list(csv.DictReader(table))
    shares = [float(row["validation_ess"]) for row in rows]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert config["training"]["options"]["energy_weight"] == 1.0
    assert load_model(model).dimension == 60


def test_it_samples(model, folder, tmp_path):
    run(
        *("sample", model, "--system", folder / "system.xml", "-o", tmp_path / "out"),
        *("--samples", "64", "--chains", "8", "--method", "pcn", "--warmup", "30"),
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert 0.0 < summary["acceptance"] <= 1.0


def test_it_has_thermodynamics(model, folder, tmp_path, capsys, monkeypatch):
    """Thermodynamics of configurations, with exact momenta; a spectrum only on demand."""
    monkeypatch.setattr("symplectic_cv.sampling.proposal.PILOT", 256)
    run(
        *("thermodynamics", model, "--system", folder / "system.xml", "-o", tmp_path / "out"),
        *("--samples", "200", "--to-temperature", "310"),
    )
    assert "no spectrum: a model in internal coordinates" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["free_energy_bound"] > result["importance_free_energy"]
    assert result["spectrum_resolution"] is None
    assert result["differences"][0]["to"] == "310 K"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"result.json", "report.html"}


def test_it_is_analysed(model, folder, tmp_path):
    run(
        *("analyze", model, folder / "frames.npz", "--top", folder / "topology.pdb"),
        *("-o", tmp_path / "out"),
    )
    with open(tmp_path / "out" / "modes.csv") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 60
    spread = np.array([float(row["std_scaled"]) for row in rows])
    # methyl groups stand in one of their three places here, and in all of them in the training
    assert np.median(spread) == pytest.approx(1.0, abs=0.2)
    assert 0.0 < spread.min() < spread.max() < 3.0


def test_it_draws_paths_and_structures_at_a_value_of_a_mode(model, folder, tmp_path):
    frames = f"{folder / 'frames.npz'}:"
    run(
        *("path", model, "--start", frames + "0", "--end", frames + "1", "--points", "3"),
        *("--top", folder / "topology.pdb", "-o", tmp_path / "path"),
    )
    with open(tmp_path / "path" / "path.csv") as table:
        assert all(
            math.isfinite(float(row["log_likelihood_nats"])) for row in csv.DictReader(table)
        )
    run("sample", model, "--fix", "mode 0 = 1", "--samples", "8", "-o", tmp_path / "fixed")
    found = md.load(str(tmp_path / "fixed/samples.dcd"), top=str(tmp_path / "fixed/topology.pdb"))
    network = load_model(model).double()
    with torch.no_grad():
        modes = network.collective_variables(torch.from_numpy(found.xyz.astype(float)))
    np.testing.assert_allclose(modes[:, 0].numpy(), 1.0, atol=0.1)  # three decimals of a nm


@pytest.mark.parametrize("command", ["export", "metadynamics", "umbrella"])
def test_it_is_not_a_collective_variable(model, folder, tmp_path, refused, command):
    system = [] if command == "export" else ["--system", folder / "system.xml"]
    line = refused(command, model, *system, "--modes", "0", "-o", tmp_path / "out")
    assert "each torsion is cut somewhere" in line
    assert "train one with `chart='cartesian'`" in line
    assert not (tmp_path / "out").exists()


def test_adapt_begins_with_trajectories_not_with_a_model(model, folder, tmp_path, refused):
    line = refused("adapt", model, "--system", folder / "system.xml", "-o", tmp_path / "out")
    assert "is a folder" in line
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_told(folder, tmp_path, refused):
    begin = ["train", folder / "frames.npz", "--top", folder / "topology.pdb"]
    out = ["-o", tmp_path / "out"]
    system = ["--system", folder / "system.xml"]
    assert "give --system" in refused(*begin, *out, *SMALL, "--energy-weight", "1")
    assert "weight is 0" in refused(*begin, *out, *SMALL, *system, "--energy-weight", "0")
    assert "needs --chart internal" in refused(*begin, *out, *system, "--energy-weight", "1")
    assert "no angles on the circle" in refused(*begin, *out, *SMALL, "--coupling", "affine")
    heavy = refused(*begin, *out, "--chart", "internal", *system, "--energy-weight", "1")
    assert "an energy needs all atoms" in heavy
    assert not (tmp_path / "out").exists()
