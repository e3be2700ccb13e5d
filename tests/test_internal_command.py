"""`train --chart internal` and what the other commands make of such a model."""

import csv
import json

import numpy as np
import pytest
from commands import run

from openmm_plugin.energies import MolecularHamiltonian
from openmm_plugin.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.storage import load_model

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


def test_it_is_not_a_collective_variable(model, tmp_path, refused):
    assert "--chart cartesian" in refused("export", model, "-o", tmp_path / "cv.pt")


def test_what_does_not_fit_is_told(folder, tmp_path, refused):
    begin = ["train", folder / "frames.npz", "--top", folder / "topology.pdb"]
    out = ["-o", tmp_path / "out"]
    system = ["--system", folder / "system.xml"]
    assert "name its --system" in refused(*begin, *out, *SMALL, "--energy-weight", "1")
    assert "weight is 0" in refused(*begin, *out, *SMALL, *system, "--energy-weight", "0")
    assert "needs --chart internal" in refused(*begin, *out, *system, "--energy-weight", "1")
    assert "no angles on the circle" in refused(*begin, *out, *SMALL, "--coupling", "affine")
    heavy = refused(*begin, *out, "--chart", "internal", *system, "--energy-weight", "1")
    assert "an energy needs all atoms" in heavy
    assert not (tmp_path / "out").exists()
