"""`variational` and `thermodynamics` end to end, and every bad input as one line."""

import csv
import json

import numpy as np
import pytest
from commands import run

from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.cli.main import main
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.models.model_folder import load_model

SMALL = ["--steps", "40", "--batch", "32", "--layers", "2", "--hidden", "8", "--samples", "500"]


@pytest.fixture(scope="session")
def ring(tmp_path_factory):
    """A Ringworld of a few steps."""
    folder = tmp_path_factory.mktemp("variational") / "ring"
    run("variational", "ringworld", "-o", folder, *SMALL)
    return folder


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """A chain of two particles, learned well enough for importance weights."""
    folder = tmp_path_factory.mktemp("variational") / "chain"
    few = ["--size", "2", "--flow", "linear", "--steps", "150", "--batch", "64", "--samples", "500"]
    run("variational", "harmonic-chain", "-o", folder, *few)
    return folder


@pytest.fixture(scope="session")
def flexible(tmp_path_factory):
    """system.xml and topology.pdb of alanine dipeptide without constraints."""
    folder = tmp_path_factory.mktemp("flexible")
    pdb = built_in_pdb("alanine-dipeptide")
    write_structure(build_system(pdb, Solvent.VACUUM, flexible=True), folder)
    return folder


@pytest.fixture(scope="session")
def molecular(flexible):
    """A model of it of a few steps."""
    few = ["--steps", "4", "--batch", "8", "--layers", "2", "--hidden", "8", "--samples", "200"]
    run("variational", "--system", flexible / "system.xml", "-o", flexible / "model", *few)
    return flexible / "model"


def test_a_run_writes_what_it_promises(ring):
    result = json.loads((ring / "result.json").read_text())
    exact = Ringworld().exact_free_energy(1.0)
    assert result["exact"] == pytest.approx(exact)
    assert result["kl"] == pytest.approx(result["free_energy_bound"] - exact)
    assert result["free_energy_bound"] > exact - 4.0 * result["standard_error"]
    assert 0.0 < result["ess"] <= 1.0
    assert result["omega"] == sorted(result["omega"])
    assert set(result["mutual_information_nats"]) == {"angle", "radius"}
    names = {path.name for path in ring.iterdir()}
    assert names == {
        *("model.safetensors", "config.json", "history.csv", "result.json", "report.html"),
        *("training.png", "frequencies.png", "modes.png"),
    }
    assert str(round(result["free_energy_bound"], 4)) in (ring / "report.html").read_text()
    with open(ring / "history.csv") as table:
        assert int(list(csv.DictReader(table))[-1]["step"]) == 40


@pytest.mark.slow
def test_the_seed_makes_a_run_repeatable(ring, tmp_path):
    run("variational", "ringworld", "-o", tmp_path / "again", *SMALL)
    run("variational", "ringworld", "-o", tmp_path / "other", *SMALL, "--seed", "1")
    first, again, other = (
        json.loads((folder / "result.json").read_text())
        for folder in (ring, tmp_path / "again", tmp_path / "other")
    )
    assert again == first
    assert other["free_energy_bound"] != first["free_energy_bound"]


def test_thermodynamics_of_a_chain(chain, tmp_path):
    np.save(tmp_path / "x.npy", np.array([1.0, 0.0]))
    run(
        *("thermodynamics", chain, "-o", tmp_path / "out", "--samples", "4000"),
        *("--to-beta", "0.8", "--to", "harmonic-chain", "--observable", tmp_path / "x.npy"),
    )
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    exact = HarmonicChain(2).exact_free_energy(1.0)
    assert result["exact"] == pytest.approx(exact)
    assert result["reliable"]
    error = result["importance_standard_error"]
    assert abs(result["importance_free_energy"] - exact) < 4.0 * error < 0.2
    same, cooler = result["differences"]
    assert same["difference"] == pytest.approx(0.0, abs=1e-12)
    change = HarmonicChain(2).exact_free_energy(0.8) - exact
    assert abs(cooler["difference"] - change) < 4.0 * cooler["standard_error"] < 0.2
    table = np.genfromtxt(tmp_path / "out" / "spectrum.csv", delimiter=",", names=True)
    assert (table["density"] >= 0.0).all()
    # ⟨q₁²⟩ of two particles between walls: 2/3
    spacing = table["omega"][1]
    assert spacing * table["density"].sum() == pytest.approx(2.0 / 3.0, rel=0.05)
    assert {"spectrum.png", "report.html"} <= {p.name for p in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_thermodynamics_of_a_molecule(molecular, flexible, tmp_path):
    """The numbers of a hardly trained model are there, with a warning not to trust them."""
    np.save(tmp_path / "dipole.npy", np.random.default_rng(0).normal(size=(3, 22, 3)))
    run(
        *("thermodynamics", molecular, "-o", tmp_path / "out", "--samples", "200"),
        *("--system", flexible / "system.xml", "--to-temperature", "310"),
        *("--observable", tmp_path / "dipole.npy"),
    )
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["omega_unit"] == "rad/ps"
    assert result["exact"] is None
    assert result["free_energy_bound"] > result["importance_free_energy"]
    assert result["differences"][0]["to"] == "310 K"
    assert load_model(molecular).dimension == 60 == len(result["omega"])


def test_a_system_keeps_the_frame_of_its_model(molecular, flexible):
    """The energy of a decoded structure does not depend on which frame it is written in."""
    import torch

    from openmm_plugin.energies.hamiltonian import load_hamiltonian

    model = load_model(molecular)
    own = load_hamiltonian(flexible / "system.xml", None, 300.0)
    same = load_hamiltonian(flexible / "system.xml", None, 300.0, model.frame)
    q = 0.01 * torch.randn(4, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = model.frame.positions(q)
    torch.testing.assert_close(same.potential(q), own.potential(own.frame.coordinates(x)))


def test_complete_runs_are_not_run_again(ring, capsys):
    before = (ring / "result.json").read_bytes()
    run("variational", "ringworld", "-o", ring, *SMALL, "--resume")
    assert "complete" in capsys.readouterr().out
    assert (ring / "result.json").read_bytes() == before


def test_a_run_killed_while_it_took_its_samples_goes_on(ring, tmp_path, monkeypatch):
    from symplectic_cv.cli import variational as command

    def killed(*_):
        raise KeyboardInterrupt

    folder = tmp_path / "ring"
    with monkeypatch.context() as patched:
        patched.setattr(command, "estimate_variational", killed)
        with pytest.raises(SystemExit) as info:
            main(["variational", "ringworld", "-o", str(folder), *SMALL])
    assert info.value.code == 130
    assert not (folder / "result.json").exists()
    run("variational", "ringworld", "-o", folder, *SMALL, "--resume")
    assert (folder / "result.json").read_bytes() == (ring / "result.json").read_bytes()


BAD_RUNS = {
    "neither": ([], "either a SYSTEM"),
    "unknown": (["ringwurld"], "not built in"),
    "no particle": (["harmonic-chain", "--size", "0"], "at least one particle"),
    "size of a ring": (["ringworld", "--size", "4"], "fixed size"),
    "beta": (["ringworld", "--beta", "-1"], "--beta must be positive"),
    "leapfrog": (["double-well", "--flow", "continuous", "--integrator", "leapfrog"], "separable"),
    "order": (["double-well", "--flow", "continuous", "--order", "3"], "--order must be 2 or 4"),
    "steps": (["ringworld", "--steps", "0"], "--steps must be at least 1"),
    "bins": (["ringworld", "--coupling", "spline", "--bins", "1"], "--bins must be from 2"),
    "no file": (["--system", "missing.xml"], "no such file"),
    "own file": (["mine.py:Mine"], "mine.py: no such file"),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_bad_runs_end_in_one_line_and_write_nothing(name, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD_RUNS[name]
    assert message in refused("variational", *arguments, "-o", "out")
    assert not (tmp_path / "out").exists()


def test_bad_questions_to_a_model_end_in_one_line(refused, ring, molecular, flexible, tmp_path):
    out = tmp_path / "out"
    np.save(tmp_path / "long.npy", np.ones(5))
    xml = flexible / "system.xml"
    for arguments, message in [
        ([ring, "--system", xml], "not of a molecule"),
        ([ring, "--to", "double-well"], "has 1 coordinates, the model 2"),
        ([ring, "--to-beta", "-2"], "beta` must be positive"),
        ([ring, "--observable", tmp_path / "long.npy"], "shape (5,)"),
        ([ring, "--observable", ring / "history.csv"], "not a readable .npy"),
        ([ring, "--samples", "10"], "at least 100"),
        ([ring, "--samples", "0"], "at least 100"),
        ([ring, "--to-temperature", "0"], "are for molecules"),
        ([molecular, "--system", xml, "--to-beta", "0"], "--to-temperature"),
        ([molecular], "name its --system"),
        ([molecular, "--system", xml, "--to-beta", "2"], "--to-temperature"),
        ([molecular, "--system", xml, "--to-temperature", "0"], "--to-temperature must be"),
        ([tmp_path / "none"], "no such model folder"),
        ([ring, "-o", ring], "already holds another run"),
    ]:
        more = [] if "-o" in arguments else ["-o", out]
        assert message in refused("thermodynamics", *arguments, *more)
        assert not out.exists()


def test_a_model_of_part_of_the_atoms_has_no_energy(refused, flexible, tmp_path, make_model):
    from symplectic_cv.models.model_folder import save_model

    save_model(tmp_path / "heavy", make_model())
    line = refused(
        "thermodynamics", tmp_path / "heavy", "--system", flexible / "system.xml", "-o", tmp_path
    )
    assert "already holds" in line
    line = refused(
        *("thermodynamics", tmp_path / "heavy", "--system", flexible / "system.xml"),
        *("-o", tmp_path / "out"),
    )
    assert "has 22 atoms, the model 10" in line
