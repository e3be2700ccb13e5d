"""Umbrella windows in OpenMM: steered from one to the next, then held, each in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import openmm
from openmm import app

from openmm_plugin.biasing.biased_system import BiasedSystem
from openmm_plugin.biasing.equilibration import ModeProbe
from openmm_plugin.biasing.watching import Watch
from openmm_plugin.forces import one_torch_thread
from openmm_plugin.platforms import named_platform, one_device
from openmm_plugin.running.checkpoints import (
    CheckpointFolder,
    steps_of,
)
from openmm_plugin.running.failure import simulation_failure
from openmm_plugin.running.processes import WorkerDied, WorkerProcesses
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.trusted_files import deserialized
from symplectic_cv.bias.run import COLVAR
from symplectic_cv.bias.umbrella import Windows, window_header
from symplectic_cv.errors import OutputError, UserError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.lock import sole_writer

START = "start.xml"
STEERING_MOVES = 50
"""The number of small moves of the centre from one window to the next."""

Done = Callable[[float], None]
"""Called with the part of all work that is done, 0 to 1."""


@dataclass(frozen=True)
class UmbrellaTask:
    """The description by which a process can run any of the windows.

    Attributes:
        parent: The folder with cv.pt, system.xml and topology.pdb; the windows' folders lie in it.
        windows: The windows.
        time_ps: The length of each window, in ps.
        stride_ps: The time between frames, in ps.
        steering_ps: The time from one window to the next, and again to settle there, in ps.
        timestep_fs: The time step, in fs.
        seed: The seed of the thermostats.
        backend: A backend that is installed.
        platform: The name of OpenMM's platform.
        properties: Its properties; with several devices the windows take them in turn.
        checkpoint_ps: The time between checkpoints, in ps.
        trust_system: Whether the user gave forces that can run code.
    """

    parent: str
    windows: Windows
    time_ps: float
    stride_ps: float
    steering_ps: float
    timestep_fs: float
    seed: int
    backend: str
    platform: str
    checkpoint_ps: float = 50.0
    trust_system: bool = False
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def timestep(self) -> float:
        """The time step in ps."""
        return self.timestep_fs / 1000.0

    def load(self, place: int = 0) -> BiasedSystem:
        """Reads molecule and modes from the folder."""
        on = one_device(named_platform(self.platform, self.properties), place)
        return BiasedSystem.load(Path(self.parent), self.backend, on, self.trust_system)


def window_folder(parent: Path, window: int) -> Path:
    """The folder of a window. Windows are counted from 0, their folders from 1."""
    return parent / f"window-{window + 1:02d}"


def held_simulation(
    system: BiasedSystem, task: UmbrellaTask, centre: np.ndarray, seed: int
) -> tuple[app.Simulation, openmm.CustomCVForce]:
    """A simulation with the modes held near a centre, and the force that holds them."""
    terms = " + ".join(f"(cv{k} - centre{k})^2" for k in range(len(centre)))
    force = openmm.CustomCVForce(f"0.5*{task.windows.stiffness}*({terms})")
    for k, mode in enumerate(system.forces):
        force.addCollectiveVariable(f"cv{k}", openmm.XmlSerializer.clone(mode))
        force.addGlobalParameter(f"centre{k}", float(centre[k]))
    held = openmm.XmlSerializer.clone(system.molecule.system)
    held.addForce(force)
    simulation = langevin_simulation(
        system.molecule, held, task.windows.temperature, task.timestep, seed, system.platform
    )
    return simulation, force


def run_umbrella(task: UmbrellaTask, jobs: int = 1, progress: Done | None = None) -> None:
    """Steers to all windows, then runs them, or continues from the state of the folder.

    Writes `window-01/`, … with `start.xml`, `trajectory.xtc`, `colvar.csv` (time_ps, modes,
    bias_kj_per_mol) and `checkpoint/`.

    Args:
        task: The windows and their folder.
        jobs: The number of windows that run at the same time, each in a process.
        progress: A function that is called with the part of all work that is done, 0 to 1.

    Raises:
        SimulationError: A simulation blew up.
        OutputError: A file is damaged, or another process runs in the folder.
    """
    report = progress or (lambda part: None)
    parent, count = Path(task.parent), len(task.windows)
    # steering takes its share of the bar by its share of the time
    steered = 2 * task.steering_ps / (2 * task.steering_ps + task.time_ps)
    with sole_writer(parent):
        with one_torch_thread():
            for number, _ in enumerate(steer(task), 1):
                report(steered * number / count)
        parts = [0.0] * count

        def show(window: int, part: float) -> None:
            parts[window] = part
            report(steered + (1.0 - steered) * sum(parts) / count)

        if jobs == 1:
            for window in range(count):
                run_window(task, window, partial(show, window))
            return
        with WorkerProcesses(jobs, __name__) as processes:
            futures = {
                processes.submit(run_window, task, window): window for window in range(count)
            }
            try:
                for future in as_completed(futures):
                    future.result()
                    show(futures[future], 1.0)
            except WorkerDied as error:
                raise UserError(
                    f"{parent}: the process of a window died ({error}); `resume` goes on from its "
                    "last checkpoint"
                ) from error


def order_of_steering(along: np.ndarray, start: float) -> list[tuple[int, int | None]]:
    """Windows in the order in which they are reached, and the one that each is reached from.

    From the window nearest to the start outwards, first up, then down.

    Example:
        >>> order_of_steering(np.array([0.0, 1.0, 2.0, 3.0]), 1.2)
        [(1, None), (2, 1), (3, 2), (0, 1)]
    """
    first = int(np.abs(along - start).argmin())
    up = [(window, window - 1) for window in range(first + 1, len(along))]
    down = [(window, window + 1) for window in range(first - 1, -1, -1)]
    return [(first, None), *up, *down]


def steer(task: UmbrellaTask) -> Iterator[int]:
    """Makes `start.xml` of each window by moving the centre there; yields window after window."""
    system = task.load()
    parent, windows = Path(task.parent), task.windows
    first = parent / START
    if not first.is_file():
        relaxed = relaxed_state(
            system.molecule, windows.temperature, task.timestep, task.seed, system.platform
        )
        _write_state(first, relaxed)
    relaxed = read_state(first)
    probe = ModeProbe(system.forces, system.molecule)
    begin = probe(relaxed.getPositions(), relaxed.getPeriodicBoxVectors())
    along, here = windows.along, float(windows.project(begin[None])[0][0])
    for window, source in order_of_steering(along, here):
        target = window_folder(parent, window)
        target.mkdir(exist_ok=True)
        if not (target / START).is_file():
            origin = begin if source is None else windows.centres[source]
            state = relaxed
            if source is not None:
                state = read_state(window_folder(parent, source) / START)
            moved = _move(task, system, state, origin, windows.centres[window], window, target)
            _write_state(target / START, moved)
        yield window


def _move(
    task: UmbrellaTask,
    system: BiasedSystem,
    state: openmm.State,
    origin: np.ndarray,
    target: np.ndarray,
    window: int,
    folder: Path,
) -> openmm.State:
    """The state after the centre has moved from origin to target, and some time there."""
    simulation, _ = held_simulation(system, task, origin, task.seed + 1 + window)
    start_from(simulation, state)
    steps = steps_of(task.steering_ps, task.timestep, "steering_ps")
    per_move = max(1, steps // STEERING_MOVES)
    try:
        for part in np.linspace(0.0, 1.0, STEERING_MOVES + 1)[1:]:
            for k, value in enumerate(origin + part * (target - origin)):
                simulation.context.setParameter(f"centre{k}", float(value))
            simulation.step(per_move)
        simulation.step(steps)
    except (openmm.OpenMMException, ValueError) as error:
        failure = simulation_failure(simulation, task.timestep, folder, error)
        if failure is not None:
            raise failure from error
        raise
    return simulation.context.getState(positions=True, velocities=True)


def _write_state(path: Path, state: openmm.State) -> None:
    write_atomically(path, openmm.XmlSerializer.serialize(state).encode())


def read_state(path: Path) -> openmm.State:
    """A state that steering left; raises OutputError where it is damaged."""
    try:
        state = deserialized(path.read_bytes(), "State")
        if not isinstance(state, openmm.State):
            raise ValueError(f"holds a {type(state).__name__}")
    except Exception as error:  # OpenMM raises errors of many types
        raise OutputError(
            f"{path}: not a readable state ({error}): remove this file and run with `resume`"
        ) from error
    return state


def run_window(task: UmbrellaTask, window: int, progress: Done | None = None) -> None:
    """Runs or continues one window."""
    system = task.load(window)
    folder = window_folder(Path(task.parent), window)
    windows = task.windows
    stride = steps_of(task.stride_ps, task.timestep, "stride_ps")
    total = stride * max(1, round(task.time_ps / task.timestep / stride))
    every = stride * max(1, round(task.checkpoint_ps / task.stride_ps))
    trajectory, colvar = folder / "trajectory.xtc", folder / COLVAR
    watch = Watch.in_folder(Path(task.parent))
    with sole_writer(folder), one_torch_thread():
        centre = windows.centres[window]
        seed = task.seed + 1 + len(windows) + window
        simulation, force = held_simulation(system, task, centre, seed)
        checkpoints = CheckpointFolder(folder / "checkpoint", [trajectory, colvar])
        resumed = checkpoints.restore(simulation) is not None
        if not resumed:
            start_from(simulation, read_state(folder / START))
            header = window_header(windows.modes, watch is not None)
            colvar.write_text(",".join(header) + "\n")
        simulation.reporters.append(app.XTCReporter(str(trajectory), stride, append=resumed))
        if watch is not None:
            simulation.reporters.append(watch.reporter(stride))
        rows: list[str] = []
        with open(colvar, "a") as table:
            try:
                while simulation.currentStep < total:
                    simulation.step(stride)
                    modes = np.array(force.getCollectiveVariableValues(simulation.context))
                    energy = 0.5 * windows.stiffness * float(((modes - centre) ** 2).sum())
                    row = [simulation.currentStep * task.timestep, *modes, energy]
                    rows.append(",".join(f"{number:.10g}" for number in row))
                    step = simulation.currentStep
                    if step % every == 0 or step >= total:
                        if watch is not None:
                            seen = watch.take()
                            rows = [f"{a},{b:.4g}" for a, b in zip(rows, seen, strict=True)]
                        table.writelines(f"{line}\n" for line in rows)
                        rows.clear()
                        table.flush()
                        checkpoints.save(simulation)
                        if progress is not None:
                            progress(step / total)
            except (openmm.OpenMMException, ValueError) as error:
                failure = simulation_failure(simulation, task.timestep, folder, error)
                if failure is not None:
                    raise failure from error
                raise
