"""The adaptive loop from Python: systems and data of every kind, rounds one by one, resumption."""

from __future__ import annotations

import json
from dataclasses import replace

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import app, unit

import symplectic_cv as sc
from openmm_plugin import Adaptation, AdaptationOptions, SimulationOptions, simulate
from openmm_plugin.running.simulation import write_structure
from symplectic_cv.errors import OptionError, OutputError

TINY = AdaptationOptions(
    rounds=2, time_ns=0.004, pace_ps=0.05, start_ns=0.02, steps=12, hidden=8, layers=2, growth=0.0
)  # fmt: skip
FRAMES = 80


def changed(**options):
    return replace(TINY, **options)


@pytest.fixture(scope="module")
def system(vacuum, tmp_path_factory):
    """system.xml of alanine dipeptide in vacuum, topology.pdb beside it."""
    folder = tmp_path_factory.mktemp("system")
    write_structure(vacuum, folder)
    return folder / "system.xml"


@pytest.fixture(scope="module")
def finished(system, tmp_path_factory):
    """A loop that began with the system alone: its object, its rounds and its free energies."""
    folder = tmp_path_factory.mktemp("adapt") / "adapt"
    stages = []
    loop = Adaptation(system, options=TINY, folder=folder, progress=stages.append)
    return loop, list(loop), loop.free_energies(), stages


def test_a_loop_records_what_version_0_1_recorded():
    """Its loops could not be resumed otherwise."""
    assert AdaptationOptions().settings() == {
        "atoms": None, "time_ns": 5.0, "start_ns": 1.0, "modes": None, "flatten": 0.5,
        "steps": 5000, "batch": 512, "layers": 8, "hidden": 64, "bias_factor": 15.0, "height": 1.0,
        "fill": 40.0, "width": ["auto"], "pace_ps": 0.2, "range": [-9.0, 9.0], "timestep_fs": 2.0,
        "temperature_k": 300.0, "seed": 0,
    }  # fmt: skip


def test_each_round_tells_what_it_found(finished):
    loop, rounds, _, _ = finished
    assert [progress.round for progress in rounds] == [1, 2]
    for progress in rounds:
        assert [row.round for row in progress.rows] == list(range(progress.round + 1))
        assert [row.frames for row in progress.rows] == [100] + [FRAMES] * progress.round
        assert progress.states is not None
        assert 2 <= len(progress.modes) <= 3
        assert (progress.folder / "metadynamics" / "colvar.csv").is_file()
    assert [progress.reason is None for progress in rounds] == [True, False]
    assert loop.reason == rounds[-1].reason


def test_the_free_energies_are_of_all_rounds_and_written(finished):
    loop, _, result, _ = finished
    assert set(result.frames["run"]) == {0, 1}
    assert result.frames["weight"].sum() == pytest.approx(1.0)
    summary = json.loads((loop.folder / "free_energy" / "summary.json").read_text())
    assert summary["effective_frames"] == result.effective_frames
    names = [column.name for column in result.columns]
    assert names[: len(loop.models[loop.best - 1].modes)] == [
        f"mode_{mode}" for mode in loop.models[loop.best - 1].modes
    ]
    assert not (loop.folder / "report.html").exists()  # reports draw, not the loop


def test_every_stage_is_told_and_every_trajectory_read_once(finished):
    _, _, _, stages = finished
    order = list(dict.fromkeys((stage.round, stage.stage) for stage in stages))
    assert order == [
        (0, "simulating"), (0, "reading"), (1, "training"), (1, "biasing"), (1, "reading"),
        (2, "training"), (2, "biasing"), (2, "reading"),
    ]  # fmt: skip
    read = [stage.done for stage in stages if stage.stage == "reading"]
    assert read == [100, 100 + FRAMES, 100 + 2 * FRAMES]
    last = [stage for stage in stages if stage.stage == "biasing"][-1]
    assert last.done == pytest.approx(last.total) == pytest.approx(4.0)


def test_a_finished_loop_resumes_without_doing_anything_again(finished, system):
    loop, rounds, result, _ = finished
    stages = []
    again = Adaptation(
        system, options=TINY, folder=loop.folder, resume=True, progress=stages.append
    )
    back = list(again)
    assert [progress.rows for progress in back] == [progress.rows for progress in rounds]
    assert [progress.states for progress in back] == [None, None]
    assert np.array_equal(again.free_energies().combined.weights, result.combined.weights)
    assert {stage.stage for stage in stages} == {"reading"}


def test_other_options_on_resumption_are_told(finished, system):
    loop, *_ = finished
    other = changed(height=2.0)
    with pytest.raises(OutputError, match="height was 1"):
        next(iter(Adaptation(system, options=other, folder=loop.folder, resume=True)))
    with pytest.raises(OutputError, match="already holds another run"):
        Adaptation(system, options=TINY, folder=loop.folder)


def test_objects_in_place_of_files_give_the_same_loop(finished, system, tmp_path):
    """An openmm.System with an MDTraj topology, and frames that were read before."""
    loop, *_ = finished
    structure = md.load(system.parent / "topology.pdb")
    start = loop.folder / "start" / "trajectory.xtc"
    parsed = openmm.XmlSerializer.deserialize(system.read_text())
    data = sc.read_trajectories([start], system.parent / "topology.pdb")
    one = changed(rounds=1)
    hills = []
    for number, (molecule, topology, given) in enumerate(
        [(system, None, start), (parsed, structure, data), (parsed, structure.topology, [start])]
    ):
        folder = tmp_path / str(number)
        (progress,) = Adaptation(molecule, topology, given, one, folder)
        assert [row.frames for row in progress.rows] == [100, FRAMES]
        hills.append(np.genfromtxt(progress.folder / "metadynamics" / "hills.csv", delimiter=","))
    assert np.array_equal(hills[0][1:], hills[1][1:])
    # its start is the first frame of the trajectory, not the structure of the PDB
    assert hills[2].shape == hills[0].shape


def test_free_energies_need_a_round(system, tmp_path):
    loop = Adaptation(system, options=TINY, folder=tmp_path / "adapt")
    with pytest.raises(OptionError, match="iterate over the loop first"):
        loop.free_energies()
    assert not (tmp_path / "adapt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": 0}, "`rounds` must be at least 1"),
        ({"modes": "slow"}, "`modes` slow: neither auto nor numbers"),
        ({"modes": [0, 1, 2, 3]}, "names 4 modes"),
        ({"flatten": 2.0}, "`flatten` must be at most 1"),
        ({"growth": -1.0}, "`growth` must be 0 or more"),
        ({"range": (-2.0, 9.0)}, "`range` -2 9 must hold -3 to 3"),
        ({"bias_factor": 0.5}, "above 1"),
        ({"width": "wide"}, "`width` wide: neither auto nor numbers"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_options_are_checked_where_they_are_given(options, words):
    with pytest.raises(OptionError, match=words):
        AdaptationOptions(**options)


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ("few", {}, "cannot determine 24 internal coordinates"),
        ("other", {}, "`data` is of a system of 10 atoms, `system` has 22"),
        ("enough", {"atoms": "all"}, "`atoms` goes with files"),
        (None, {"modes": [0, 99]}, "99"),
        (None, {"start_ns": 0.004}, "`start_ns` 0.004 gives 20 frames"),
    ],
)
def test_what_does_not_fit_the_molecule_is_told_first(
    system, finished, tmp_path, molecule, wobble, given, options, words
):
    data = None
    if given is not None:
        file = finished[0].folder / "start" / "trajectory.xtc"
        data = sc.read_trajectories([file], system.parent / "topology.pdb")
        if given == "few":
            short = tmp_path / "few.npz"
            whole = md.load(file, top=system.parent / "topology.pdb")
            np.savez(short, whole.xyz[:26])
            data = [short]
        elif given == "other":
            frames = wobble(100).astype(np.float32)
            data = sc.TrajectoryData(frames, [100], ["frames"], molecule, data.links)
    with pytest.raises(sc.UserError, match=words):
        Adaptation(
            system,
            None,
            data,
            AdaptationOptions(**{**TINY.__dict__, **options}),
            tmp_path / "adapt",
        )
    assert not (tmp_path / "adapt").exists()


def test_a_bare_topology_takes_its_structure_from_the_data(system, tmp_path):
    """An app.Topology holds no positions: they are those of the file that the data came from."""
    wanted = SimulationOptions(time_ns=0.02, stride_ps=0.1)
    simulate(system, options=wanted, folder=tmp_path / "md")
    bare = openmm.XmlSerializer.deserialize(system.read_text())
    topology = app.PDBFile(str(system.with_name("topology.pdb"))).topology
    data = sc.read_trajectories(tmp_path / "md" / "trajectory.xtc")
    loop = Adaptation(bare, topology, data, changed(rounds=1), tmp_path / "loop")
    file, top = str(tmp_path / "md" / "trajectory.xtc"), str(system.with_name("topology.pdb"))
    first = md.load_frame(file, 0, top=top)
    start = np.array(loop._molecule.positions.value_in_unit(unit.nanometer))
    np.testing.assert_allclose(start, first.xyz[0], atol=1e-6)
