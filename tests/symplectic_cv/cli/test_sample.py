"""`symplectic-cv sample` end to end."""

import csv
import json
import shutil

import mdtraj as md
import numpy as np
import openmm
import pytest
from commands import run
from openmm import unit

from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.cli.main import main
from symplectic_cv.errors import HamiltonianError
from symplectic_cv.files.tables import read_table
from symplectic_cv.sampling import chains

SMALL = ["--steps", "30", "--batch", "32", "--layers", "2", "--hidden", "8", "--samples", "200"]
KEYS = {
    "method",
    "proposals",
    "acceptance",
    "ess_importance",
    "ess_chain",
    "autocorrelation",
    "rhat",
}


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "well"
    run("variational", "double-well", "-o", folder, *SMALL)
    return folder


@pytest.fixture(scope="module")
def molecule(tmp_path_factory):
    """A flexible dipeptide, and a model of it that is its harmonic start but for a few steps."""
    folder = tmp_path_factory.mktemp("sample-molecule")
    pdb = built_in_pdb("alanine-dipeptide")
    write_structure(build_system(pdb, Solvent.VACUUM, flexible=True), folder)
    few = ["--steps", "4", "--batch", "8", "--layers", "2", "--hidden", "8", "--samples", "200"]
    run("variational", "--system", folder / "system.xml", "-o", folder / "model", *few)
    return folder


@pytest.mark.parametrize("method", ["independence", "importance", "rejection"])
def test_samples_of_an_analytic_hamiltonian(well, tmp_path, method):
    few = ["--samples", "640", "--warmup", "10", "--method", method]
    run("sample", well, "-o", tmp_path / "out", *few)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"samples.npz", "samples.csv", "summary.json", "samples.png", "run.json"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(summary) >= KEYS
    assert summary["method"] == method
    with open(tmp_path / "out" / "samples.csv") as table:
        rows = list(csv.DictReader(table))
    q = np.load(tmp_path / "out" / "samples.npz")["q"]
    assert len(rows) == len(q) == summary["samples"]
    energy = np.array([float(row["energy"]) for row in rows])
    np.testing.assert_allclose(energy, 2.0 * (q[:, 0] ** 2 - 1.0) ** 2, rtol=1e-6)
    w = np.array([float(row["weight"]) for row in rows])
    assert w.mean() == pytest.approx(1.0)
    assert (w.std() > 0.0) == (method == "importance")
    run("sample", well, "-o", tmp_path / "again", *few)
    again = np.load(tmp_path / "again" / "samples.npz")["q"]
    np.testing.assert_array_equal(q, again)


def test_samples_of_a_molecule_are_a_trajectory(molecule, tmp_path):
    run(
        *("sample", molecule / "model", "--system", molecule / "system.xml"),
        *("-o", tmp_path / "out", "--samples", "64", "--chains", "8", "--method", "pcn"),
        *("--warmup", "10"),
    )
    found = md.load(str(tmp_path / "out/samples.dcd"), top=str(tmp_path / "out/topology.pdb"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found.n_frames == summary["samples"] == 64
    assert found.n_atoms == 22
    energy = read_table(tmp_path / "out" / "samples.csv")["energy"].to_numpy()
    system = openmm.XmlSerializer.deserialize((molecule / "system.xml").read_text())
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)
    for k in range(0, 64, 8):
        context.setPositions(found.xyz[k].astype(float))
        state = context.getState(energy=True)
        again = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        assert again == pytest.approx(energy[k], abs=0.02)  # kJ/mol; XTC: several
    assert {"cos_phi", "sin_psi"} <= set(summary["autocorrelation_of"])
    assert summary["units"]["energy"] == "kJ/mol"
    assert 0.0 < summary["acceptance"] <= 1.0


def test_a_finished_run_resumes_to_itself(well, tmp_path, capsys, refused):
    few = ["-o", tmp_path / "out", "--samples", "200", "--warmup", "5"]
    run("sample", well, *few)
    before = (tmp_path / "out" / "summary.json").read_text()
    run("sample", well, *few, "--resume")
    assert "complete" in capsys.readouterr().out
    assert (tmp_path / "out" / "summary.json").read_text() == before
    assert "seed was 0 and is now 1" in refused("sample", well, *few, "--resume", "--seed", "1")


def test_one_sample_has_no_error(well, tmp_path, capsys):
    run("sample", well, "-o", tmp_path / "out", "--samples", "1", "--method", "importance")
    assert "(error unknown)" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["mean_energy_standard_error"] is None


def test_what_cannot_be_sampled(well, molecule, tmp_path, refused):
    out = ["-o", tmp_path / "out"]
    assert "--samples 10 is less" in refused("sample", well, *out, "--samples", "10")
    assert "name its --system" in refused("sample", molecule / "model", *out)
    assert "not of a molecule" in refused("sample", well, *out, "--system", molecule / "system.xml")
    pdb = built_in_pdb("alanine-dipeptide")
    (tmp_path / "rigid").mkdir()
    write_structure(build_system(pdb, Solvent.VACUUM), tmp_path / "rigid")
    rigid = refused("sample", molecule / "model", *out, "--system", tmp_path / "rigid/system.xml")
    assert "`flexible`" in rigid
    assert not (tmp_path / "out").exists()


def test_a_run_that_cannot_work_leaves_nothing_behind(molecule, tmp_path, refused):
    """Two chains that stand still, from a model of four steps, in one proposal each."""
    line = refused(
        *("sample", molecule / "model", "--system", molecule / "system.xml"),
        *("-o", tmp_path / "out", "--samples", "8", "--chains", "2", "--warmup", "0"),
    )
    assert "proposals was accepted: try --method pcn or hmc" in line
    assert not (tmp_path / "out").exists()


@pytest.fixture
def killed(well, tmp_path, monkeypatch):
    """A run of four blocks that was killed after the second; its folder and how to resume it."""
    write_state, written = chains._Keeper.write_state, []

    def kill(self, *arguments, **numbers):
        write_state(self, *arguments, **numbers)
        written.append(numbers["steps"])
        if len(written) == 2:
            raise KeyboardInterrupt

    again = ["sample", well, "-o", tmp_path / "out", "--samples", "256", "--chains", "8"]
    again += ["--warmup", "5"]
    with monkeypatch.context() as patched:
        patched.setattr(chains._Keeper, "write_state", kill)
        patched.setattr(chains, "BLOCK", 64)
        with pytest.raises(SystemExit) as info:
            main([str(word) for word in again])
    assert info.value.code == 130
    assert written == [8, 16]
    return tmp_path / "out", [*again, "--resume"]


def lose_an_array(file):
    with np.load(file) as archive:
        arrays = dict(archive)
    arrays.pop("u" if "u" in arrays else "log_weight")
    np.savez(file, **arrays)


def truncate(file):
    file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("damage", [truncate, lose_an_array], ids=["truncated", "without an array"])
@pytest.mark.parametrize("name", ["state", "pilot", "block-000000000"])
def test_a_damaged_checkpoint_is_told_and_left(killed, refused, name, damage):
    folder, again = killed
    damage(folder / "checkpoint" / f"{name}.npz")
    assert f"{name}.npz: damaged" in refused(*again)
    assert {path.name for path in folder.iterdir()} == {"run.json", "checkpoint"}


def test_a_lost_block_is_told(killed, refused):
    folder, again = killed
    (folder / "checkpoint" / "block-000000000.npz").unlink()
    assert "a block of samples is missing" in refused(*again)
    assert not (folder / "samples.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "512"], "samples was 256 and is now 512"),
        (["--method", "pcn"], "method was 'independence' and is now 'pcn'"),
        (["--chains", "16"], "chains was 8 and is now 16"),
        (["--seed", "1"], "seed was 0 and is now 1"),
    ],
)
def test_other_options_cannot_resume(killed, refused, options, message):
    folder, again = killed
    assert message in refused(*again, *options)
    assert (folder / "checkpoint" / "state.npz").is_file()


def test_an_energy_that_fails_on_the_way_leaves_nothing_behind(
    well, tmp_path, refused, monkeypatch
):
    def fail(*_):
        raise HamiltonianError("double-well: the energy of 1 of 8 phase-space points is NaN")

    monkeypatch.setattr("symplectic_cv.sampling.sample.sample_target", fail)
    assert "points is NaN" in refused("sample", well, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_model_cannot_resume(well, tmp_path, refused):
    few = ["-o", tmp_path / "out", "--samples", "200"]
    run("sample", well, *few)
    (tmp_path / "out" / "summary.json").unlink()
    shutil.copy(well / "config.json", tmp_path / "out" / "run.json")
    assert "cannot resume" in refused("sample", well, *few, "--resume")
