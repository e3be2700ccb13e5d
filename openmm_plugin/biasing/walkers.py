"""Several simulations that share one bias: processes on this machine, or tasks of a Dask cluster.

Each walker is an ordinary biased run in a folder of its own, with its own seed and checkpoint; it
reads the others' hills and writes none of their files. A walker that dies is started again and goes
on from its checkpoint. A lock in its folder keeps a second process out, should a cluster believe
a worker dead that is alive.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openmm

from openmm_plugin.biasing.biased_system import BiasedSystem
from openmm_plugin.biasing.joined_walkers import join
from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.biasing.run import BiasedSimulation
from openmm_plugin.biasing.settling import settle
from openmm_plugin.biasing.shared_hills import SharedHills, published, walker_folder
from openmm_plugin.biasing.watching import Watch
from openmm_plugin.platforms import named_platform, one_device
from openmm_plugin.running.processes import WorkerDied, WorkerProcesses
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.errors import BackendError, OutputError, UserError
from symplectic_cv.files.lock import sole_writer

RESTARTS = 5
"""The largest number of failures in a row of a walker that makes no progress."""
CONNECT = "10s"
POLL = 0.2
"""Seconds between two looks at the walkers."""
LOCK_PATIENCE = 60.0
"""Seconds that a walker waits for the process it replaces to be gone."""
SEED_STRIDE = 1000
"""Between the seeds of two walkers, so that runs with seeds 0, 1, … share none."""

Fraction = Callable[[float], None]
"""Called with the part of all steps that is done, 0 to 1."""


@dataclass(frozen=True)
class WalkerTask:
    """The description by which a process can run any of the walkers.

    Attributes:
        parent: The folder with cv.pt, system.xml and topology.pdb; the walkers' folders lie in it.
        walkers: The number of walkers.
        mode_names: The name of each mode.
        options: The options of the bias, with widths.
        backend: A backend that is installed.
        platform: The name of OpenMM's platform.
        properties: Its properties; with several devices the walkers take them in turn.
        checkpoint_ps: The time between two checkpoints and exchanges, in ps.
        trust_system: Whether the user gave forces that can run code.
    """

    parent: str
    walkers: int
    mode_names: list[str]
    options: BiasOptions
    backend: str
    platform: str
    checkpoint_ps: float
    trust_system: bool = False
    properties: dict[str, str] = field(default_factory=dict)


def check_scheduler(address: str) -> None:
    """Raises BackendError where Dask is not installed, or no scheduler with workers answers."""
    with _client(address):
        pass


def _client(address: str) -> Any:
    if importlib.util.find_spec("distributed") is None:
        raise BackendError(
            "`scheduler` needs Dask: pip install 'symplectic-cv[cluster]', here and on the workers"
        )
    from distributed import Client

    # what it says of a connection that fails is in the error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BackendError(f"`scheduler={address}`: cannot be reached ({error})") from error
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()
        raise BackendError(f"`scheduler={address}`: has no workers")
    return client


def run_walker(task: WalkerTask, walker: int) -> int:
    """Runs or continues one walker; returns its number."""
    parent = Path(task.parent)
    folder = walker_folder(parent, walker)
    folder.mkdir(exist_ok=True)
    on = one_device(named_platform(task.platform, task.properties), walker - 1)
    biased = BiasedSystem.load(parent, task.backend, on, task.trust_system)
    molecule, forces, platform = biased.molecule, biased.forces, biased.platform
    options = replace(task.options, seed=task.options.seed + SEED_STRIDE * (walker - 1))
    _await_lock(folder)
    with sole_writer(folder):
        bias = settle(molecule, forces, task.mode_names, options, folder, platform)
        shared = SharedHills(parent, walker, task.walkers)
        watch = Watch.in_folder(parent)
        simulation = BiasedSimulation(
            molecule, forces, bias, folder, platform, task.checkpoint_ps, shared, watch=watch
        )
        simulation.run()
    return walker


def _await_lock(folder: Path) -> None:
    until = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            with sole_writer(folder):
                return
        except OutputError:
            if time.monotonic() > until:
                raise
            time.sleep(POLL)


def run_walkers(
    task: WalkerTask, scheduler: str | None = None, progress: Fraction | None = None
) -> BiasedRun:
    """Runs all walkers to their end, then joins them in the parent folder.

    Args:
        task: The walkers and the folder they share.
        scheduler: The address of a Dask scheduler; processes of this machine where None.
        progress: Called with the part of all steps that is done, 0 to 1.

    Raises:
        UserError: What ended a walker, or that it kept dying.
    """
    with sole_writer(Path(task.parent)):
        if scheduler is None:
            _run_here(task, progress)
        else:
            _run_on_cluster(task, scheduler, progress)
        return join(Path(task.parent), task.walkers)


def _steps(task: WalkerTask) -> list[int]:
    """The step that each walker has published."""
    return [
        published(walker_folder(Path(task.parent), walker))["step"]
        for walker in range(1, task.walkers + 1)
    ]


def _report(task: WalkerTask, progress: Fraction | None) -> None:
    if progress is not None:
        timestep = task.options.timestep_fs * 1e-6
        progress(min(1.0, sum(_steps(task)) * timestep / (task.options.time_ns * task.walkers)))


def _supervise(
    task: WalkerTask,
    submit: Callable[[int], Any],
    died: type[Exception],
    progress: Fraction | None,
) -> None:
    """Submits all walkers, and those that died again, until each has come to its end.

    Args:
        submit: Starts a walker and returns its future, of this machine or of a Dask cluster.
        died: The error of a future whose process died.
        progress: Called with the part of all steps that is done.

    Raises:
        UserError: What ended a walker, or that it kept dying.
    """
    running = {walker: submit(walker) for walker in range(1, task.walkers + 1)}
    deaths, reached = dict.fromkeys(running, 0), dict.fromkeys(running, 0)
    while running:
        time.sleep(POLL)
        _report(task, progress)
        for walker, future in list(running.items()):
            if not future.done():
                continue
            try:
                future.result()
                del running[walker]
            except UserError as error:
                raise UserError(f"walker {walker}: {error}") from error
            except died as error:
                step = _steps(task)[walker - 1]
                deaths[walker] = 1 if step > reached[walker] else deaths[walker] + 1
                reached[walker] = step
                if deaths[walker] > RESTARTS:
                    raise UserError(
                        f"{walker_folder(Path(task.parent), walker)}: walker {walker} died "
                        f"{RESTARTS + 1} times without coming any further ({error}); `resume` goes "
                        "on from its last checkpoint"
                    ) from error
                running[walker] = submit(walker)


def _run_here(task: WalkerTask, progress: Fraction | None) -> None:
    with WorkerProcesses(task.walkers, __name__) as processes:
        _supervise(
            task,
            lambda walker: processes.submit(_run_with_share_of_threads, task, walker),
            WorkerDied,
            progress,
        )


def _run_with_share_of_threads(task: WalkerTask, walker: int) -> int:
    """Runs one walker of several on this machine."""
    if task.platform == "CPU":
        threads = max(1, (os.cpu_count() or 1) // task.walkers)
        openmm.Platform.getPlatformByName("CPU").setPropertyDefaultValue("Threads", str(threads))
    return run_walker(task, walker)


def _run_on_cluster(task: WalkerTask, scheduler: str, progress: Fraction | None) -> None:
    with _client(scheduler) as client:
        from distributed import KilledWorker

        addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
        futures = []

        def submit(walker: int) -> Any:
            # each walker has its own worker while there are enough, and another one after a failure
            future = client.submit(
                run_walker,
                task,
                walker,
                workers=[addresses[(walker - 1) % len(addresses)]],
                allow_other_workers=True,
                pure=False,
                key=f"walker-{walker}-{os.urandom(4).hex()}",
            )
            futures.append(future)
            return future

        try:
            _supervise(task, submit, KilledWorker, progress)
        finally:
            client.cancel(futures)
