"""Grid, hills, basins and tables of biased runs, against numbers made by hand."""

import json

import numpy as np
import pytest

from symplectic_cv.bias.basins import find_basins
from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import Hills, hills_header, merge, read_hills
from symplectic_cv.bias.run import BiasedRun, BiasRecord, colvar_header, read_colvar
from symplectic_cv.errors import OptionError, OutputError

KT = 8.31446261815324e-3 * 300.0
NAMES = ["mode_0", "mode_1"]


def _hills(n, count=7, seed=0):
    rng = np.random.default_rng(seed)
    return Hills(
        np.arange(1.0, count + 1),
        rng.normal(size=(count, n)),
        rng.uniform(0.3, 0.6, size=(count, n)),
        rng.uniform(0.5, 2.0, size=count),
    )


def _write_hills(path, hills, names=None):
    names = names or [f"mode_{k}" for k in range(hills.n_modes)]
    rows = np.column_stack([hills.time_ps, hills.centres, hills.widths, hills.heights])
    lines = [",".join(hills_header(names))]
    lines += [",".join(f"{number:.12g}" for number in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def _record(n=2, method="metadynamics"):
    return BiasRecord(
        method=method,
        modes=[f"mode_{k}" for k in range(n)],
        grid=BiasGrid.for_widths(-3.0, 3.0, [0.4] * n),
        widths=[0.4] * n,
        wall=50.0,
        bias_factor=8.0,
        temperature=300.0,
        pace_ps=1.0,
        settings={"height": 1.0},
    )


def _write_colvar(path, modes, bias, offset):
    names = [f"mode_{k}" for k in range(modes.shape[1])]
    weight = np.exp((bias - offset) / KT)
    time = np.arange(1.0, len(modes) + 1)
    lines = [",".join(colvar_header(names))]
    for row in np.column_stack([time, modes, bias, offset, weight]):
        lines.append(",".join(f"{number:.8g}" for number in row))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    """A run of 30 frames in two modes, with its hills."""
    rng = np.random.default_rng(3)
    modes = rng.normal(size=(30, 2))
    _record().write(tmp_path)
    _write_colvar(tmp_path / "colvar.csv", modes, rng.uniform(0, 9, 30), rng.uniform(0, 5, 30))
    _write_hills(tmp_path / "hills.csv", _hills(2))
    return tmp_path


@pytest.mark.parametrize(("n", "points"), [(1, (76,)), (2, (76, 39)), (3, (39, 20, 14))])
def test_the_grid_is_as_fine_as_the_hills_need(n, points):
    grid = BiasGrid.for_widths(-3.0, 3.0, [0.2, 0.4, 0.6][:n])
    assert grid.shape == points
    for axis, width in zip(grid.axes, [0.2, 0.4, 0.6], strict=False):
        assert (axis[0], axis[-1]) == (-3.0, 3.0)
        assert axis[1] - axis[0] <= width / (2.5 if n < 3 else 1.25) + 1e-12


def test_a_grid_that_is_too_large_is_refused():
    with pytest.raises(OptionError, match="too large: give a larger `width`"):
        BiasGrid.for_widths(-6.0, 6.0, [0.1, 0.1, 0.1])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_bias_at_grid_points_is_the_bias_on_the_grid(n):
    hills, grid = _hills(n), BiasGrid.for_widths(-3.0, 3.0, [0.5] * n)
    mesh = np.stack(np.meshgrid(*grid.axes, indexing="ij"), -1)
    at = hills.at(mesh.reshape(-1, n)).reshape(grid.shape)
    np.testing.assert_allclose(hills.on_grid(grid), at, atol=1e-12)
    place = tuple(int(size * 0.4) for size in grid.shape)
    by_hand = sum(
        height * np.exp(-0.5 * (((mesh[place] - centre) / width) ** 2).sum())
        for centre, width, height in zip(hills.centres, hills.widths, hills.heights, strict=True)
    )
    assert at[place] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hills_come_back_from_their_file(tmp_path, n):
    hills = _hills(n)
    _write_hills(tmp_path / "hills.csv", hills)
    back = read_hills(tmp_path / "hills.csv")
    for name in ("time_ps", "centres", "widths", "heights"):
        np.testing.assert_allclose(getattr(back, name), getattr(hills, name), rtol=1e-11)


def test_rows_between_two_places_of_the_file(tmp_path):
    path = tmp_path / "hills.csv"
    _write_hills(path, _hills(2))
    lines = path.read_bytes().splitlines(keepends=True)
    sizes = np.cumsum([len(line) for line in lines])
    part = read_hills(path, int(sizes[5]), int(sizes[2]))
    np.testing.assert_array_equal(part.time_ps, [3.0, 4.0, 5.0])
    assert len(read_hills(path, int(sizes[0]))) == 0
    np.testing.assert_array_equal(read_hills(path, int(sizes[2]), 0).time_ps, [1.0, 2.0])
    for size in (int(sizes[3]) - 4, int(sizes[-1]) + 10):
        with pytest.raises(OutputError, match="its last row is cut"):
            read_hills(path, size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its last row is cut"),
        ("time_ps,a,b\n1,2,3\n", "not the columns of hills"),
        ("time_ps,m,width_m,height_kj_per_mol\n1,2,0.3,1", "its last row is cut"),
        (
            "time_ps,m,width_m,height_kj_per_mol\n1,2,0.3,nan\n",
            "height_kj_per_mol in row 2 is not finite",
        ),
        ("time_ps,m,width_m,height_kj_per_mol\n1,2,0,1\n", "width that is not positive"),
        ("time_ps,m,width_m,height_kj_per_mol\n1,2,0.3\n", "rows of another length"),
        ("time_ps,m,width_m,height_kj_per_mol\n1,two,0.3,1\n", "m in row 2 is not a number: 'two'"),
    ],
)
def test_a_damaged_table_of_hills_is_refused(tmp_path, text, message):
    (tmp_path / "hills.csv").write_text(text)
    with pytest.raises(OutputError, match=rf"hills\.csv: not readable as hills \(.*({message})"):
        read_hills(tmp_path / "hills.csv")


def test_merged_hills_are_sorted_by_time():
    joined = merge([_hills(2, 3, 1), _hills(2, 4, 2)])
    np.testing.assert_array_equal(joined.time_ps, [1, 1, 2, 2, 3, 3, 4])
    at = np.zeros((1, 2))
    expected = _hills(2, 3, 1).at(at) + _hills(2, 4, 2).at(at)
    np.testing.assert_allclose(joined.at(at), expected, rtol=1e-12)


def test_a_run_is_read_and_its_last_bias_evaluated(folder):
    run = BiasedRun.read(folder)
    assert run.record == _record()
    assert len(run.frames) == 30
    np.testing.assert_allclose(
        run.frames.weight, np.exp((run.frames.bias - run.frames.offset) / KT), rtol=1e-6
    )
    points = np.array([[0.1, -0.7], [5.0, 0.2]])
    inside = _hills(2).at(np.array([[0.1, -0.7], [3.0, 0.2]]))
    walls = np.array([0.0, 0.5 * 50.0 * 2.0**2])
    np.testing.assert_allclose(run.bias_at(points), inside + walls, rtol=1e-9)


def test_the_last_bias_of_opes_comes_from_its_grid(folder):
    record = _record(method="opes")
    record.write(folder)
    x, y = np.meshgrid(*record.grid.axes, indexing="ij")
    np.savez(folder / "free_energy.npz", bias=-3.0 + np.sin(x) * np.cos(0.5 * y))
    points = np.array([[0.33, -1.21], [-2.9, 2.2]])
    expected = -3.0 + np.sin(points[:, 0]) * np.cos(0.5 * points[:, 1])
    np.testing.assert_allclose(BiasedRun.read(folder).bias_at(points), expected, atol=1e-3)


@pytest.mark.parametrize("damage", ["cut", "empty", "other bias", "other grid", "missing"])
def test_a_damaged_grid_of_opes_is_refused(folder, damage):
    record = _record(method="opes")
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
    _write_hills(folder / "hills.csv", _hills(1))
    with pytest.raises(OutputError, match=r"hills\.csv: has other modes"):
        BiasedRun.read(folder)


# --- basins -------------------------------------------------------------------------------


def _double_well(points=61):
    """F = 8 (x² − 1)² + x + 4 y²: minima near (∓1, 0), 2 kJ/mol apart, the barrier near 8."""
    axis = np.linspace(-1.6, 1.6, points)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return axis, 8.0 * (x**2 - 1.0) ** 2 + x + 4.0 * y**2


def test_a_double_well_has_two_basins_divided_at_the_barrier():
    axis, surface = _double_well()
    basins = find_basins(surface, 2.0)
    assert set(np.unique(basins)) == {0, 1}
    middle = len(axis) // 2
    assert (basins[axis < -0.1][:, middle] == 0).all()  # the deeper one
    assert (basins[axis > 0.1][:, middle] == 1).all()


def test_a_barrier_that_is_too_low_does_not_count():
    _, surface = _double_well()
    assert find_basins(surface, 8.0).max() == 0
    noisy = surface + 0.3 * np.random.default_rng(0).normal(size=surface.shape)
    assert find_basins(noisy, 3.0).max() == 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_basins_in_any_dimension_and_unknown_places(n):
    axis = np.linspace(-2.0, 2.0, 21)
    mesh = np.meshgrid(*[axis] * n, indexing="ij")
    surface = 3.0 * (mesh[-1] ** 2 - 1.0) ** 2 + sum(x**2 for x in mesh[:-1]) + 0.1 * mesh[-1]
    surface[mesh[-1] > 1.75] = np.inf
    basins = find_basins(surface, 1.0)
    assert basins.max() == 1
    np.testing.assert_array_equal(basins == -1, np.isinf(surface))
    centre = (10,) * (n - 1)
    assert basins[(*centre, 5)] == 0
    assert basins[(*centre, 15)] == 1


def test_nothing_known_is_no_basin():
    assert find_basins(np.full((4, 5), np.inf), 1.0).tolist() == [[-1] * 5] * 4


# --- tables as data frames -----------------------------------------------------------------


def test_the_tables_of_a_run_are_data_frames_with_the_columns_of_the_files(folder):
    run = BiasedRun.read(folder)
    for name, table in (("colvar.csv", run.colvar), ("hills.csv", run.hills)):
        header, *rows = (folder / name).read_text().splitlines()
        assert list(table.columns) == header.split(",")
        np.testing.assert_array_equal(table, [[float(cell) for cell in r.split(",")] for r in rows])


def test_the_frames_of_walkers_have_a_column_walker_and_opes_has_no_hills(folder):
    _record(method="opes").write(folder)
    lines = (folder / "colvar.csv").read_text().splitlines()
    rows = [f"{row},{1 + k // 15}" for k, row in enumerate(lines[1:])]
    (folder / "colvar.csv").write_text("\n".join([f"{lines[0]},walker", *rows]) + "\n")
    run = BiasedRun.read(folder)
    assert run.colvar["walker"].tolist() == [1] * 15 + [2] * 15
    assert run.hills is None


def test_the_free_energy_of_a_run_has_names_axes_and_values(folder):
    record = _record()
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
