"""`simulate`: its files, longer runs, and what it refuses."""

import re

import mdtraj as md
import pytest
from commands import N_ATOMS, N_FRAMES, content, run, table_rows


def test_simulate_writes_its_files(simulated):
    names = {path.name for path in simulated.iterdir()}
    assert names >= {"trajectory.xtc", "topology.pdb", "system.xml", "state.csv"}
    frames = md.load(str(simulated / "trajectory.xtc"), top=str(simulated / "topology.pdb"))
    assert frames.xyz.shape == (N_FRAMES, N_ATOMS, 3)
    assert len(table_rows(simulated / "state.csv")) == 1 + N_FRAMES


def test_a_simulation_is_made_longer_by_resuming(tmp_path, refused):
    folder = tmp_path / "md"
    common = ["simulate", "alanine-dipeptide", "--solvent", "vacuum", "-o", folder]
    common += ["--stride-ps", "0.1"]
    run(*common, "--time-ns", "0.001")
    before = content(folder)
    for option, value in (("--temperature", "310"), ("--stride-ps", "0.2"), ("--seed", "1")):
        line = refused(*common, "--time-ns", "0.002", "--resume", option, value)
        assert re.search(rf"cannot resume, {option[2:].replace('-', '_')}\w* was .* and is", line)
    assert content(folder) == before
    run(*common, "--time-ns", "0.002", "--resume")
    assert len(table_rows(folder / "state.csv")) == 1 + 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate"], "name either a built-in molecule (alanine-dipep"),
        (["simulate", "benzene"], "'benzene' is not built in"),
        (["simulate", "--pdb", "none.pdb"], "none.pdb: no such PDB file"),
        (["simulate", "alanine-dipeptide", "--solvent", "beer"], "--solvent"),
        (["simulate", "alanine-dipeptide", "--time-ns", "0"], "--time-ns must be positive"),
        (["simulate", "alanine-dipeptide", "--stride-ps", "-1"], "--stride-ps must be positive"),
        (["simulate", "alanine-dipeptide", "--timestep-fs", "0"], "--timestep-fs"),
        (["simulate", "alanine-dipeptide", "--timestep-fs", "nan"], "--timestep-fs"),
        (["simulate", "alanine-dipeptide", "--forcefield", "no.xml"], "--forcefield no.xml"),
        (["simulate", "alanine-dipeptide", "--platform", "Abacus"], "--platform Abacus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = refused(*arguments)
    assert message in line
    assert not list(tmp_path.iterdir())
