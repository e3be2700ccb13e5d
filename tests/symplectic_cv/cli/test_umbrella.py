"""`umbrella` as a user runs it: windows in folders, killed and resumed, along a mode and a path."""

import random
import re
import time

import mdtraj as md
import numpy as np
import pytest
from commands import begin, content, kill, run, wait_for

WINDOWS, FRAMES = 3, 20


@pytest.fixture(scope="module")
def arguments(place):
    def words(output, *more):
        return [
            *("umbrella", str(place / "model"), "--system", str(place / "md" / "system.xml")),
            *("-o", str(output), "--backend", "python", "--mode", "0", "--windows", str(WINDOWS)),
            *("--range", "-1", "1", "--time-ns", "0.001", "--stride-ps", "0.05"),
            *("--steering-ps", "0.4", "--checkpoint-ps", "0.2"),
            *map(str, more),
        ]

    return words


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(*arguments(folder))
    return folder


def _tables(folder):
    return [
        np.genfromtxt(folder / f"window-{k:02d}" / "colvar.csv", delimiter=",", names=True)
        for k in range(1, WINDOWS + 1)
    ]


def test_each_window_is_held_near_its_centre(whole):
    rows = np.genfromtxt(whole / "umbrella.csv", delimiter=",", names=True)
    np.testing.assert_allclose(rows["centre_mode_0"], [-1.0, 0.0, 1.0])
    kappa = np.load(whole / "free_energy.npz")["force_constant"]
    for table, centre in zip(_tables(whole), rows["centre_mode_0"], strict=True):
        assert len(table) == FRAMES
        expected = 0.5 * kappa * (table["mode_0"] - centre) ** 2
        np.testing.assert_allclose(table["bias_kj_per_mol"], expected, rtol=1e-6, atol=1e-8)
    # twenty frames scatter by half a window about a centre that the landscape pulls at
    means = [table["mode_0"].mean() for table in _tables(whole)]
    assert means[0] < means[2] - 0.5


def test_the_frames_are_those_of_the_table(whole):
    for k, table in enumerate(_tables(whole), 1):
        frames = md.load(
            str(whole / f"window-{k:02d}" / "trajectory.xtc"), top=str(whole / "topology.pdb")
        )
        np.testing.assert_allclose(frames.time, table["time_ps"], atol=1e-4)


def test_the_free_energy_has_its_errors_and_a_figure(whole):
    with np.load(whole / "free_energy.npz") as archive:
        known = np.isfinite(archive["free_energy"])
        assert archive["free_energy"][known].min() == 0.0
        assert np.isfinite(archive["error"][known]).all()
        assert archive["mode_0"].shape == archive["free_energy"].shape
    assert (whole / "umbrella.png").read_bytes()[:4] == b"\x89PNG"


def size_of(folder):
    """Bytes of all tables there are at the moment."""
    return sum(path.stat().st_size for path in folder.rglob("*.csv"))


@pytest.mark.slow
def test_killed_at_random_moments_the_windows_are_the_undisturbed_ones(arguments, whole, tmp_path):
    words = [*arguments(tmp_path / "run"), "--resume"]
    rng = random.Random(5)
    folder, alive = tmp_path / "run", 0
    whole_size = size_of(whole)
    for share in sorted(rng.uniform(0.0, 0.8) for _ in range(3)):
        process = begin(*words)
        wait_for(lambda size=share * whole_size: size_of(folder) >= size, process)
        time.sleep(rng.uniform(0.0, 0.1))
        alive += kill(process)
    assert alive >= 1
    run(*words)
    names = [path.relative_to(whole) for path in whole.rglob("*.csv")]
    names += [path.relative_to(whole) for path in whole.rglob("*.xtc")]
    assert len(names) == 2 * WINDOWS + 1
    for name in names:
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_windows_in_processes_are_those_of_one(arguments, whole, tmp_path):
    run(*arguments(tmp_path / "run", "--jobs", "2"))
    assert (tmp_path / "run" / "umbrella.csv").read_bytes() == (whole / "umbrella.csv").read_bytes()


def test_windows_through_the_fastest_backend_there_is(arguments, tmp_path):
    """With `auto` every process finds all files of the export in the folder of the run."""
    words = arguments(tmp_path / "run", "--windows", "2", "--jobs", "2")
    words[words.index("python")] = "auto"
    run(*words)
    assert {path.name for path in (tmp_path / "run").glob("cv.*")} == {"cv.pt", "cv.safetensors"}
    assert np.isfinite(np.load(tmp_path / "run" / "free_energy.npz")["free_energy"]).any()


def test_windows_along_a_path_in_two_modes(arguments, tmp_path):
    table = tmp_path / "path.csv"
    table.write_text("point,mode_0,mode_1\n0,-0.8,-0.4\n1,0.8,0.4\n")
    words = arguments(tmp_path / "run", "--path", table)
    words[words.index("--mode") : words.index("--mode") + 2] = ["--modes", "0", "1"]
    run(*words)
    with np.load(tmp_path / "run" / "free_energy.npz") as archive:
        assert archive["modes"].tolist() == ["mode_0", "mode_1"]
        assert 0.0 < archive["progress"].min() < archive["progress"].max() < 1.0
        np.testing.assert_allclose(archive["centres"][1], [0.0, 0.0], atol=1e-12)


def test_windows_are_made_longer_and_other_options_are_refused(arguments, refused, tmp_path):
    folder = tmp_path / "run"
    words = arguments(folder, "--windows", "2")
    run(*words)
    before = content(folder)
    for more, message in (
        (["--range", "-1", "2"], r"cannot resume, centres was"),
        (["--force-constant", "7"], r"cannot resume, force_constant was"),
        (["--seed", "3"], r"cannot resume, seed was 0 and is now 3"),
    ):
        assert re.search(message, refused(*words, *more, "--resume"))
        assert content(folder) == before
    state = folder / "window-01" / "checkpoint"
    (record,) = state.glob("step-*/state.xml")
    kept = record.read_bytes()
    record.write_bytes(kept[:-30])
    assert "damaged checkpoint" in refused(*words, "--time-ns", "0.002", "--resume")
    record.write_bytes(kept)
    run(*words, "--time-ns", "0.002", "--resume")
    assert len((folder / "window-02" / "colvar.csv").read_text().splitlines()) == 1 + 2 * FRAMES


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--windows", "1"], "--windows must be at least 2"),
        (["--range", "1", "1"], "--range"),
        (["--force-constant", "0"], "--force-constant must be positive"),
        (["--stride-ps", "-1"], "--stride-ps must be positive"),
        (["--modes", "1", "2"], "without --path windows walk along 1"),
        (["--path", "none.csv"], "none.csv: not readable as a path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused(arguments, refused, tmp_path, more, message):
    assert message in refused(*arguments(tmp_path / "run", *more))
    assert not (tmp_path / "run").exists()
