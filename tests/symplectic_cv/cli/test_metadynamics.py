"""`metadynamics` as a user runs it: killed at random moments, resumed, and with bad input."""

import json
import random
import re
import shutil
import time

import mdtraj as md
import numpy as np
import pytest
from commands import begin, content, kill, run, wait_for

from openmm_plugin.biasing.options import HILL_SHARE
from symplectic_cv.bias.run import BiasedRun

TABLES = ("colvar.csv", "hills.csv", "convergence.csv", "bias.json", "trajectory.xtc")


@pytest.fixture(scope="module")
def arguments(place):
    """arguments(output, …): a short run, as words of a command line."""

    def words(output, *more):
        return [
            *("metadynamics", str(place / "model"), "--system", str(place / "md" / "system.xml")),
            *("-o", str(output), "--backend", "python", "--modes", "0", "--time-ns", "0.003"),
            *("--pace", "0.02", "--checkpoint-ps", "0.2"),
            *map(str, more),
        ]

    return words


def _same(one, two, tables=TABLES):
    for name in tables:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    with np.load(one / "free_energy.npz") as first, np.load(two / "free_energy.npz") as second:
        for key in first.files:
            np.testing.assert_array_equal(first[key], second[key])


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """whole(*options): folder of a run that nothing disturbed, made once."""
    made = {}

    def get(*more):
        if more not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            run(*arguments(folder, *more))
            made[more] = folder
        return made[more]

    return get


def kill_at_random(words, table, size, kills, rng):
    """Starts a command again and again and kills it each time; returns how often it was alive.

    First anywhere in its beginning, then when its table has reached a random size.
    """
    alive = 0
    for target in [0, *sorted(rng.uniform(0.0, 0.9 * size) for _ in range(kills - 1))]:
        process = begin(*words, "--resume")
        if target > 0:
            wait_for(lambda size=target: table.is_file() and table.stat().st_size >= size, process)
        time.sleep(rng.uniform(0.0, 0.1 if target > 0 else 1.0))
        alive += kill(process)
    return alive


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kills", "seed"), [((), 4, 1), (("--opes",), 3, 2)], ids=["metadynamics", "opes"]
)
def test_killed_at_random_moments_a_run_is_the_undisturbed_one(
    arguments, whole, tmp_path, method, kills, seed
):
    folder = whole(*method)
    words = arguments(tmp_path / "run", *method)
    print("seed of the kills:", seed)
    size = (folder / "colvar.csv").stat().st_size
    table = tmp_path / "run" / "colvar.csv"
    alive = kill_at_random(words, table, size, kills, random.Random(seed))
    run(*words, "--resume")
    assert alive >= 1
    _same(tmp_path / "run", folder, TABLES if not method else [t for t in TABLES if t[0] != "h"])


def test_a_row_for_each_frame_and_weights_that_go_with_them(whole, place):
    folder = whole()
    run = BiasedRun.read(folder)
    frames = md.load(str(folder / "trajectory.xtc"), top=str(folder / "topology.pdb"))
    run.require_frames(frames.n_frames)
    np.testing.assert_allclose(frames.time, run.frames.time_ps, atol=1e-4)
    np.testing.assert_allclose(run.hill_list.centres, run.frames.modes, rtol=1e-7)
    with np.load(folder / "free_energy.npz") as archive:
        grid = np.stack(np.meshgrid(*run.record.grid.axes, indexing="ij"), -1)
        np.testing.assert_allclose(run.bias_at(grid.reshape(-1, 1)), archive["bias"], atol=1e-9)


def test_the_widths_come_from_the_start(whole):
    """Half of what the mode fluctuates within pieces of 2 ps of the equilibration."""
    folder = whole()
    width = json.loads((folder / "bias.json").read_text())["width"]
    assert len(width) == 1
    assert 0.15 * HILL_SHARE <= width[0] <= HILL_SHARE
    assert json.loads((folder / "run.json").read_text())["width"] == "auto"
    hills = (folder / "hills.csv").read_text().splitlines()[1].split(",")
    assert float(hills[2]) == width[0]


def test_opes_keeps_the_same_files_with_its_own_weights(whole):
    folder = whole("--opes")
    run = BiasedRun.read(folder)
    assert run.hill_list is None
    assert (run.frames.offset == 0.0).all()
    kt = 8.31446261815324e-3 * 300.0
    np.testing.assert_allclose(run.frames.weight, np.exp(run.frames.bias / kt), rtol=1e-5)
    assert run.frames.bias[0] == -40.0  # nothing is known at first: the bias is minus the barrier
    assert run.record.bias_factor == pytest.approx(40.0 / kt)
    width = json.loads((folder / "bias.json").read_text())["width"][0]
    plain = json.loads((whole() / "bias.json").read_text())["width"][0]
    assert width == pytest.approx(plain / HILL_SHARE, rel=0.01)


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of a finished run that a test may break."""
    return shutil.copytree(whole(), tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--width", "0.3"], r"cannot resume, width was 'auto' and is now 0\.3"),
        (["--seed", "5"], r"seed was 0 and is now 5"),
        (["--pace", "0.04"], r"pace_ps was 0\.02 and is now 0\.04"),
        (["--opes"], r"bias_factor was 10\.0"),
        (["--walkers", "2"], r"walkers was 1 and is now 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_resumed_with_other_options_is_refused(finished, arguments, refused, more, message):
    before = content(finished)
    assert re.search(message, refused(*arguments(finished, *more), "--resume"))
    assert content(finished) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hills.csv", r"damaged checkpoint \(hills\.csv"),
        ("colvar.csv", r"damaged checkpoint \(colvar\.csv"),
        ("trajectory.xtc", r"damaged checkpoint \(trajectory\.xtc"),
        ("bias.json", r"bias\.json"),
        ("run.json", r"run\.json"),
        ("checkpoint/arrays.npz", r"damaged checkpoint \(arrays\.npz"),
        ("checkpoint/openmm.chk", r"damaged checkpoint \(openmm\.chk"),
        ("checkpoint/record.json", r"damaged checkpoint"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_damaged_file_is_refused_and_nothing_is_changed(
    finished, arguments, refused, name, message, damage
):
    path = finished / name
    if name.startswith("checkpoint/"):
        (path,) = finished.glob(name.replace("/", "/step-*/"))
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif name.endswith(".json"):
        data = data.replace(b'"', b"'", 1)
    else:
        data[len(data) // 3] ^= 1
    path.write_bytes(data)
    before = content(finished)
    line = refused(*arguments(finished, "--time-ns", "0.008"), "--resume")
    assert re.search(message, line), line
    assert content(finished) == before


def test_a_bias_that_is_not_the_sum_of_its_hills_is_refused(finished, arguments, refused):
    """As after an exchange of files between runs, with all checksums made to fit."""
    import hashlib

    (record,) = finished.glob("checkpoint/step-*/record.json")
    hills = (finished / "hills.csv").read_text().splitlines(keepends=True)
    cells = hills[10].split(",")
    cells[1] = f"{float(cells[1]) + 0.5:.12g}"
    hills[10] = ",".join(cells)
    (finished / "hills.csv").write_text("".join(hills))
    data = json.loads(record.read_text())
    bytes_now = (finished / "hills.csv").read_bytes()
    data["sizes"]["hills.csv"] = len(bytes_now)
    data["growing_sha256"]["hills.csv"] = hashlib.sha256(bytes_now).hexdigest()
    record.write_text(json.dumps(data))
    line = refused(*arguments(finished, "--time-ns", "0.008"), "--resume")
    assert re.search(r"its bias is not the sum of hills\.csv", line), line


def test_two_processes_cannot_run_in_one_folder(finished, arguments, refused):
    from symplectic_cv.files.lock import sole_writer

    with sole_writer(finished):
        before = content(finished)
        line = refused(*arguments(finished, "--time-ns", "0.008"), "--resume")
        assert "another process is running this very run" in line
        assert content(finished) == before
    run(*arguments(finished, "--time-ns", "0.0034"), "--resume")
    assert len(BiasedRun.read(finished).frames) == 170


def test_figures_are_drawn_anew(finished, arguments):
    for name in ("free_energy.png", "modes.png"):
        (finished / name).write_bytes(b"old")
    run(*arguments(finished), "--resume")
    for name in ("free_energy.png", "modes.png"):
        assert (finished / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--width", "wide"], "--width wide: neither auto nor numbers"),
        (["--width", "0.2", "0.3"], "--width has 2 numbers for 1 modes"),
        (["--width", "auto", "0.3"], "neither auto nor numbers"),
        (["--checkpoint-ps", "0"], "--checkpoint-ps must be positive"),
        (["--opes", "--barrier", "1"], "--barrier must be above kT"),
        (["--barrier", "60"], "--barrier 60 is for --opes; hills of metadynamics end by --fill"),
        (["--opes", "--fill", "60"], "--fill 60 ends hills, and --opes adds none: its bias is"),
        (["--opes", "--height", "1"], "--height 1 is of hills, and --opes adds none"),
        (["--opes", "--own-grid"], "--own-grid is for hills"),
        (["--opes", "--openmm-grid"], "--own-grid is for hills"),
        (["--own-grid"], "--own-grid needs the native force, and this run is through python"),
        (["--pdb", "x.pdb"], "either --system system.xml, or --pdb"),
        (["--forcefield", "amber14-all.xml"], "--forcefield and --solvent go with --pdb"),
        (["--modes", "1", "2", "--width", "0.01"], "is too large: give a larger --width"),
        (["--range", "40", "50"], "outside of the grid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused(arguments, refused, tmp_path, more, message):
    line = refused(*arguments(tmp_path / "run", *more))
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_scheduler_that_does_not_answer_is_refused(arguments, refused, tmp_path, monkeypatch):
    monkeypatch.setattr("openmm_plugin.biasing.walkers.CONNECT", "1s")
    line = refused(*arguments(tmp_path / "run", "--scheduler", "tcp://127.0.0.1:1"))
    assert "--scheduler tcp://127.0.0.1:1: cannot be reached" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_walkers_whose_command_is_killed_go_on(arguments, tmp_path):
    """The walkers' own processes end with it, so that a resumed run finds their folders free."""
    words = arguments(tmp_path / "run", "--walkers", "2", "--width", "0.3")
    process = begin(*words)
    first = tmp_path / "run" / "walker-1" / "published.json"
    assert wait_for(first.is_file, process)
    assert kill(process)
    started = time.monotonic()
    run(*words, "--resume")
    assert time.monotonic() - started < 60.0
    both = BiasedRun.read(tmp_path / "run")
    assert np.bincount(both.frames.walker).tolist() == [0, 150, 150]
    assert len(np.unique(both.hill_list.centres)) == len(both.hill_list) == 300
    for walker in (1, 2):
        part = BiasedRun.read(tmp_path / "run" / f"walker-{walker}")
        np.testing.assert_allclose(part.frames.time_ps, 0.02 * np.arange(1, 151), rtol=1e-7)
    for name in ("free_energy.png", "modes.png", "trajectory.xtc"):
        assert (tmp_path / "run" / name).is_file()


def test_a_molecule_of_ones_own_with_its_force_field(place, tmp_path):
    words = [
        *("metadynamics", str(place / "model"), "--pdb", str(place / "md" / "topology.pdb")),
        *("--forcefield", "amber99sbildn.xml", "-o", str(tmp_path / "run"), "--backend", "python"),
        *("--modes", "0", "--time-ns", "0.0002", "--pace", "0.02", "--width", "0.3"),
    ]
    run(*words)
    assert len(BiasedRun.read(tmp_path / "run").frames) == 10
    run(*words, "--resume", "--time-ns", "0.0004")
    assert len(BiasedRun.read(tmp_path / "run").frames) == 20
