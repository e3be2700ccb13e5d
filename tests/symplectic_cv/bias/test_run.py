"""The folder of a biased run: its record, its tables, its bias at any modes."""

import json

import numpy as np
import pytest
from biased_by_hand import KT, hills_by_hand, record_by_hand, write_colvar, write_hills

from symplectic_cv.bias.run import BiasedRun, read_colvar
from symplectic_cv.errors import OutputError

NAMES = ["mode_0", "mode_1"]


@pytest.fixture
def folder(tmp_path):
    """A run of 30 frames in two modes, with its hills."""
    rng = np.random.default_rng(3)
    modes = rng.normal(size=(30, 2))
    record_by_hand().write(tmp_path)
    write_colvar(tmp_path / "colvar.csv", modes, rng.uniform(0, 9, 30), rng.uniform(0, 5, 30))
    write_hills(tmp_path / "hills.csv", hills_by_hand(2))
    return tmp_path


def test_a_run_is_read_and_its_last_bias_evaluated(folder):
    run = BiasedRun.read(folder)
    assert run.record == record_by_hand()
    assert len(run.frames) == 30
    np.testing.assert_allclose(
        run.frames.weight, np.exp((run.frames.bias - run.frames.offset) / KT), rtol=1e-6
    )
    points = np.array([[0.1, -0.7], [5.0, 0.2]])
    inside = hills_by_hand(2).at(np.array([[0.1, -0.7], [3.0, 0.2]]))
    walls = np.array([0.0, 0.5 * 50.0 * 2.0**2])
    np.testing.assert_allclose(run.bias_at(points), inside + walls, rtol=1e-9)


def test_the_last_bias_of_opes_comes_from_its_grid(folder):
    record = record_by_hand(method="opes")
    record.write(folder)
    x, y = np.meshgrid(*record.grid.axes, indexing="ij")
    np.savez(folder / "free_energy.npz", bias=-3.0 + np.sin(x) * np.cos(0.5 * y))
    points = np.array([[0.33, -1.21], [-2.9, 2.2]])
    expected = -3.0 + np.sin(points[:, 0]) * np.cos(0.5 * points[:, 1])
    np.testing.assert_allclose(BiasedRun.read(folder).bias_at(points), expected, atol=1e-3)


@pytest.mark.parametrize("damage", ["cut", "empty", "other bias", "other grid", "missing"])
def test_a_damaged_grid_of_opes_is_refused(folder, damage):
    record = record_by_hand(method="opes")
    record.write(folder)
    path = folder / "free_energy.npz"
    np.savez(path, bias=np.zeros(record.grid.shape))
    if damage in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: -30 if damage == "cut" else 0])
    elif damage == "missing":
        path.unlink()
    else:
        np.savez(path, **({"v": np.zeros(2)} if damage == "other bias" else {"bias": np.zeros(3)}))
    with pytest.raises(OutputError, match=r"free_energy\.npz: missing or damaged"):
        BiasedRun.read(folder).bias_at(np.zeros((1, 2)))


def test_weights_of_other_frames_are_refused(folder):
    run = BiasedRun.read(folder)
    run.require_frames(30)
    with pytest.raises(OutputError, match=r"weights of 30 frames, the trajectory has 29 frames"):
        run.require_frames(29)
    lines = (folder / "colvar.csv").read_text().splitlines()
    cells = [line.rsplit(",", 1) for line in lines]
    cells[4][1], cells[5][1] = cells[5][1], cells[4][1]
    (folder / "colvar.csv").write_text("\n".join(",".join(pair) for pair in cells) + "\n")
    with pytest.raises(OutputError, match=r"the weight in row 5 is not exp\(\(bias - c\)/kT\)"):
        BiasedRun.read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-5], "its last row is cut"),
        (lambda text: text.replace("c_kj_per_mol", "c"), "not the columns of a biased run"),
        (lambda text: text.splitlines()[0] + "\n", "it has no rows"),
        (lambda text: text + "31,0,0,nan,0,1\n", "row 32 is not finite"),
        (lambda text: text + "31,0,0\n", "another length"),
    ],
)
def test_a_damaged_table_of_frames_is_refused(folder, change, message):
    path = folder / "colvar.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(OutputError, match=rf"colvar\.csv: not readable.*({message})"):
        read_colvar(path)


@pytest.mark.parametrize("damage", ["missing", "cut", "key", "other"])
def test_a_damaged_record_is_refused(folder, damage):
    path = folder / "bias.json"
    text = path.read_text()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_text(text[: len(text) // 2])
    elif damage == "key":
        path.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != "width"}))
    else:
        path.write_text("[1, 2]")
    with pytest.raises(OutputError, match=r"bias\.json: missing or damaged"):
        BiasedRun.read(folder)


def test_a_table_of_other_modes_is_refused(folder):
    write_hills(folder / "hills.csv", hills_by_hand(1))
    with pytest.raises(OutputError, match=r"hills\.csv: has other modes"):
        BiasedRun.read(folder)


def test_the_tables_of_a_run_are_data_frames_with_the_columns_of_the_files(folder):
    run = BiasedRun.read(folder)
    for name, table in (("colvar.csv", run.colvar), ("hills.csv", run.hills)):
        header, *rows = (folder / name).read_text().splitlines()
        assert list(table.columns) == header.split(",")
        np.testing.assert_array_equal(table, [[float(cell) for cell in r.split(",")] for r in rows])


def test_the_frames_of_walkers_have_a_column_walker_and_opes_has_no_hills(folder):
    record_by_hand(method="opes").write(folder)
    lines = (folder / "colvar.csv").read_text().splitlines()
    rows = [f"{row},{1 + k // 15}" for k, row in enumerate(lines[1:])]
    (folder / "colvar.csv").write_text("\n".join([f"{lines[0]},walker", *rows]) + "\n")
    run = BiasedRun.read(folder)
    assert run.colvar["walker"].tolist() == [1] * 15 + [2] * 15
    assert run.hills is None


def test_the_free_energy_of_a_run_has_names_axes_and_values(folder):
    record = record_by_hand()
    run = BiasedRun.read(folder)
    with pytest.raises(OutputError, match=r"free_energy\.npz: missing or damaged"):
        run.free_energy()
    rng = np.random.default_rng(0)
    names = ("free_energy", "reweighted", "error", "bias")
    arrays = {name: rng.normal(size=record.grid.shape) for name in names}
    axes = dict(zip(NAMES, record.grid.axes, strict=True))
    np.savez(folder / "free_energy.npz", **arrays, **axes)
    found = run.free_energy()
    assert found.names == NAMES
    for k in range(2):
        np.testing.assert_array_equal(found.axes[k], record.grid.axes[k])
    np.testing.assert_array_equal(found.values, arrays["free_energy"])
    for name in names[1:]:
        np.testing.assert_array_equal(getattr(found, name), arrays[name])
