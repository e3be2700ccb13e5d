"""Unbiased runs: what they write, that a kill changes nothing, how they fail."""

import csv

import mdtraj as md
import numpy as np
import openmm
import pytest
from commands import content
from openmm import unit

from openmm_plugin.running.checkpoints import SimulationError
from openmm_plugin.running.simulation import run_dynamics, write_structure
from openmm_plugin.systems import (
    MolecularSystem,
    load_system,
)
from symplectic_cv.errors import OutputError

REFERENCE = openmm.Platform.getPlatformByName("Reference")
TIME_NS, STRIDE_PS, TIMESTEP_FS, CHECKPOINT_PS = 0.01, 0.5, 2.0, 1.0
FRAMES, STEPS = 20, 5000


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(step):
    def progress(reached):
        if reached >= step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def run(vacuum):
    """run(folder, progress, …): a run of 10 ps, or the rest of the one in the folder."""

    def start(
        folder,
        progress=None,
        time_ns=TIME_NS,
        stride_ps=STRIDE_PS,
        seed=3,
        checkpoint_ps=CHECKPOINT_PS,
        lossless=False,
    ):
        return run_dynamics(
            vacuum,
            folder,
            time_ns,
            stride_ps,
            TIMESTEP_FS,
            300.0,
            seed,
            REFERENCE,
            progress,
            checkpoint_ps,
            lossless,
        )

    return start


@pytest.fixture(scope="module")
def whole(run, vacuum, tmp_path_factory):
    """An uninterrupted run, with the steps it reported."""
    folder = tmp_path_factory.mktemp("whole")
    write_structure(vacuum, folder)
    steps = []
    assert run(folder, steps.append) == FRAMES
    return folder, steps


def _frames(folder, topology):
    trajectory = md.load(str(folder / "trajectory.xtc"), top=str(topology / "topology.pdb"))
    return trajectory.xyz, trajectory.time


def _rows(folder):
    with open(folder / "state.csv") as handle:
        return list(csv.reader(handle))


def test_a_run_writes_its_files(whole):
    folder, steps = whole
    assert {path.name for path in folder.iterdir()} == {
        "trajectory.xtc",
        "topology.pdb",
        "system.xml",
        "state.csv",
        "checkpoint",
    }
    positions, times = _frames(folder, folder)
    assert positions.shape == (FRAMES, 22, 3)
    np.testing.assert_allclose(times, STRIDE_PS * np.arange(1, FRAMES + 1), atol=1e-4)
    assert np.abs(np.diff(positions, axis=0)).max() > 0.01
    assert steps[-1] == STEPS
    assert steps == sorted(set(steps))
    assert load_system(folder / "system.xml").topology.getNumAtoms() == 22


def test_the_table_of_states_has_no_clock_in_it(whole):
    header, *rows = _rows(whole[0])
    assert header == [
        '#"Step"',
        "Time (ps)",
        "Potential Energy (kJ/mole)",
        "Kinetic Energy (kJ/mole)",
        "Temperature (K)",
    ]
    assert len(rows) == FRAMES
    assert [int(row[0]) for row in rows] == list(range(250, STEPS + 1, 250))
    temperatures = np.array([float(row[4]) for row in rows])
    assert 200.0 < temperatures.mean() < 400.0


@pytest.mark.parametrize("step", [1, 1750, 4000])
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(run, whole, tmp_path, step):
    with pytest.raises(Killed):
        run(tmp_path, kill_at(step))
    assert run(tmp_path) == FRAMES
    assert _rows(tmp_path) == _rows(whole[0])
    for found, expected in zip(
        _frames(tmp_path, whole[0]), _frames(whole[0], whole[0]), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert (tmp_path / "trajectory.xtc").read_bytes() == (whole[0] / "trajectory.xtc").read_bytes()


def test_a_lossless_run_is_killed_and_resumed_alike(run, tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run(tmp_path / "whole", lossless=True)
    with pytest.raises(Killed):
        run(tmp_path / "killed", kill_at(1750), lossless=True)
    # a frame after the checkpoint, and part of another
    with open(tmp_path / "killed" / "trajectory.dcd", "ab") as file:
        file.write(b"0" * 500)
    assert run(tmp_path / "killed", lossless=True) == FRAMES
    files = [tmp_path / name / "trajectory.dcd" for name in ("whole", "killed")]
    whole, killed = (file.read_bytes() for file in files)
    assert len(whole) == len(killed)
    # the comment in the header holds the time of its making
    assert whole[:100] == killed[:100]
    assert whole[276:] == killed[276:]


def test_a_run_killed_before_its_first_checkpoint_begins_anew(run, whole, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, kill_at(2000), checkpoint_ps=8.0)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["none-yet"]
    assert len(_rows(tmp_path)) == 1 + 8
    run(tmp_path)
    assert _rows(tmp_path) == _rows(whole[0])
    assert (tmp_path / "trajectory.xtc").read_bytes() == (whole[0] / "trajectory.xtc").read_bytes()


def test_frames_after_the_last_checkpoint_are_not_written_twice(run, whole, tmp_path):
    """A kill in the middle of a frame, three frames past the checkpoint."""
    with pytest.raises(Killed):
        run(tmp_path, kill_at(2000))
    with open(tmp_path / "trajectory.xtc", "ab") as handle:
        handle.write((whole[0] / "trajectory.xtc").read_bytes()[:777])
    with open(tmp_path / "state.csv", "a") as handle:
        handle.write("2250,4.5,-3")
    run(tmp_path)
    assert _rows(tmp_path) == _rows(whole[0])
    assert (tmp_path / "trajectory.xtc").read_bytes() == (whole[0] / "trajectory.xtc").read_bytes()


def test_a_kill_before_the_first_frame(run, vacuum, tmp_path):
    """Checkpoints can be closer than frames; the files are still empty then."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        write_structure(vacuum, folder)
    run(one, time_ns=0.008, stride_ps=4.0)
    with pytest.raises(Killed):
        run(two, kill_at(1000), time_ns=0.008, stride_ps=4.0)
    assert (two / "trajectory.xtc").stat().st_size == 0
    run(two, time_ns=0.008, stride_ps=4.0)
    assert len(_rows(one)) == 1 + 2
    assert _rows(two) == _rows(one)
    assert (two / "trajectory.xtc").read_bytes() == (one / "trajectory.xtc").read_bytes()


def test_a_finished_run_can_be_made_longer(run, whole, tmp_path):
    assert run(tmp_path, time_ns=0.6 * TIME_NS) == 12
    assert len(_rows(tmp_path)) == 1 + 12
    assert run(tmp_path) == FRAMES
    assert _rows(tmp_path) == _rows(whole[0])
    before = content(tmp_path)
    assert run(tmp_path) == FRAMES  # complete: nothing left to do
    assert content(tmp_path) == before


def test_seeds_repeat_and_differ(run, whole, tmp_path):
    for name, seed in (("same", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        run(tmp_path / name, seed=seed, time_ns=0.002)
    first = _rows(whole[0])[1:5]
    assert _rows(tmp_path / "same")[1:] == first
    assert _rows(tmp_path / "other")[1] != first[0]


@pytest.mark.parametrize("name", ["openmm.chk", "arrays.npz", "record.json"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(run, tmp_path, name):
    with pytest.raises(Killed):
        run(tmp_path, kill_at(2000))
    (path,) = tmp_path.glob(f"checkpoint/step-*/{name}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = content(tmp_path)
    with pytest.raises(OutputError, match="damaged checkpoint"):
        run(tmp_path)
    assert content(tmp_path) == before


def test_a_trajectory_cut_after_the_kill_is_refused(run, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, kill_at(2000))
    (tmp_path / "trajectory.xtc").write_bytes(b"")
    before = content(tmp_path)
    with pytest.raises(OutputError, match=r"trajectory\.xtc is shorter than at the checkpoint"):
        run(tmp_path)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("option", "value"), [("time_ns", 0.0), ("stride_ps", -1.0)])
def test_times_must_be_positive(run, tmp_path, option, value):
    with pytest.raises(SimulationError, match=rf"`{option}` must be positive"):
        run(tmp_path, **{option: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("timestep", [8.0, 25.0])
def test_a_simulation_that_blows_up_says_so(vacuum, tmp_path, timestep):
    with pytest.raises(SimulationError, match=r"blew up near .* use a smaller `timestep_fs`"):
        run_dynamics(vacuum, tmp_path, 0.05, 1.0, timestep, 300.0, 0, REFERENCE)


def test_the_first_frame_comes_from_a_relaxed_structure(vacuum, tmp_path):
    """A structure stretched by a third, thousands of kJ/mol above a relaxed one."""
    stretched = MolecularSystem(vacuum.system, vacuum.topology, vacuum.positions * 1.3)
    context = openmm.Context(vacuum.system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(stretched.positions)
    energy = context.getState(energy=True).getPotentialEnergy()
    assert energy.value_in_unit(unit.kilojoules_per_mole) > 1000.0
    run_dynamics(stretched, tmp_path, 0.0001, 0.1, TIMESTEP_FS, 300.0, 0, REFERENCE)
    assert float(_rows(tmp_path)[1][2]) < 100.0
