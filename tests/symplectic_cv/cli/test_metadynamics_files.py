"""`metadynamics`: its files, and the systems and options it refuses."""

import re

import mdtraj as md
import numpy as np
import openmm
import pytest
import torch
from commands import numbers, run, table_rows, users_of


@pytest.mark.parametrize("backend", ["auto", "python"])
def test_metadynamics_writes_its_files(trained, simulated, tmp_path, backend):
    output = tmp_path / "bias"
    run(
        *("metadynamics", trained, "--system", simulated / "system.xml", "-o", output),
        *("--modes", "0", "1", "--time-ns", "0.002", "--pace", "0.1", "--range", "-9", "9"),
        *("--backend", backend),
    )
    names = {path.name for path in output.iterdir()}
    assert names >= {
        "trajectory.xtc",
        "colvar.csv",
        "COLVAR",
        "HILLS",
        "free_energy.npz",
        "checkpoint",
        "cv.pt",
    }
    assert names >= {"free_energy.png", "modes.png"}
    header, *rows = table_rows(output / "colvar.csv")
    assert header == [
        *("time_ps", "mode_0", "mode_1", "bias_kj_per_mol", "c_kj_per_mol", "weight"),
        "extrapolation",
    ]
    table = numbers(rows)
    np.testing.assert_allclose(table[:, 0], 0.1 * np.arange(1, 21), rtol=1e-6)
    assert (table[:, 5] > 0).all()
    with np.load(output / "free_energy.npz") as archive:
        surface = archive["free_energy"]
        assert surface.shape == (len(archive["mode_0"]), len(archive["mode_1"]))
        assert surface.min() == 0.0
    frames = md.load(str(output / "trajectory.xtc"), top=str(simulated / "topology.pdb"))
    assert frames.n_frames == 20
    module = torch.jit.load(str(output / "cv.pt"))
    last = module(torch.as_tensor(frames.xyz[-1]))
    np.testing.assert_allclose(last.numpy(), table[-1, 1:3], atol=0.1)  # XTC keeps 1e-3 nm


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bias-factor", "1"], "--bias-factor must be above 1"),
        (["--width", "0"], "--width must be positive"),
        (["--range", "1", "1"], "--range"),
        (["--range", "50", "60"], "outside of the grid"),
        (["--time-ns", "-1"], "--time-ns must be positive"),
        (["--pace", "0"], "--pace"),
        (["--backend", "abacus"], "--backend"),
        (["--platform", "Abacus"], "--platform Abacus"),
        (["--top", "none.pdb"], "none.pdb"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bias_that_makes_no_sense_is_refused(
    trained, simulated, refused_without_output, arguments, message
):
    line = refused_without_output(*users_of(trained, simulated)["metadynamics"], *arguments)
    assert message in line


def test_atoms_outside_of_the_system_are_refused(trained, refused_without_output, tmp_path):
    system, topology = openmm.System(), md.Topology()
    residue = topology.add_residue("HEX", topology.add_chain())
    for k in range(6):
        system.addParticle(12.011)
        topology.add_atom(f"C{k}", md.element.carbon, residue)
    (tmp_path / "small.xml").write_text(openmm.XmlSerializer.serialize(system))
    md.Trajectory(np.eye(6, 3)[None], topology).save_pdb(str(tmp_path / "topology.pdb"))
    line = refused_without_output("metadynamics", trained, "--system", tmp_path / "small.xml")
    assert re.search(r"has 6 atoms; the model describes 10 of 22: give the whole system", line)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_bad_system_is_refused(trained, md_folder, refused_without_output, damage):
    path = md_folder / "system.xml"
    text = path.read_text()
    path.unlink()
    if damage == "cut":
        path.write_text(text[: len(text) // 2])
    elif damage == "other":
        path.write_text("<html></html>")
    line = refused_without_output("metadynamics", trained, "--system", path)
    assert "system.xml: " in line
