"""Checkpoints: whole or refused, and files that grow are cut back to them."""

import hashlib
import io
import json
import shutil
import zipfile

import numpy as np
import openmm
import pytest
from commands import content
from openmm import unit

from openmm_plugin.running.checkpoints import CheckpointFolder, SimulationError, blown_up, steps_of
from openmm_plugin.running.simulation import langevin_simulation
from symplectic_cv.errors import OutputError, UserError

REFERENCE = openmm.Platform.getPlatformByName("Reference")


@pytest.fixture
def start(vacuum):
    """start(): a new simulation of the dipeptide, at its structure."""

    def simulation():
        new = langevin_simulation(vacuum, vacuum.system, 300.0, 0.002, 0, REFERENCE)
        new.context.setVelocitiesToTemperature(300.0 * unit.kelvin, 1)
        return new

    return simulation


@pytest.fixture
def saved(start, tmp_path):
    """A folder with a checkpoint at step 30, a file that grew to 5 bytes by then, and on."""
    simulation = start()
    simulation.step(30)
    grown = tmp_path / "colvar.csv"
    grown.write_bytes(b"12345")
    folder = CheckpointFolder(tmp_path / "checkpoint", [grown])
    folder.save(simulation, {"bias": np.arange(6.0).reshape(2, 3)}, {"note": 1})
    grown.write_bytes(b"12345678")
    return folder


def _positions(simulation):
    state = simulation.context.getState(positions=True, velocities=True)
    return np.concatenate(
        [
            state.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
            state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond),
        ]
    )


def test_a_restored_run_takes_the_same_steps(start, saved):
    one = start()
    one.step(60)
    two = start()
    arrays, extra = saved.restore(two)
    assert two.currentStep == 30
    assert extra == {"note": 1}
    np.testing.assert_array_equal(arrays["bias"], np.arange(6.0).reshape(2, 3))
    assert saved.growing[0].read_bytes() == b"12345"
    two.step(30)
    np.testing.assert_array_equal(_positions(two), _positions(one))
    assert two.context.getTime() == one.context.getTime()


def test_each_checkpoint_replaces_the_one_before(start, saved, tmp_path):
    simulation = start()
    saved.restore(simulation)
    for _ in range(2):
        simulation.step(10)
        saved.save(simulation)
    assert [path.name for path in saved.folder.iterdir()] == ["step-000000000050"]
    saved.save(simulation)  # once more at the same step
    assert [path.name for path in saved.folder.iterdir()] == ["step-000000000050"]
    assert {path.name for path in saved.latest().iterdir()} == {
        "openmm.chk",
        "state.xml",
        "arrays.npz",
        "record.json",
    }


def test_a_checkpoint_that_was_being_written_does_not_count(start, saved):
    unfinished = saved.folder / ".step-000000000040.tmp"
    unfinished.mkdir()
    (unfinished / "openmm.chk").write_bytes(b"half")
    simulation = start()
    saved.restore(simulation)
    assert simulation.currentStep == 30
    simulation.step(10)
    saved.save(simulation)
    assert [path.name for path in saved.folder.iterdir()] == ["step-000000000040"]


def test_the_newest_counts_where_the_old_one_was_not_yet_removed(start, saved):
    simulation = start()
    saved.restore(simulation)
    old = {path.name: path.read_bytes() for path in saved.latest().iterdir()}
    simulation.step(10)
    saved.save(simulation)
    again = saved.folder / "step-000000000030"
    again.mkdir()
    for name, data in old.items():
        (again / name).write_bytes(data)
    restored = start()
    saved.restore(restored)
    assert restored.currentStep == 40


def test_data_without_a_checkpoint_are_refused_and_left(start, saved):
    """A run whose checkpoint was lost would be begun anew, and its data removed."""
    shutil.rmtree(saved.folder)
    for _ in range(2):
        with pytest.raises(OutputError, match=r"holds no checkpoint, but .*colvar\.csv holds data"):
            saved.restore(start())
        assert saved.growing[0].read_bytes() == b"12345678"
        saved.folder.mkdir(exist_ok=True)  # an empty folder is none either


def test_before_its_first_checkpoint_a_run_begins_anew(start, tmp_path):
    grown = tmp_path / "trajectory.xtc"
    folder = CheckpointFolder(tmp_path / "checkpoint", [grown, tmp_path / "absent.csv"])
    assert folder.restore(start()) is None
    grown.write_bytes(b"of a run that never got to a checkpoint")
    simulation = start()
    assert folder.restore(simulation) is None
    assert not grown.exists()
    assert simulation.currentStep == 0


@pytest.mark.parametrize("name", ["openmm.chk", "state.xml", "arrays.npz", "record.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "missing"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(
    start, saved, tmp_path, name, damage
):
    path = saved.latest() / name
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "changed":
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    before, simulation = content(tmp_path), start()
    positions = _positions(simulation)
    with pytest.raises(OutputError, match=r"step-000000000030: damaged checkpoint.*nothing was"):
        saved.restore(simulation)
    assert content(tmp_path) == before
    assert simulation.currentStep == 0
    np.testing.assert_array_equal(_positions(simulation), positions)


@pytest.mark.parametrize(
    "record", ["[" * 100_000, "[1, 2]", "{}", '{"step": 30, "sha256": {}}', "null"]
)
def test_a_record_of_something_else_is_refused(start, saved, record):
    (saved.latest() / "record.json").write_text(record)
    with pytest.raises(OutputError, match="damaged checkpoint"):
        saved.restore(start())


@pytest.mark.parametrize("content", [b"123", None])
def test_a_growing_file_that_lost_a_part_is_refused(start, saved, content):
    grown = saved.growing[0]
    grown.unlink()
    if content is not None:
        grown.write_bytes(content)
    with pytest.raises(OutputError, match=r"damaged checkpoint \(.*colvar\.csv"):
        saved.restore(start())
    assert grown.exists() == (content is not None)


def test_a_checkpoint_of_another_machine_is_taken_from_its_state(start, saved):
    """OpenMM's own checkpoint is bound to platform and version; the state is not."""
    expected = start()
    saved.restore(expected)
    latest = saved.latest()
    foreign = b"a checkpoint of another platform"
    (latest / "openmm.chk").write_bytes(foreign)
    record = json.loads((latest / "record.json").read_text())
    record["sha256"]["openmm.chk"] = hashlib.sha256(foreign).hexdigest()
    (latest / "record.json").write_text(json.dumps(record))
    simulation = start()
    assert saved.restore(simulation) is not None
    assert simulation.currentStep == 30
    assert simulation.context.getStepCount() == 30
    np.testing.assert_array_equal(_positions(simulation), _positions(expected))


def test_times_become_steps():
    assert steps_of(20.0, 0.002, "time_ns") == 10000
    assert steps_of(0.3, 0.1, "pace") == 3  # 2.9999999999999996
    assert steps_of(0.0001, 0.002, "pace") == 1


@pytest.mark.parametrize("time", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_not_positive_is_refused(time):
    with pytest.raises(SimulationError, match="`pace` must be positive; got"):
        steps_of(time, 0.002, "pace")
    with pytest.raises(SimulationError, match="`timestep_fs` must be positive; got"):
        steps_of(1.0, time, "pace")


def test_a_blown_up_run_says_where_and_what_to_do(tmp_path):
    error = blown_up(500, 0.004, tmp_path)
    assert isinstance(error, UserError)
    assert str(tmp_path) in str(error)
    assert "near 2.000 ps" in str(error)
    assert "`timestep_fs`" in str(error)


def test_an_array_of_a_giant_declared_shape_takes_no_memory(start, saved):
    """The record can be forged along with the file; the header of the array then asks for 8 EB."""
    latest = saved.latest()
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)}
    )
    with zipfile.ZipFile(latest / "arrays.npz", "w") as archive:
        archive.writestr("bias.npy", buffer.getvalue())
    record = json.loads((latest / "record.json").read_text())
    digest = hashlib.sha256((latest / "arrays.npz").read_bytes()).hexdigest()
    record["sha256"]["arrays.npz"] = digest
    (latest / "record.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="damaged checkpoint"):
        saved.restore(start())
