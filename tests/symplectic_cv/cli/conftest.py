"""A short simulation of alanine dipeptide and a model of a few steps, which the commands share."""

import shutil
from pathlib import Path

import mdtraj as md
import numpy as np
import pytest
from commands import SMALL, content, run


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """A folder with 0.02 ns of alanine dipeptide in vacuum."""
    folder = tmp_path_factory.mktemp("project") / "md"
    run(
        *("simulate", "alanine-dipeptide", "--solvent", "vacuum", "-o", folder),
        *("--time-ns", "0.02", "--stride-ps", "0.05"),
    )
    return folder


@pytest.fixture(scope="session")
def trajectory(simulated):
    return simulated / "trajectory.xtc"


@pytest.fixture(scope="session")
def trained(trajectory):
    """A model of a few steps."""
    folder = trajectory.parent.parent / "model"
    run("train", trajectory, "-o", folder, *SMALL)
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


@pytest.fixture
def md_folder(simulated, tmp_path):
    return Path(shutil.copytree(simulated, tmp_path / "md"))


@pytest.fixture
def npz(topology, wobble, tmp_path):
    """npz(change): 60 frames of the heavy atoms, changed, beside a topology of their own."""
    frames = wobble(60, seed=4, size=0.01)

    def write(change):
        x = frames.copy()
        changed = change(x)
        np.savez(tmp_path / "frames.npz", positions=x if changed is None else changed)
        md.Trajectory(frames[:1], topology).save_pdb(str(tmp_path / "frames.pdb"))
        return tmp_path / "frames.npz"

    return write


@pytest.fixture
def refused_without_output(refused, tmp_path):
    """refused_without_output(arguments): the error line of a command that left no file behind."""

    def check(*arguments):
        before = content(tmp_path)
        line = refused(*arguments, "-o", tmp_path / "output")
        assert not (tmp_path / "output").exists()
        assert content(tmp_path) == before
        return line

    return check
