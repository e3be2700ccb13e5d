"""The analysis of a trajectory: its files, its page, its figures."""

import csv

import mdtraj as md
import numpy as np
import pytest
import torch

from symplectic_cv.cli.main import main
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.models.model_folder import HISTORY, load_model, save_model
from symplectic_cv.molecule import Molecule
from symplectic_cv.reports.pages import ENVIRONMENT, render_page
from symplectic_cv.training.likelihood import initial_model
from symplectic_cv.training.result import HistoryRow

N_FRAMES = 300


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, molecule, wobble):
    """Two trajectories with a topology, and a model of them with a record of its training."""
    folder = tmp_path_factory.mktemp("report")
    positions = wobble(N_FRAMES, seed=1)
    every = md.Trajectory(positions.astype(np.float32), molecule.topology)
    every[:200].save_xtc(str(folder / "first.xtc"))
    every[200:].save_xtc(str(folder / "second.xtc"))
    every[0].save_pdb(str(folder / "first.pdb"))
    model, _ = initial_model(positions, molecule, 300.0, FlowOptions(layers=2, hidden=8))
    history = [HistoryRow(10 * k, -30.0 - k, -29.0 - k, -60.0, 1e-3) for k in range(1, 5)]
    training = {"validation_nll_nats": -33.25, "warnings": ["few <frames>"]}
    save_model(folder / "model", model, history, training)
    return folder


def _analyze(folder, *options, output="analysis"):
    with pytest.raises(SystemExit) as end:
        sources = [f"{folder}/first.xtc", f"{folder}/second.xtc"]
        main(["analyze", f"{folder}/model", *sources, "-o", f"{folder}/{output}", *options])
    return end.value.code


@pytest.fixture(scope="module")
def analysis(workplace):
    assert _analyze(workplace) == 0
    return workplace / "analysis"


def _rows(path):
    with open(path, newline="") as handle:
        return list(csv.reader(handle))


def test_modes_are_listed_slowest_first(analysis):
    header, *rows = _rows(analysis / "modes.csv")
    assert header == ["mode", "omega_rad_per_ps", "period_ps", "std_scaled"]
    mode, omega, period, spread = np.array(rows, dtype=float).T
    assert list(mode) == list(range(24))
    assert (np.diff(omega) > 0).all()
    np.testing.assert_allclose(period, 2 * np.pi / omega, rtol=1e-6)
    # the model is the quasi-harmonic one of these frames; XTC rounds them to 0.001 nm
    np.testing.assert_allclose(spread, 1.0, atol=0.02)


def test_mutual_information_has_a_column_per_torsion(analysis):
    header, *rows = _rows(analysis / "mutual_information.csv")
    assert header == ["mode", "phi", "psi"]
    values = np.array(rows, dtype=float)
    assert values.shape == (24, 3)
    assert (values >= 0).all()


def test_latent_frames_are_kept_with_their_runs(analysis, workplace):
    with np.load(analysis / "latent.npz", allow_pickle=False) as archive:
        assert archive["modes"].shape == (N_FRAMES, 24)
        assert list(archive["torsion_names"]) == ["phi", "psi"]
        assert np.abs(archive["torsions"]).max() <= np.float32(np.pi)
        assert [int(n) for n in np.bincount(archive["run"])] == [200, 100]
        assert int(archive["frame"][200]) == 0
        assert archive["run_names"][1].endswith("second.xtc")
        model = load_model(workplace / "model")
        files = [workplace / "first.xtc", workplace / "second.xtc"]
        data = read_trajectories(files, molecule=model.molecule)
        with torch.no_grad():
            positions = torch.as_tensor(data.positions)
            modes = model.collective_variables(positions).numpy()
            likelihood = model.log_likelihood(positions).numpy()
        np.testing.assert_allclose(archive["modes"], modes, atol=1e-5)
        np.testing.assert_allclose(archive["log_likelihood"], likelihood, atol=1e-3)


def test_the_page_stands_alone_and_tells_what_matters(analysis):
    page = (analysis / "report.html").read_text()
    drawn = ["free_energy", "frequencies", "kinetics", "latent_plane", "mutual_information"]
    drawn += ["ramachandran", "training"]
    assert sorted(file.stem for file in analysis.glob("*.png")) == drawn
    assert page.count("data:image/png;base64,") == len(drawn)
    assert 'src="http' not in page
    assert "<link" not in page
    for text in ("-33.25 nats", "rad/ps", "phi (nats)", "det A", "few &lt;frames&gt;"):
        assert text in page


def test_torsions_can_be_named(workplace):
    assert _analyze(workplace, "--torsions", "psi", "bend=1,2,4,5", output="named") == 0
    assert _rows(workplace / "named" / "mutual_information.csv")[0] == ["mode", "psi", "bend"]
    assert not (workplace / "named" / "ramachandran.png").exists()


def test_a_model_without_torsions_is_analysed_without_them(tmp_path, molecule, wobble, capsys):
    kept = np.arange(6)
    small = Molecule(molecule.topology.subset(kept), molecule.masses[kept], kept, 6)
    positions = wobble(60, seed=2)[:, kept]
    every = md.Trajectory(positions.astype(np.float32), small.topology)
    every.save_xtc(str(tmp_path / "first.xtc"))
    every.save_xtc(str(tmp_path / "second.xtc"))
    every[0].save_pdb(str(tmp_path / "first.pdb"))
    model, _ = initial_model(positions, small, 300.0, FlowOptions(layers=1, hidden=4))
    save_model(tmp_path / "model", model)
    assert _analyze(tmp_path) == 0
    assert "mutual information is left out" in capsys.readouterr().out
    assert not (tmp_path / "analysis" / "mutual_information.csv").exists()
    assert (tmp_path / "analysis" / "report.html").is_file()


def test_nothing_is_written_over(analysis, workplace, capsys):
    before = (analysis / "modes.csv").read_bytes()
    assert _analyze(workplace) == 2
    assert "already holds" in capsys.readouterr().err
    assert (analysis / "modes.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--torsions", "chi1"], "--torsions chi1"),
        (["--torsions", "a=1,2,3,99"], "no atom 99"),
        (["--top", "none.pdb"], "none.pdb: no such topology"),
    ],
)
def test_a_wrong_option_leaves_no_folder(workplace, capsys, options, message):
    assert _analyze(workplace, *options, output="wrong") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (workplace / "wrong").exists()


def test_a_damaged_history_is_told_before_the_work(workplace, capsys):
    path = workplace / "model" / HISTORY
    content = path.read_bytes()
    path.write_bytes(b"step,loss\n1")
    try:
        assert _analyze(workplace, output="wrong") == 2
    finally:
        path.write_bytes(content)
    error = capsys.readouterr().err
    assert "history.csv: " in error
    assert "truncated or altered" in error
    assert "remove it" in error
    assert not (workplace / "wrong").exists()


def test_html_is_escaped():
    assert "<title>a &lt;b&gt;</title>" in render_page("base.html", title="a <b>")
    macros = ENVIRONMENT.get_template("macros.html").module
    assert "<td>&lt;script&gt;</td>" in macros.table(["x"], [["<script>"]], "none")
