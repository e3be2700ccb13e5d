"""Unbiased runs in their folders: alone there, and with the files that they began with."""

import shutil

import openmm
import pytest
from commands import content

from openmm_plugin.running.dynamics import SimulationOptions, simulate
from symplectic_cv.errors import OutputError, TrajectoryError
from symplectic_cv.files.lock import sole_writer

OPTIONS = {"stride_ps": 0.1, "timestep_fs": 1.0, "platform": "Reference"}


@pytest.fixture(scope="module")
def finished(vacuum, tmp_path_factory):
    """The folder of a run of 0.2 ps."""
    folder = tmp_path_factory.mktemp("dynamics") / "md"
    simulate(vacuum, options=SimulationOptions(time_ns=0.0002, **OPTIONS), folder=folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "md")
    return tmp_path / "md"


def _longer(vacuum, folder):
    options = SimulationOptions(time_ns=0.0004, **OPTIONS)
    return simulate(vacuum, options=options, folder=folder, resume=True)


def test_two_processes_do_not_write_one_trajectory(vacuum, folder):
    before = content(folder)
    with (
        sole_writer(folder),
        pytest.raises(OutputError, match="another process is running"),
    ):
        _longer(vacuum, folder)
    assert {k: v for k, v in content(folder).items() if k.name != ".lock"} == {
        k: v for k, v in before.items() if k.name != ".lock"
    }
    assert _longer(vacuum, folder).frames == 4


@pytest.mark.parametrize("name", ["system.xml", "topology.pdb"])
def test_an_exchanged_file_is_refused(vacuum, folder, name):
    path = folder / name
    path.write_text(path.read_text().replace("0", "1", 1))
    before = content(folder)
    with pytest.raises(OutputError, match=f"{name}: was altered since the run began"):
        _longer(vacuum, folder)
    assert content(folder) == before


def test_a_lost_checkpoint_is_told_and_the_data_are_left(vacuum, folder):
    shutil.rmtree(folder / "checkpoint")
    before = content(folder)
    with pytest.raises(OutputError, match=r"holds no checkpoint, but .* holds data"):
        _longer(vacuum, folder)
    assert content(folder) == before


def test_a_run_of_version_0_1_has_no_record_and_goes_on(vacuum, folder):
    (folder / "files.json").unlink()
    assert _longer(vacuum, folder).frames == 4
    assert (folder / "files.json").is_file()


def test_a_force_that_runs_code_is_not_taken_from_a_folder(vacuum, folder):
    """Also where whoever exchanged system.xml removed the record of its SHA-256."""
    system = openmm.XmlSerializer.clone(vacuum.system)
    system.addForce(openmm.PythonForce(print))
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    (folder / "files.json").unlink()
    with pytest.raises(TrajectoryError, match="PythonForce, which can run code"):
        _longer(vacuum, folder)
