"""Walkers that share a bias: no hill lost or counted twice, whoever is killed."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time

import mdtraj as md
import numpy as np
import pytest

from openmm_plugin.biasing import walkers
from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.biasing.shared_hills import SharedHills, published, walker_folder
from openmm_plugin.running.checkpoints import CheckpointFolder
from openmm_plugin.running.processes import START_METHOD
from symplectic_cv.bias.hills import hills_header, merge, read_hills
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.errors import OutputError, UserError
from symplectic_cv.exporting.export import export
from symplectic_cv.files.lock import sole_writer

HILLS = 120
OPTIONS = BiasOptions(
    time_ns=HILLS * 0.02e-3, height=4.0, width=0.4, pace_ps=0.02, low=-8.0, high=8.0, seed=3
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, place, bent_model):
    """A folder with the files that walkers start from."""
    folder = shutil.copytree(place / "md", tmp_path_factory.mktemp("prepared") / "run")
    export(bent_model, [0], folder / "cv.pt")
    OPTIONS.record(["mode_0"]).write(folder)
    return folder


@pytest.fixture
def parent(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "run")


def _task(parent, count, options=OPTIONS, checkpoint_ps=0.2):
    return walkers.WalkerTask(
        parent=str(parent),
        walkers=count,
        mode_names=["mode_0"],
        options=options,
        backend="python",
        platform="Reference",
        checkpoint_ps=checkpoint_ps,
    )


def _check(parent, count, hills=HILLS):
    """Every walker has all its hills; the common table has each of them once; weights fit."""
    parts = []
    for walker in range(1, count + 1):
        folder = walker_folder(parent, walker)
        run = BiasedRun.read(folder)
        np.testing.assert_allclose(run.frames.time_ps, 0.02 * np.arange(1, hills + 1), rtol=1e-7)
        np.testing.assert_allclose(run.hill_list.centres, run.frames.modes, rtol=1e-6)
        latest = CheckpointFolder(folder / "checkpoint", []).latest()
        record = json.loads((latest / "record.json").read_text())
        with np.load(latest / "arrays.npz") as archive:
            bias = archive["bias"]
        # what a walker has felt: its own hills and those it says it has seen, each once
        seen = [read_hills(folder / "hills.csv")]
        for other, size in record["extra"]["seen"].items():
            if size:
                seen.append(read_hills(walker_folder(parent, int(other)) / "hills.csv", size))
        np.testing.assert_allclose(merge(seen).on_grid(run.record.grid), bias, atol=1e-6)
        parts.append(run)
    common = BiasedRun.read(parent)
    assert len(common.hill_list) == len(common.frames) == count * hills
    assert (np.bincount(common.frames.walker)[1:] == hills).all()
    assert len(np.unique(common.hill_list.centres)) == count * hills
    grid = common.record.grid
    total = sum(part.hill_list.on_grid(grid) for part in parts)
    np.testing.assert_allclose(common.hill_list.on_grid(grid), total, atol=1e-9)
    with np.load(parent / "free_energy.npz") as archive:
        np.testing.assert_allclose(archive["bias"], total, atol=1e-9)
    frames = md.load(str(parent / "trajectory.xtc"), top=str(parent / "topology.pdb"))
    common.require_frames(frames.n_frames)
    np.testing.assert_allclose(frames.time, common.frames.time_ps, atol=1e-4)
    return parts


def test_walkers_on_this_machine_share_their_hills_and_are_made_longer(parent):
    fractions = []
    walkers.run_walkers(_task(parent, 2), progress=fractions.append)
    one, two = _check(parent, 2)
    assert (one.frames.modes != two.frames.modes).all()
    assert fractions == sorted(fractions)
    seen = []
    for walker in (1, 2):
        latest = CheckpointFolder(walker_folder(parent, walker) / "checkpoint", []).latest()
        record = json.loads((latest / "record.json").read_text())
        seen += list(record["extra"]["seen"].values())
    assert max(seen) > 0  # the one that ended last has taken in what the other had published
    first = (parent / "walker-2" / "hills.csv").read_bytes()
    longer = BiasOptions(**OPTIONS.settings(), time_ns=1.5 * OPTIONS.time_ns)
    walkers.run_walkers(_task(parent, 2, longer))
    assert (parent / "walker-2" / "hills.csv").read_bytes().startswith(first)
    _check(parent, 2, HILLS * 3 // 2)


def test_a_walker_that_is_killed_goes_on_from_its_checkpoint(parent, monkeypatch):
    """SIGKILL to the first walker's process once it has published something."""
    started, killed = [], []
    context = multiprocessing.get_context(START_METHOD)
    original = context.Process.start

    def start(process):
        _, _, (_, walker) = process._args
        original(process)
        started.append((walker, process.pid))

    monkeypatch.setattr(context.Process, "start", start)

    def assassin():
        until = time.monotonic() + 60.0
        while time.monotonic() < until:
            if published(walker_folder(parent, 1))["step"] > 0:
                killed.append(dict(started)[1])
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=assassin)
    thread.start()
    walkers.run_walkers(_task(parent, 2))
    thread.join()
    assert killed
    assert sorted(walker for walker, _ in started) == [1, 1, 2]
    _check(parent, 2)


def test_a_walkers_error_ends_the_run_with_its_message(parent):
    (parent / "walker-1").mkdir()
    shutil.copy(parent / "bias.json", parent / "walker-1" / "bias.json")
    other = BiasOptions(**(OPTIONS.settings() | {"width": 0.5}), time_ns=OPTIONS.time_ns)
    with pytest.raises(UserError, match=r"walker 1: .*cannot resume, widths was"):
        walkers.run_walkers(_task(parent, 1, other))


def test_opes_walkers_share_their_kernels(parent):
    options = BiasOptions(**(OPTIONS.settings() | {"opes": True}), time_ns=OPTIONS.time_ns / 2)
    options.record(["mode_0"]).write(parent)
    walkers.run_walkers(_task(parent, 2, options))
    common = BiasedRun.read(parent)
    assert len(common.frames) == HILLS
    assert sorted(path.name.split("_")[1] for path in (parent / "kernels").glob("kde_*")) == [
        *("1", "2")
    ]
    with np.load(parent / "free_energy.npz") as archive:
        assert archive["bias"].min() == pytest.approx(-40.0)
        assert archive["bias"].max() > -35.0


@pytest.mark.cluster
def test_four_walkers_on_a_dask_cluster_one_worker_of_which_is_killed(parent, tmp_path):
    """Four worker processes; one is killed with SIGKILL in the middle of its walker."""
    import dask

    # from the server of the tests before, which has imported everything already
    dask.config.set({"distributed.worker.multiprocessing-method": START_METHOD})
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=4,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = client.run(os.getpid)
        killed = []

        def assassin():
            until = time.monotonic() + 60.0
            while time.monotonic() < until:
                step = published(walker_folder(parent, 2))["step"]
                for address, keys in client.processing().items() if step > 0 else ():
                    if any("walker-2-" in str(key) for key in keys):
                        os.kill(pids[address], signal.SIGKILL)
                        killed.append(step)
                        return
                time.sleep(0.02)

        thread = threading.Thread(target=assassin)
        thread.start()
        walkers.run_walkers(_task(parent, 4), cluster.scheduler_address)
        thread.join()
    assert killed
    assert killed[0] < HILLS * 10
    _check(parent, 4)


def test_nobody_runs_a_walker_that_another_process_runs(parent, monkeypatch):
    monkeypatch.setattr(walkers, "LOCK_PATIENCE", 0.3)
    folder = walker_folder(parent, 1)
    folder.mkdir()
    with sole_writer(folder), pytest.raises(OutputError, match="another process is running"):
        walkers.run_walker(_task(parent, 1), 1)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_hills_are_taken_in_once_and_only_as_far_as_they_are_published(tmp_path):
    """Two tables made by hand, one of which grows."""
    header = ",".join(hills_header(["mode_0"])) + "\n"
    rows = [f"{k},{0.1 * k},0.3,1.0\n" for k in range(1, 6)]
    for walker in (1, 2, 3):
        walker_folder(tmp_path, walker).mkdir()
    mine, other = SharedHills(tmp_path, 1, 3), SharedHills(tmp_path, 2, 3)
    assert mine.collect() is None
    path = walker_folder(tmp_path, 2) / "hills.csv"
    path.write_text(header + "".join(rows[:3]))
    assert mine.collect() is None  # nothing is published yet
    other.publish(20, 50, len(header) + len("".join(rows[:2])))
    np.testing.assert_array_equal(mine.collect().time_ps, [1.0, 2.0])
    assert mine.collect() is None
    path.write_text(header + "".join(rows))
    other.publish(50, 50, path.stat().st_size)
    np.testing.assert_array_equal(mine.collect().time_ps, [3.0, 4.0, 5.0])
    assert mine.seen == {"2": path.stat().st_size, "3": 0}
    assert sum(map(len, mine.seen_hills(mine.seen))) == 5
