"""`analyze`: its tables, report and torsions."""

import json
import re

import mdtraj as md
import numpy as np
from commands import N_FRAMES, N_MODES, numbers, run, table_rows


def test_analyze_writes_its_tables_and_a_report(trained, trajectory, tmp_path, capsys):
    output = tmp_path / "analysis"
    run("analyze", trained, trajectory, "-o", output)
    header, *rows = table_rows(output / "modes.csv")
    assert header == ["mode", "omega_rad_per_ps", "period_ps", "std_scaled"]
    modes = numbers(rows)
    assert modes[:, 0].tolist() == list(range(N_MODES))
    assert (np.diff(modes[:, 1]) >= 0).all()  # slowest first
    np.testing.assert_allclose(modes[:, 1] * modes[:, 2], 2 * np.pi, rtol=1e-6)
    config = json.loads((trained / "config.json").read_text())
    np.testing.assert_allclose(modes[:, 1], config["omega_rad_per_ps"], rtol=1e-4)
    header, *rows = table_rows(output / "mutual_information.csv")
    assert header == ["mode", "phi", "psi"]
    information = numbers(rows)
    assert information.shape == (N_MODES, 3)
    assert information[:, 1:].max() > 0.1
    with np.load(output / "latent.npz") as archive:
        assert any(archive[key].shape == (N_FRAMES, N_MODES) for key in archive.files)
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert len(list(output.glob("*.png"))) >= 2
    assert "slowest frequencies" in capsys.readouterr().out


def test_analyze_takes_torsions_by_name_and_by_atoms(trained, trajectory, tmp_path):
    run(
        *("analyze", trained, trajectory, "-o", tmp_path / "a"),
        *("--torsions", "psi", "mine=5,7,9,15"),
    )
    assert table_rows(tmp_path / "a" / "mutual_information.csv")[0] == ["mode", "psi", "mine"]


def test_a_trajectory_of_another_molecule_is_refused(
    trained, npz, refused_without_output, topology
):
    other = md.Topology()
    residue = other.add_residue("OXY", other.add_chain())
    for k in range(10):
        other.add_atom(f"O{k}", md.element.oxygen, residue)
    path = npz(lambda x: None)
    md.Trajectory(np.load(path)["positions"][:1], other).save_pdb(str(path.with_suffix(".pdb")))
    line = refused_without_output("analyze", trained, path)
    assert re.search(r"atom 1 is OXY0-O0 where the model has ACE1-CH3", line)
