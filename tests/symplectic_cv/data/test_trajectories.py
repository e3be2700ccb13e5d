"""The readers on small real files, good and bad."""

import mdtraj as md
import numpy as np
import pytest
from mdtraj.formats import XTCTrajectoryFile

from symplectic_cv.data.formats import find_topology, load_topology
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import DataWarning, SelectionError, TrajectoryError
from symplectic_cv.molecule import select_atoms

N_FRAMES = 40
PRECISION = {".xtc": 1e-3, ".dcd": 1e-6, ".h5": 1e-7, ".nc": 1e-6, ".trr": 1e-7, ".pdb": 1e-4}
"""How well a format keeps a coordinate, nm."""


@pytest.fixture(scope="module")
def system(topology):
    """Topology of two waters, the dipeptide and a third water: the solute is not the first."""
    whole = md.Topology()

    def water():
        residue = whole.add_residue("HOH", whole.add_chain())
        for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
            whole.add_atom(name, md.element.get_by_symbol(element), residue)

    water()
    water()
    whole = whole.join(topology)
    water()
    return whole


@pytest.fixture(scope="module")
def positions(dipeptide):
    """(F, 19, 3), float32: a whole dipeptide at places 6 … 15."""
    rng = np.random.default_rng(0)
    water = np.array([[0.0, 0.0, 0.0], [0.0957, 0.0, 0.0], [-0.024, 0.0927, 0.0]])
    shift = np.array([1.0, -1.0, 0.0])
    start = np.concatenate([water + 1.0, water - 1.0, dipeptide, water + shift])
    return (start + 0.01 * rng.normal(size=(N_FRAMES, 19, 3))).astype(np.float32)


@pytest.fixture
def top(tmp_path, system, positions):
    path = tmp_path / "system.pdb"
    md.Trajectory(positions[:1], system).save(str(path))
    return path


def _save(path, positions, topology, box=None):
    trajectory = md.Trajectory(positions, topology)
    if box is not None:
        trajectory.unitcell_vectors = np.broadcast_to(box, (len(positions), 3, 3))
    trajectory.save(str(path))
    return path


def _message(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", PRECISION)
def test_every_format_gives_the_numbers_back(tmp_path, system, positions, top, suffix):
    file = _save(tmp_path / f"run{suffix}", positions, system)
    data = read_trajectories([file], top=top)
    assert data.positions.dtype == np.float32
    assert data.n_frames == N_FRAMES
    assert data.lengths == [N_FRAMES]
    assert data.names == [str(file)]
    assert data.molecule.indices.tolist() == list(range(6, 16))
    assert data.molecule.n_system_atoms == 19
    expected = positions[:, 6:16]
    np.testing.assert_allclose(data.positions, expected, rtol=0.0, atol=PRECISION[suffix])


def test_a_file_longer_than_a_chunk_is_read_to_its_end(tmp_path, topology, dipeptide, monkeypatch):
    for module in ("mdtraj_files", "formats"):
        monkeypatch.setattr(f"symplectic_cv.data.{module}.CHUNK", 7)
    rng = np.random.default_rng(1)
    x = (dipeptide + 0.01 * rng.normal(size=(23, 10, 3))).astype(np.float32)
    file = _save(tmp_path / "run.h5", x, topology)
    np.savez(tmp_path / "run.npz", x)
    seen = []
    data = read_trajectories([file, tmp_path / "run.npz"], progress=seen.append)
    assert seen == [7, 7, 7, 2] * 2
    assert data.lengths == [23, 23]
    np.testing.assert_allclose(data.positions, np.concatenate([x, x]), rtol=0.0, atol=1e-6)


def test_several_files_are_several_runs(tmp_path, system, positions, top):
    first = _save(tmp_path / "a.dcd", positions[:15], system)
    second = _save(tmp_path / "b.xtc", positions[15:], system)
    data = read_trajectories([first, second], top=top)
    assert data.lengths == [15, 25]
    assert data.locate(14) == f"{first}, frame 14"
    assert data.locate(15) == f"{second}, frame 0"
    with pytest.raises(IndexError):
        data.locate(40)
    np.testing.assert_allclose(data.positions, positions[:, 6:16], rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("shape", ["flat", "frames, atoms, 3"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_archives_of_one_array(tmp_path, positions, top, shape, dtype):
    array = positions.astype(dtype)
    file = tmp_path / "positions.npz"
    np.savez(file, array.reshape(N_FRAMES, -1) if shape == "flat" else array)
    data = read_trajectories([file], top=top)
    assert data.names == [str(file)]
    np.testing.assert_allclose(data.positions, positions[:, 6:16], rtol=0.0, atol=1e-7)


def test_each_array_of_an_archive_is_a_run(tmp_path, positions, top):
    file = tmp_path / "positions.npz"
    np.savez_compressed(file, positions[:10], positions[10:], last=positions[:5])
    data = read_trajectories([file], top=top)
    names = {f"{file} [arr_0]": 10, f"{file} [arr_1]": 30, f"{file} [last]": 5}
    assert dict(zip(data.names, data.lengths, strict=True)) == names


def test_the_topology_is_found_beside_the_trajectory(tmp_path, system, positions):
    file = _save(tmp_path / "run.xtc", positions, system)
    assert find_topology(file) is None
    with pytest.raises(TrajectoryError, match=r"no topology found beside it.*`top`") as error:
        read_trajectories([file])
    assert str(file) in _message(error)
    general = _save(tmp_path / "topology.pdb", positions[:1], system)
    assert find_topology(file) == general
    own = _save(tmp_path / "run.pdb", positions[:1], system)
    assert find_topology(file) == own
    assert read_trajectories([file]).n_frames == N_FRAMES
    assert find_topology(tmp_path / "run.h5") == tmp_path / "run.h5"


def test_atoms_are_picked_by_selection_or_by_a_model(tmp_path, system, positions, top):
    file = _save(tmp_path / "run.dcd", positions, system)
    backbone = read_trajectories([file], top=top, atoms="name N CA C and not water")
    names = [atom.name for atom in backbone.molecule.topology.atoms]
    assert names == ["C", "N", "CA", "C", "N", "C"]
    np.testing.assert_allclose(
        backbone.positions, positions[:, backbone.molecule.indices], rtol=0.0, atol=1e-6
    )
    again = read_trajectories([file], top=top, molecule=backbone.molecule)
    assert again.molecule is backbone.molecule
    assert np.array_equal(again.positions, backbone.positions)


@pytest.mark.parametrize(
    "box",
    [
        np.eye(3) * 2.3222,
        np.array([[2.4, 0.0, 0.0], [0.7, 2.2, 0.0], [-1.0, 0.9, 2.1]]),
    ],
    ids=["cubic", "triclinic"],
)
@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".h5", ".nc"])
def test_molecules_in_pieces_are_made_whole(tmp_path, system, positions, top, box, suffix):
    rng = np.random.default_rng(2)
    pieces = positions + rng.integers(-1, 2, size=(N_FRAMES, 19, 3)) @ box
    file = _save(tmp_path / f"run{suffix}", pieces.astype(np.float32), system, box)
    whole = read_trajectories([file], top=top).positions
    expected = positions[:, 6:16] - positions[:, 6:7]
    # formats that keep lengths and angles round the box edges
    atol = 3e-3 if suffix == ".xtc" else 1e-5
    np.testing.assert_allclose(whole - whole[:, :1], expected, rtol=0.0, atol=atol)


def test_files_read_one_after_another_are_as_if_read_at_once(tmp_path, system, positions, top):
    """Waters without bonds to one another: which link joins them depends on the first frame."""
    box = 2.6 * np.eye(3)
    moved = positions.copy()
    moved[:, :3] += 0.4
    files = [
        _save(tmp_path / f"{k}.xtc", x % 2.6, system, box) for k, x in enumerate((positions, moved))
    ]
    atoms = "water or name CA"
    at_once = read_trajectories(files, top, atoms)
    first = read_trajectories(files[:1], md.load_topology(top), atoms)
    both = first.joined(read_trajectories(files[1:], top, like=first))
    assert np.array_equal(both.positions, at_once.positions)
    assert (both.lengths, both.names) == (at_once.lengths, at_once.names)
    assert np.array_equal(both.links.pairs, at_once.links.pairs)


def test_a_box_of_zeros_means_no_box(tmp_path, positions, top):
    file = tmp_path / "run.xtc"
    with XTCTrajectoryFile(str(file), "w") as handle:
        handle.write(positions, box=np.zeros((N_FRAMES, 3, 3), dtype=np.float32))
    data = read_trajectories([file], top=top)
    np.testing.assert_allclose(data.positions, positions[:, 6:16], rtol=0.0, atol=1e-3)


WHOLE_FRAMES = (".xtc", ".dcd", ".trr", ".pdb")
"""Formats of whose cut files the whole frames are read."""


@pytest.mark.parametrize(
    ("suffix", "share"),
    [
        *((suffix, 0.6) for suffix in (".h5", ".nc", ".npz")),
        *((suffix, 0.0) for suffix in (".h5", ".nc", ".npz", *WHOLE_FRAMES)),
    ],
)
def test_a_truncated_file_is_named(tmp_path, system, positions, top, suffix, share):
    file = tmp_path / f"run{suffix}"
    if suffix == ".npz":
        np.savez(file, positions)
    else:
        _save(file, positions, system)
    content = file.read_bytes()
    # an odd number of bytes off, so that no frame happens to end here
    file.write_bytes(content[: max(0, int(share * len(content)) // 8 * 8 - 3)])
    with pytest.raises(TrajectoryError, match="truncated") as error:
        read_trajectories([file], top=top)
    text = _message(error)
    assert str(file) in text
    assert len(text) < 300 + 2 * len(str(file))


@pytest.mark.parametrize("suffix", [*WHOLE_FRAMES, ".xyz", ".lammpstrj"])
def test_the_whole_frames_of_a_cut_file_are_read_and_told(tmp_path, system, positions, top, suffix):
    box = np.eye(3) * 9.0 if suffix == ".lammpstrj" else None
    file = _save(tmp_path / f"run{suffix}", positions, system, box)
    content = file.read_bytes()
    file.write_bytes(content[: int(0.6 * len(content)) // 8 * 8 - 3])
    with pytest.warns(DataWarning, match=r"\d+ whole frames were read; .*`strict` refuses"):
        data = read_trajectories([file], top=top)
    # the header of DCD and the first model of PDB make no more than a frame of difference
    assert 0.5 * N_FRAMES < data.n_frames < 0.6 * N_FRAMES + 1
    tolerance = max(PRECISION.get(suffix, 1e-3), 1e-4)
    expected = positions[: data.n_frames, 6:16]
    np.testing.assert_allclose(data.positions, expected, atol=tolerance)
    with pytest.raises(TrajectoryError, match="truncated or damaged"):
        read_trajectories([file], top=top, strict=True)


def test_a_header_that_promises_more_frames_is_told(tmp_path, system, positions, top):
    file = _save(tmp_path / "run.dcd", positions, system)
    content = bytearray(file.read_bytes())
    content[8:12] = (500).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.warns(DataWarning, match=r"40 whole frames .*its header announces 500 frames"):
        assert read_trajectories([file], top=top).n_frames == N_FRAMES
    with pytest.raises(TrajectoryError, match="announces 500 frames"):
        read_trajectories([file], top=top, strict=True)


@pytest.mark.parametrize("suffix", [".xtc", ".trr"])
def test_damage_in_the_middle_is_no_end(tmp_path, system, positions, top, suffix):
    file = _save(tmp_path / f"run{suffix}", positions, system)
    content = bytearray(file.read_bytes())
    middle = content.index(content[:4], len(content) // 2)  # where a frame begins
    content[middle : middle + 4] = b"oops"
    file.write_bytes(content)
    with pytest.raises(TrajectoryError, match=r"damaged after \d+ frames: after byte"):
        read_trajectories([file], top=top)


OTHERS = {
    ".ncdf": 1e-6,
    ".netcdf": 1e-6,
    ".mdcrd": 1e-4,
    ".crd": 1e-4,
    ".trj": 1e-4,
    ".xyz": 1e-4,
    ".xyz.gz": 1e-4,
    ".lammpstrj": 1e-4,
    ".pdb.gz": 1e-4,
    ".hdf5": 1e-7,
    ".gro": 1e-3,
}
"""Formats that are read too, and how well each keeps a coordinate, in nm."""


@pytest.mark.parametrize("suffix", OTHERS)
def test_other_formats_of_mdtraj_are_read(tmp_path, system, positions, top, suffix):
    file = tmp_path / f"run{suffix}"
    written = {".hdf5": ".h5", ".trj": ".mdcrd", ".crd": ".mdcrd", ".ncdf": ".nc", ".netcdf": ".nc"}
    trajectory = md.Trajectory(positions[:1] if suffix == ".gro" else positions, system)
    if suffix == ".lammpstrj":
        trajectory.unitcell_vectors = np.broadcast_to(np.eye(3) * 9.0, (N_FRAMES, 3, 3))
    name = tmp_path / f"run{written.get(suffix, suffix)}"
    trajectory.save(str(name))
    if name != file:
        name.rename(file)
    data = read_trajectories([file], top=top)
    expected = trajectory.xyz[:, 6:16]
    np.testing.assert_allclose(data.positions, expected, rtol=0.0, atol=1.01 * OTHERS[suffix])


@pytest.mark.parametrize(("name", "remedy"), [("run.tpr", "name its .xtc or .trr"), ("x.log", "")])
def test_files_that_hold_no_frames_come_with_a_remedy(tmp_path, top, name, remedy):
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(TrajectoryError, match=f"{name}: unknown trajectory format.*{remedy}"):
        read_trajectories([tmp_path / name], top=top)


def test_lengths_in_angstrom_are_recognised_and_read_when_named(tmp_path, topology, wobble):
    frames = wobble(20).astype(np.float32)
    file = tmp_path / "run.npz"
    np.savez(file, 10.0 * frames)
    with pytest.raises(TrajectoryError, match=r"ten times too long.*`length_unit=angstrom`"):
        read_trajectories([file], topology)
    data = read_trajectories([file], topology, length_unit="angstrom")
    np.testing.assert_allclose(data.positions, frames, atol=1e-5)


def test_lengths_in_nm_where_a_format_has_angstrom_are_recognised(tmp_path, topology, wobble):
    frames = wobble(20).astype(np.float32)
    file = tmp_path / "run.xyz"
    md.Trajectory(0.1 * frames, topology).save(str(file))  # numbers as PLUMED writes them
    with pytest.raises(TrajectoryError, match=r"ten times too short.*`length_unit=nm`"):
        read_trajectories([file], topology)
    data = read_trajectories([file], topology, length_unit="nm")
    np.testing.assert_allclose(data.positions, frames, atol=1e-3)


def test_a_netcdf_file_cut_at_a_frame_is_not_read_as_zeros(tmp_path, system, positions, top):
    file = _save(tmp_path / "run.nc", positions, system)
    content = file.read_bytes()
    file.write_bytes(content[: -(len(content) // 4)])
    with pytest.raises(TrajectoryError, match="shorter than its header announces"):
        read_trajectories([file], top=top)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".h5", ".nc", ".npz"])
def test_another_atom_count_than_the_topologys_is_named(tmp_path, topology, dipeptide, top, suffix):
    file = tmp_path / f"run{suffix}"
    x = np.stack([dipeptide] * 3).astype(np.float32)
    if suffix == ".npz":
        np.savez(file, x)
    else:
        _save(file, x, topology)
    with pytest.raises(TrajectoryError, match=r"has 10 atoms, its topology has 19.*`top`") as error:
        read_trajectories([file], top=top)
    assert str(file) in _message(error)


@pytest.mark.parametrize("suffix", [".dcd", ".h5", ".nc", ".npz"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_coordinate_that_is_no_number_is_named_with_file_frame_and_atom(
    tmp_path, system, positions, top, suffix, value
):
    bad = positions.copy()
    bad[23, 10, 1] = value
    bad[30, 0, 0] = value  # of a water that is not modelled
    file = tmp_path / f"run{suffix}"
    if suffix == ".npz":
        np.savez(file, bad)
    else:
        _save(file, bad, system)
    with pytest.raises(TrajectoryError, match="frame 23 has NaN or infinite") as error:
        read_trajectories([file], top=top)
    text = _message(error)
    assert str(file) in text
    assert "ALA" in text
    assert "CA (atom 11)" in text


def test_frames_in_messages_count_from_the_start_of_the_file(
    tmp_path, topology, dipeptide, monkeypatch
):
    monkeypatch.setattr("symplectic_cv.data.mdtraj_files.CHUNK", 10)
    bad = np.stack([dipeptide] * 35).astype(np.float32)
    bad[27, 3] = np.nan
    file = _save(tmp_path / "run.h5", bad, topology)
    with pytest.raises(TrajectoryError, match="frame 27 has NaN"):
        read_trajectories([file])


def test_a_molecule_in_pieces_without_a_box_is_an_error(tmp_path, system, positions, top):
    broken = positions.copy()
    broken[5, 15] += 2.3222
    file = _save(tmp_path / "run.dcd", broken, system)
    message = r"frame 5: .* nm apart, and the file holds no box"
    with pytest.raises(TrajectoryError, match=message) as error:
        read_trajectories([file], top=top)
    text = _message(error)
    assert str(file) in text
    assert "(atom 16)" in text


def test_atoms_of_another_order_than_the_topologys_are_an_error(tmp_path, system, positions, top):
    shuffled = positions.copy()
    shuffled[:, [6, 15]] = shuffled[:, [15, 6]]
    file = _save(tmp_path / "run.xtc", shuffled, system, np.eye(3) * 5.0)
    with pytest.raises(TrajectoryError, match="although its box was used: is the topology right"):
        read_trajectories([file], top=top)


def test_names_that_lead_to_no_file_or_format(tmp_path, positions, top):
    with pytest.raises(TrajectoryError, match="no trajectory file given"):
        read_trajectories([])
    missing = tmp_path / "missing.xtc"
    with pytest.raises(TrajectoryError, match=r"missing.xtc: no such trajectory file"):
        read_trajectories([missing], top=top)
    strange = tmp_path / "run.mp4"
    strange.write_bytes(b"film")
    with pytest.raises(TrajectoryError, match=r"run.mp4: unknown trajectory format; .*\.xtc"):
        read_trajectories([strange], top=top)
    np.savez(tmp_path / "run.npz", positions)
    with pytest.raises(TrajectoryError, match=r"nowhere.pdb: no such topology file"):
        read_trajectories([tmp_path / "run.npz"], top=tmp_path / "nowhere.pdb")
    text = tmp_path / "text.pdb"
    text.write_text("not a structure\n")
    with pytest.raises(TrajectoryError, match=r"text.pdb: .*not a readable topology"):
        load_topology(text)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no array"),
        ({"x": np.zeros((5, 19, 2))}, r"shape \(5, 19, 2\)"),
        ({"x": np.zeros((5, 20))}, r"shape \(5, 20\)"),
        ({"x": np.zeros((5, 57), dtype=int)}, "type int64"),
        ({"x": np.zeros((0, 57))}, "holds no frame"),
        ({"x": np.array([{"a": 1}], dtype=object)}, "truncated or not a NumPy archive"),
    ],
)
def test_archives_that_hold_no_positions(tmp_path, top, arrays, message):
    file = tmp_path / "positions.npz"
    np.savez(file, **arrays)
    with pytest.raises(TrajectoryError, match=message) as error:
        read_trajectories([file], top=top)
    assert str(file) in _message(error)


def test_selections_that_carry_no_model(tmp_path, system, positions, top):
    file = _save(tmp_path / "run.dcd", positions, system)
    with pytest.raises(SelectionError, match="has 0 atoms, a molecular frame needs at least 3"):
        read_trajectories([file], top=top, atoms="resname XYZ")
    with pytest.raises(SelectionError, match="has 2 atoms"):
        read_trajectories([file], top=top, atoms="name CA CB")
    with pytest.raises(SelectionError, match="is not an MDTraj selection"):
        read_trajectories([file], top=top, atoms="name ==== CA (")


def test_a_models_atoms_are_read_from_the_whole_system_or_alone(
    tmp_path, topology, system, positions, top
):
    trained = select_atoms(system, None)
    whole = _save(tmp_path / "whole.h5", positions, system)
    alone = _save(tmp_path / "alone.h5", positions[:, 6:16], topology)
    for file in (whole, alone):
        data = read_trajectories([file], molecule=trained)
        assert data.molecule is trained
        np.testing.assert_allclose(data.positions, positions[:, 6:16], rtol=0.0, atol=1e-7)


def test_a_file_with_other_atoms_than_the_models_is_refused(tmp_path, system, positions):
    trained = select_atoms(system, None)
    fewer = _save(tmp_path / "fewer.h5", positions[:, 1:15], system.subset(range(1, 15)))
    with pytest.raises(SelectionError, match="has 14 atoms; the model describes 10 of 19"):
        read_trajectories([fewer], molecule=trained)
    shifted = _save(tmp_path / "shifted.h5", positions[:, 1:], system.subset(range(1, 19)))
    found = read_trajectories([shifted], molecule=trained)
    np.testing.assert_allclose(found.positions, positions[:, 6:16], atol=1e-6)
    other = system.copy()
    other.atom(8).element = md.element.sulfur
    file = _save(tmp_path / "other.h5", positions, other)
    with pytest.raises(SelectionError, match=r"atom \d+ is .* where the model has") as error:
        read_trajectories([file], molecule=trained)
    assert str(file) in _message(error)
