"""Biased runs on exported modes: well-tempered metadynamics, or OPES in its place.

Walls at the ends of the grid; a grid that fits the hills; hills, trajectory and bias that resume
exactly; the weight of every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app

from openmm_plugin.biasing.equilibration import check_start, equilibrate
from openmm_plugin.biasing.native_engine import NativeMetadynamics, carried_file
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.opes_engine import opes_engine
from openmm_plugin.biasing.options import (
    BiasEngine,
    BiasOptions,
    Deposit,
    Progress,
    check_count,
)
from openmm_plugin.biasing.shared_hills import SharedHills
from openmm_plugin.biasing.tables import BiasTables
from openmm_plugin.running.checkpoints import (
    CheckpointFolder,
    steps_of,
)
from openmm_plugin.running.failure import simulation_failure
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.bias.hills import HILLS, merge, read_hills
from symplectic_cv.bias.results import summarise
from symplectic_cv.bias.run import RECORD, BiasRecord
from symplectic_cv.errors import OutputError
from symplectic_cv.files.lock import sole_writer

__all__ = [
    "BiasOptions",
    "Deposit",
    "Metadynamics",
    "check_count",
    "check_start",
    "run_metadynamics",
]

BIAS_TOLERANCE = 1e-5
"""Between the bias of a checkpoint and the one rebuilt from hills.csv, kJ/mol per kJ/mol; the
table has 12 digits."""
CHECKPOINT_PS = 50.0
RETRIES = 3
"""How often in a row a run that blew up goes on from the same checkpoint with new velocities."""
RETRY_SEED = 7919
"""Between the seeds of these velocities."""


def run_metadynamics(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    mode_names: list[str],
    options: BiasOptions,
    folder: Path,
    platform: openmm.Platform,
    progress: Progress | None = None,
    checkpoint_ps: float = CHECKPOINT_PS,
    shared: SharedHills | None = None,
    start: openmm.State | None = None,
    warn: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Runs a bias, or goes on with the run that the folder holds.

    Where the frame of the modes nears its limit their forces grow without bound, and no time step
    is short enough. A run that blows up therefore goes on from its last checkpoint with new
    velocities of the same temperature, and gives up when that fails `RETRIES` times in a row.

    Writes `bias.json`, `trajectory.xtc`, `colvar.csv` (one row per frame: time_ps, the modes,
    bias, c and weight), `hills.csv` (metadynamics) and `checkpoint/`; at the end, unless hills
    are shared, `free_energy.npz` and `convergence.csv`.

    Args:
        molecule: what to simulate, and where to start.
        forces: one per mode (`openmm_plugin.forces.mode_forces`).
        mode_names: column of each mode, such as `mode_0`.
        options: see `BiasOptions`.
        folder: exists already.
        platform: where it runs.
        progress: called at every hill.
        checkpoint_ps: time between checkpoints, and between exchanges of hills.
        shared: hills shared with other walkers.
        start: relaxed state to begin with, as `settle` gives it; made here where None.
        warn: told of every time that it blew up and went on.

    Returns:
        The bias V in kJ/mol on the grid, first mode along the first axis.

    Raises:
        OptionError: more than three modes.
        SimulationError: it blew up again and again; the last checkpoint stays.
        OutputError: a damaged checkpoint or table, another bias than the folder's, or another
            process that runs in the folder.
    """
    check_count(forces)
    with sole_writer(folder):
        bias = _run(
            molecule,
            forces,
            mode_names,
            options,
            folder,
            platform,
            progress,
            checkpoint_ps,
            shared,
            start,
            warn,
        )
        if shared is None:
            summarise(folder, bias)
    return bias


def _run(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    mode_names: list[str],
    options: BiasOptions,
    folder: Path,
    platform: openmm.Platform,
    progress: Progress | None,
    checkpoint_ps: float,
    shared: SharedHills | None,
    start: openmm.State | None,
    warn: Callable[[str], None] | None,
) -> np.ndarray:
    timestep = options.timestep_fs / 1000.0
    pace = steps_of(options.pace_ps, timestep, "--pace")
    total = pace * max(1, round(options.time_ns * 1000.0 / timestep / pace))
    every = max(1, round(checkpoint_ps / options.pace_ps)) * pace
    options, relaxed = settle(molecule, forces, mode_names, options, folder, platform)
    start = start or relaxed
    record = options.record(mode_names)
    trajectory = folder / "trajectory.xtc"
    tables = BiasTables(folder, record, options)
    checkpoints = CheckpointFolder(folder / "checkpoint", [trajectory, *tables.paths])
    if start is None and checkpoints.latest() is None:
        # before the run's own integrator is made: on the Reference platform all share their random
        # numbers, and a run that is begun again must draw the same
        start = relaxed_state(
            molecule, options.temperature, timestep, options.seed, platform, folder=folder
        )

    system = openmm.XmlSerializer.clone(molecule.system)
    engine = _engine(system, forces, options, pace, every, shared)
    simulation = langevin_simulation(
        molecule, system, options.temperature, timestep, options.seed, platform
    )

    def check(arrays: dict[str, np.ndarray], extra: dict[str, Any], sizes: dict[Path, int]) -> None:
        """The bias of a checkpoint is that of the hills beside it and of the other walkers'."""
        if arrays["bias"].shape != record.grid.shape:
            raise ValueError(f"its bias has {arrays['bias'].shape} points, not {record.grid.shape}")
        if tables.hills is None:
            return
        known = [read_hills(tables.hills, sizes[tables.hills])]
        if shared is not None:
            known += shared.seen_hills(extra["seen"])
        rebuilt = merge(known).on_grid(record.grid)
        if np.abs(rebuilt - arrays["bias"]).max() > BIAS_TOLERANCE * (1.0 + rebuilt.max()):
            raise ValueError(f"its bias is not the sum of {HILLS}")

    def save(hills_size: int) -> None:
        if shared is None:
            checkpoints.save(simulation, engine.state())
            return
        fresh = None if options.opes else shared.collect()
        if fresh is not None:
            bias = engine.bias + fresh.on_grid(record.grid)
            engine.load({"bias": bias}, simulation.context)
        checkpoints.save(simulation, engine.state(), {"seen": shared.seen})
        shared.publish(simulation.currentStep, total, hills_size)

    def advance(retry: int) -> None:
        """From the last checkpoint, or from the beginning, to the end."""
        kept = checkpoints.restore(simulation, check)
        if kept is None:
            assert start is not None
            start_from(simulation, start)
            tables.begin()
        else:
            arrays, extra = kept
            engine.load(arrays, simulation.context)
            if shared is not None:
                shared.seen = extra["seen"]
        if retry > 0:
            seed = options.seed + 1 + RETRY_SEED * retry
            simulation.context.setVelocitiesToTemperature(options.temperature, seed)
        simulation.reporters[:] = [app.XTCReporter(str(trajectory), pace, append=kept is not None)]
        with tables:
            if shared is not None and kept is not None:
                # a kill may have come between the checkpoint and its publication
                shared.publish(simulation.currentStep, total, tables.flush())
            while simulation.currentStep < total:
                engine.step(simulation, pace)
                hill = engine.last
                assert hill is not None
                tables.write(simulation.currentStep * timestep, hill)
                if simulation.currentStep % every == 0 or simulation.currentStep >= total:
                    save(tables.flush())
                if progress is not None:
                    progress(simulation.currentStep, hill.modes)

    retry, failed = 0, None
    while True:
        try:
            advance(retry)
            return engine.bias
        except (openmm.OpenMMException, ValueError) as error:
            failure = simulation_failure(simulation, timestep, folder, error)
            if failure is None:
                raise
            latest = checkpoints.latest()
            retry, failed = (retry + 1 if latest == failed else 1), latest
            if latest is None or retry > RETRIES:
                raise failure from error
            if warn is not None:
                warn(
                    f"{folder}: blew up near {simulation.currentStep * timestep:.1f} ps; goes on "
                    f"from its last checkpoint with new velocities ({retry} of {RETRIES} attempts)"
                )


def settle(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    mode_names: Sequence[str],
    options: BiasOptions,
    folder: Path,
    platform: openmm.Platform,
) -> tuple[BiasOptions, openmm.State | None]:
    """The options with widths, as `bias.json` has them or as a short unbiased run shows them.

    Returns:
        The options, and the relaxed state where it was needed to find the widths.

    Raises:
        OptionError: a grid that OpenMM cannot fit anew at each hill.
        OutputError: the folder holds a run with another bias.
    """
    start = None
    if (folder / RECORD).is_file():
        before = BiasRecord.read(folder)
        if options.width is None:
            options = replace(options, width=tuple(before.widths))
        now = options.record(mode_names)
        for name in ("method", "modes", "widths", "grid", "wall", "bias_factor", "temperature"):
            if getattr(before, name) != getattr(now, name):
                raise OutputError(
                    f"{folder / RECORD}: cannot resume, {name} was {getattr(before, name)} and is "
                    f"now {getattr(now, name)}: give the same options, or start anew in another "
                    "folder"
                )
        return options, None
    own = _own_content(forces, options) is not None
    if options.width is None:
        start, fluctuation = equilibrate(molecule, forces, options, platform, folder)
        options = options.with_fluctuation(fluctuation.tolist(), own)
    options.check_grid(len(forces), own)
    options.record(mode_names).write(folder)
    return options, start


def _engine(
    system: openmm.System,
    forces: list[openmm.Force],
    options: BiasOptions,
    pace: int,
    every: int,
    shared: SharedHills | None,
) -> BiasEngine:
    if not options.opes:
        content = _own_content(forces, options)
        if content is not None:
            return NativeMetadynamics(system, content, options, pace)
        return Metadynamics(system, forces, options, pace)
    with_others = None if shared is None else (shared.folder, shared.walker, every)
    return opes_engine(system, forces, options, pace, with_others)


def _own_content(forces: list[openmm.Force], options: BiasOptions) -> bytes | None:
    """The file of native forces that can hold the grid themselves."""
    return carried_file(forces) if options.own_grid and not options.opes else None
