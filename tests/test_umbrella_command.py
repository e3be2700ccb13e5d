"""`umbrella` as a user runs it: windows in folders, killed and resumed, along a mode and a path."""

import multiprocessing
import random
import re

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_plugin.simulation import relaxed_state, write_structure
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from symplectic_cv.cli.main import main
from symplectic_cv.flows.build import FlowOptions
from symplectic_cv.molecule import Molecule
from symplectic_cv.storage import save_model
from symplectic_cv.training.likelihood import initial_model

HEAVY = np.array([1, 4, 5, 6, 8, 10, 14, 15, 16, 18])
WINDOWS, FRAMES = 3, 20
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["symplectic_cv.cli.metadynamics"])


@pytest.fixture(scope="module")
def place(tmp_path_factory, topology, perturb):
    """A folder with a system of alanine dipeptide in vacuum and a small model around it."""
    folder = tmp_path_factory.mktemp("place")
    vacuum = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    reference = openmm.Platform.getPlatformByName("Reference")
    state = relaxed_state(vacuum, 300.0, 0.002, 0, reference)
    relaxed = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    masses = np.array([atom.element.mass for atom in topology.atoms])
    molecule = Molecule(topology, masses, HEAVY, 22)
    frames = relaxed[HEAVY] + 0.03 * np.random.default_rng(0).normal(size=(400, 10, 3))
    network, _ = initial_model(frames, molecule, 300.0, FlowOptions(layers=2, hidden=8))
    perturb(network.flow, seed=1, size=0.02)
    save_model(folder / "model", network.eval())
    (folder / "md").mkdir()
    start = MolecularSystem(vacuum.system, vacuum.topology, relaxed * unit.nanometer)
    write_structure(start, folder / "md")
    return folder


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


def _runs(words):
    with pytest.raises(SystemExit) as info:
        main(words)
    assert info.value.code == 0, words


@pytest.fixture
def refused(capsys):
    def check(words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as info:
            main(words)
        assert info.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error: ")
        return line

    return check


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    _runs(arguments(folder))
    return folder


def _content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


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


def test_killed_at_random_moments_the_windows_are_the_undisturbed_ones(arguments, whole, tmp_path):
    words = [*arguments(tmp_path / "run"), "--resume"]
    rng = random.Random(5)
    for _ in range(3):
        process = processes.Process(target=main, args=(words,))
        process.start()
        process.join(rng.uniform(0.3, 4.0))
        process.kill()
        process.join()
    _runs(words)
    names = [path.relative_to(whole) for path in whole.rglob("*.csv")]
    names += [path.relative_to(whole) for path in whole.rglob("*.xtc")]
    assert len(names) == 2 * WINDOWS + 1
    for name in names:
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_windows_in_processes_are_those_of_one(arguments, whole, tmp_path):
    _runs(arguments(tmp_path / "run", "--jobs", "2"))
    assert (tmp_path / "run" / "umbrella.csv").read_bytes() == (whole / "umbrella.csv").read_bytes()


def test_windows_along_a_path_in_two_modes(arguments, tmp_path):
    table = tmp_path / "path.csv"
    table.write_text("point,mode_0,mode_1\n0,-0.8,-0.4\n1,0.8,0.4\n")
    words = arguments(tmp_path / "run", "--path", table)
    words[words.index("--mode") : words.index("--mode") + 2] = ["--modes", "0", "1"]
    _runs(words)
    with np.load(tmp_path / "run" / "free_energy.npz") as archive:
        assert archive["modes"].tolist() == ["mode_0", "mode_1"]
        assert 0.0 < archive["progress"].min() < archive["progress"].max() < 1.0
        np.testing.assert_allclose(archive["centres"][1], [0.0, 0.0], atol=1e-12)


def test_windows_are_made_longer_and_other_options_are_refused(arguments, refused, tmp_path):
    folder = tmp_path / "run"
    words = arguments(folder, "--windows", "2")
    _runs(words)
    before = _content(folder)
    for more, message in (
        (["--range", "-1", "2"], r"cannot resume, centres was"),
        (["--force-constant", "7"], r"cannot resume, force_constant was"),
        (["--seed", "3"], r"cannot resume, seed was 0 and is now 3"),
    ):
        assert re.search(message, refused([*words, *more, "--resume"]))
        assert _content(folder) == before
    state = folder / "window-01" / "checkpoint"
    (record,) = state.glob("step-*/state.xml")
    kept = record.read_bytes()
    record.write_bytes(kept[:-30])
    assert "damaged checkpoint" in refused([*words, "--time-ns", "0.002", "--resume"])
    record.write_bytes(kept)
    _runs([*words, "--time-ns", "0.002", "--resume"])
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
    assert message in refused(arguments(tmp_path / "run", *more))
    assert not (tmp_path / "run").exists()
