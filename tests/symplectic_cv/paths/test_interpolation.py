"""Latent paths: geometry of the interpolation, ends, reading structures, the command."""

import csv

import mdtraj as md
import numpy as np
import pytest
import torch

from symplectic_cv.cli.main import main
from symplectic_cv.data.handedness import require_same_handedness
from symplectic_cv.data.structures import read_structure
from symplectic_cv.errors import OptionError, SelectionError, TrajectoryError
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.paths.interpolation import cartesian_path, slerp, spherical_path


def _vectors(*rows):
    return (torch.tensor(row, dtype=torch.float64) for row in rows)


@pytest.fixture(scope="module")
def ends(wobble):
    return wobble(2, seed=8, size=0.02)


@pytest.fixture
def files(tmp_path, molecule, wobble):
    """A trajectory of 4 frames with its topology, and a PDB of frame 2."""
    trajectory = md.Trajectory(wobble(4, seed=3).astype(np.float32), molecule.topology)
    trajectory.save_xtc(str(tmp_path / "run.xtc"))
    trajectory[0].save_pdb(str(tmp_path / "run.pdb"))
    trajectory[2].save_pdb(str(tmp_path / "two.pdb"))
    trajectory.save_pdb(str(tmp_path / "all.pdb"))
    np.savez(tmp_path / "run.npz", positions=trajectory.xyz)
    return tmp_path, trajectory


def test_slerp_turns_at_constant_speed_and_reproduces_its_ends():
    generator = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    end = 3.0 * end
    path = slerp(start, end, 11)
    torch.testing.assert_close(path[0], start, rtol=0, atol=1e-14)
    torch.testing.assert_close(path[-1], end, rtol=0, atol=1e-13)
    length = path.norm(dim=-1)
    linear = torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = (1 - linear) * start.norm() + linear * end.norm()
    torch.testing.assert_close(length, expected, rtol=1e-14, atol=0)
    direction = path / length[:, None]
    cosines = (direction[1:] * direction[:-1]).sum(-1)
    torch.testing.assert_close(cosines, cosines[:1].expand(10), rtol=1e-12, atol=0)


@pytest.mark.parametrize("angle", [1e-5, 1e-9, 1e-13, 0.0])
def test_slerp_of_nearly_parallel_vectors_is_a_straight_line(angle):
    start, end = _vectors([2.0, 0.0, 0.0], [2.0 * np.cos(angle), 2.0 * np.sin(angle), 0.0])
    path = slerp(start, end, 5)
    straight = start + torch.linspace(0, 1, 5, dtype=torch.float64)[:, None] * (end - start)
    torch.testing.assert_close(path, straight, rtol=0, atol=2e-10)


def test_slerp_between_opposite_vectors_goes_round():
    start, end = _vectors([1.0, 0.0, 0.0], [-2.0, 0.0, 0.0])
    path = slerp(start, end, 5)
    torch.testing.assert_close(path[[0, -1]], torch.stack([start, end]), rtol=0, atol=1e-14)
    assert path.norm(dim=-1).min() >= 1.0 - 1e-14


def test_slerp_from_the_origin_is_straight():
    start, end = _vectors([0.0, 0.0], [0.0, 4.0])
    torch.testing.assert_close(slerp(start, end, 3)[1], end / 2, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("modes", [None, [0, 1], [3]])
def test_a_path_joins_its_ends_exactly(make_model, ends, dtype, modes):
    model = make_model(dtype)
    path = spherical_path(model, *ends, 9, modes)
    assert path.latent.shape == (9, 24)
    assert path.positions.shape == (9, 10, 3)
    exact = model.double()
    for place, positions in zip((0, -1), ends, strict=True):
        y = exact.frame.superpose(torch.as_tensor(positions)).numpy()
        # a flow stored in float32 has normal modes that are orthogonal to 1e-7 only
        atol = 1e-7 if dtype == torch.float32 else 1e-10
        np.testing.assert_allclose(path.positions[place], y, rtol=0, atol=atol)


def test_a_path_leaves_the_model_as_it_was(make_model, ends):
    model = make_model(torch.float32)
    spherical_path(model, *ends, 3)
    assert model.dtype == torch.float32


@pytest.mark.parametrize("make_path", [spherical_path, cartesian_path])
def test_structures_coordinates_and_likelihood_belong_together(make_model, ends, make_path):
    model = make_model()
    path = make_path(model, *ends, 6)
    positions = torch.as_tensor(path.positions)
    with torch.no_grad():
        latent = model.collective_variables(positions).numpy()
        likelihood = model.log_likelihood(positions).numpy()
    np.testing.assert_allclose(path.latent, latent, rtol=0, atol=1e-8)
    np.testing.assert_allclose(path.log_likelihood, likelihood, rtol=0, atol=1e-7)


def test_only_the_chosen_modes_leave_the_straight_line(make_model, ends):
    model = make_model()
    path = spherical_path(model, *ends, 5, modes=[0, 2]).latent
    straight = np.linspace(path[0], path[-1], 5)
    bent = np.abs(path - straight).max(0) > 1e-12
    assert set(np.flatnonzero(bent)) <= {0, 2}
    np.testing.assert_allclose(
        np.linalg.norm(path[:, [0, 2]], axis=1),
        np.linspace(*np.linalg.norm(path[[0, -1]][:, [0, 2]], axis=1), 5),
        rtol=1e-12,
    )


def test_the_cartesian_path_is_straight(make_model, ends):
    path = cartesian_path(make_model(), *ends, 5).positions
    np.testing.assert_allclose(path, np.linspace(path[0], path[-1], 5), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("points", "modes", "message"),
    [
        (1, None, "`points` must be at least 2"),
        (5, [24], r"numbered 0 .* to 23"),
        (5, [0, 0], "names a mode twice"),
        (5, [], "`modes` is empty"),
    ],
)
def test_impossible_options_are_refused(make_model, ends, points, modes, message):
    with pytest.raises(OptionError, match=message):
        spherical_path(make_model(), *ends, points, modes)


@pytest.mark.parametrize("spec", ["run.xtc:2", "two.pdb", "all.pdb:2", "two.pdb:0"])
def test_structures_are_read(files, molecule, spec):
    folder, trajectory = files
    found = read_structure(f"{folder}/{spec}", molecule)
    # XTC and PDB keep 0.001 nm and 0.0001 nm
    np.testing.assert_allclose(found, trajectory.xyz[2], rtol=0, atol=6e-4)


def test_arrays_are_read_with_a_topology(files, molecule):
    folder, trajectory = files
    found = read_structure(f"{folder}/run.npz:2", molecule, folder / "run.pdb")
    np.testing.assert_allclose(found, trajectory.xyz[2], rtol=0, atol=1e-6)


def test_the_models_atoms_are_picked_from_a_whole_system(files, make_model):
    folder, _ = files
    topology = md.Topology()
    residue = topology.add_residue("HOH", topology.add_chain())
    topology.add_atom("O", md.element.oxygen, residue)
    water = md.Trajectory(np.full((1, 1, 3), 9.0), topology)
    water.stack(md.load(str(folder / "two.pdb"))).save_pdb(str(folder / "system.pdb"))
    molecule = make_model(indices=np.arange(1, 11), n_system_atoms=11).molecule
    alone = read_structure(f"{folder}/two.pdb", molecule)
    np.testing.assert_array_equal(read_structure(f"{folder}/system.pdb", molecule), alone)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("none.pdb", OptionError, "none.pdb: no such file"),
        ("none.xtc:3", OptionError, "none.xtc: no such file"),
        ("run.xtc:4", TrajectoryError, "run.xtc: no frame 4; it has 4, numbered 0 to 3"),
        ("run.xtc:-1", TrajectoryError, "run.xtc: no frame -1"),
        ("run.npz:9", TrajectoryError, "run.npz: no frame 9"),
        ("run.xtc", TrajectoryError, "run.xtc: holds 4 structures"),
        ("all.pdb", TrajectoryError, "all.pdb: holds 4 structures"),
        ("broken.xtc:0", TrajectoryError, "broken.xtc:0: truncated or damaged"),
        ("notes.txt:0", OptionError, "notes.txt: unknown format"),
        ("few.pdb", SelectionError, "few.pdb: has 9 atoms; the model describes 10 of 10"),
        ("other.pdb", SelectionError, "other.pdb: atom 1 is ACE1-O where the model has ACE1-CH3"),
        ("apart.pdb", TrajectoryError, r"apart.pdb: ACE1-.* nm apart"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(files, molecule, spec, error, message):
    folder, trajectory = files
    (folder / "broken.xtc").write_bytes(b"no trajectory")
    (folder / "broken.pdb").write_bytes((folder / "run.pdb").read_bytes())
    (folder / "notes.txt").write_text("hello")
    trajectory[0].atom_slice(range(9)).save_pdb(str(folder / "few.pdb"))
    apart = trajectory[0].slice(0)
    apart.xyz[0, 0] += 3.0
    apart.save_pdb(str(folder / "apart.pdb"))
    lines = (folder / "run.pdb").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if " CH3 ACE" in line)
    lines[place] = lines[place].replace(" CH3 ACE", " O   ACE")[:76] + " O"
    (folder / "other.pdb").write_text("\n".join(lines) + "\n")
    with pytest.raises(error, match=message) as caught:
        read_structure(f"{folder}/{spec}", molecule, folder / "run.pdb")
    assert "\n" not in str(caught.value)


def test_a_trajectory_without_topology_asks_for_one(files, molecule):
    folder, _ = files
    (folder / "run.xtc").rename(folder / "alone.xtc")
    with pytest.raises(TrajectoryError, match=r"alone\.xtc: no topology found"):
        read_structure(f"{folder}/alone.xtc:0", molecule)


def test_a_mirror_image_is_refused(make_model, dipeptide, wobble):
    model = make_model()
    for positions in wobble(20, seed=4):
        require_same_handedness(positions, model.molecule, model.frame.reference.numpy(), "here")
    with pytest.raises(SelectionError, match=r"there: ALA2-CA \(atom 5\) has the opposite"):
        require_same_handedness(
            dipeptide * [1.0, 1.0, -1.0], model.molecule, model.frame.reference.numpy(), "there"
        )


def test_the_command_writes_structures_table_and_figure(files, make_model, capsys):
    folder, _ = files
    model = make_model(torch.float32)
    save_model(folder / "model", model)
    given = [f"{folder}/run.xtc:0", "--end", f"{folder}/two.pdb", "--points", "7"]
    with pytest.raises(SystemExit) as end:
        main(["path", f"{folder}/model", "--start", *given, "-o", f"{folder}/out"])
    assert end.value.code == 0
    assert "lowest log-likelihood on the latent path" in capsys.readouterr().out
    assert {file.name for file in (folder / "out").iterdir()} == {
        "path.pdb",
        "path.csv",
        "path.png",
    }
    written = md.load(str(folder / "out" / "path.pdb"))
    assert (written.n_frames, written.n_atoms) == (7, 10)
    with open(folder / "out" / "path.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    modes = [f"mode_{mode}" for mode in range(24)]
    assert list(rows[0]) == ["point", "log_likelihood_nats", *modes, "phi_deg", "psi_deg"]
    angle = np.degrees(md.compute_phi(written)[1][:, 0])
    np.testing.assert_allclose([float(row["phi_deg"]) for row in rows], angle, atol=0.2)


@pytest.mark.parametrize(
    "wrong", [["--points", "1"], ["--modes", "99"], ["--end", "none.pdb"], ["--start", "a.xtc:0"]]
)
def test_a_wrong_option_leaves_no_folder(files, make_model, capsys, wrong):
    folder, _ = files
    save_model(folder / "model", make_model(torch.float32))
    given = ["--start", f"{folder}/run.xtc:0", "--end", f"{folder}/two.pdb", *wrong]
    with pytest.raises(SystemExit) as end:
        main(["path", f"{folder}/model", *given, "-o", f"{folder}/out"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (folder / "out").exists()
