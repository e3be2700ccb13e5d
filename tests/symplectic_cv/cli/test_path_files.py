"""`path` between two frames: its files and the ends it refuses."""

import re

import mdtraj as md
import numpy as np
import pytest
from commands import N_HEAVY, N_MODES, numbers, run, table_rows


def test_path_joins_two_frames(trained, trajectory, tmp_path, capsys):
    output = tmp_path / "path"
    run(
        *("path", trained, "--start", f"{trajectory}:0", "--end", f"{trajectory}:300"),
        *("--points", "12", "-o", output),
    )
    assert (output / "path.png").is_file()
    header, *rows = table_rows(output / "path.csv")
    modes = [f"mode_{mode}" for mode in range(N_MODES)]
    assert header == ["point", "log_likelihood_nats", *modes, "phi_deg", "psi_deg"]
    table = numbers(rows)
    assert table[:, 0].tolist() == list(range(12))
    way = md.load(str(output / "path.pdb"))
    assert (way.n_frames, way.n_atoms) == (12, N_HEAVY)
    frames = md.load(str(trajectory), top=str(trajectory.with_name("topology.pdb")))
    heavy = frames.atom_slice(frames.topology.select("element != H"))
    for point, frame in ((0, 0), (11, 300)):
        assert md.rmsd(way[point], heavy[frame])[0] < 2e-3
        np.testing.assert_allclose(
            [np.sin(np.radians(table[point, -2:])), np.cos(np.radians(table[point, -2:]))],
            _phi_psi(heavy[frame]),
            atol=2e-2,
        )
    assert "log-likelihood on the latent path" in capsys.readouterr().out


def _phi_psi(frame):
    angles = np.array([md.compute_phi(frame)[1][0, 0], md.compute_psi(frame)[1][0, 0]])
    return [np.sin(angles), np.cos(angles)]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("{}/trajectory.xtc:400", r"400"),
        ("{}/trajectory.xtc:-1", r"-1"),
        ("{}/trajectory.xtc", r"holds 400 structures; say which, for example .*trajectory\.xtc:0"),
        ("{}/none.xtc:0", r"none\.xtc"),
        ("{}/none.pdb", r"none\.pdb"),
    ],
)
def test_an_end_of_a_path_that_is_not_there_is_refused(
    trained, simulated, refused_without_output, start, message
):
    line = refused_without_output(
        *("path", trained, "--start", start.format(simulated)),
        *("--end", f"{simulated}/trajectory.xtc:0"),
    )
    assert re.search(message, line), line
