"""Biased runs on exported modes: well-tempered metadynamics or OPES, in a folder that resumes.

Walls stand at the ends of the grid. Hills, trajectory and bias resume exactly, and every frame has
its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app

from openmm_plugin.biasing.equilibration import check_start
from openmm_plugin.biasing.native_engine import NativeMetadynamics
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.opes_engine import opes_engine
from openmm_plugin.biasing.options import (
    CHECKPOINT_PS,
    BiasEngine,
    BiasOptions,
    Deposit,
    Progress,
    check_count,
)
from openmm_plugin.biasing.settling import SettledBias, settle
from openmm_plugin.biasing.shared_hills import SharedHills
from openmm_plugin.biasing.tables import BiasTables
from openmm_plugin.biasing.watching import Watch
from openmm_plugin.forces import one_torch_thread
from openmm_plugin.running.checkpoints import (
    CheckpointFolder,
    steps_of,
)
from openmm_plugin.running.failure import simulation_failure
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.bias.hills import HILLS, merge, read_hills
from symplectic_cv.bias.results import write_results
from symplectic_cv.bias.run import BiasedRun, BiasRecord
from symplectic_cv.files.lock import sole_writer

__all__ = [
    "CHECKPOINT_PS",
    "BiasOptions",
    "BiasedSimulation",
    "Deposit",
    "Metadynamics",
    "check_count",
    "check_start",
    "run_metadynamics",
]

BIAS_TOLERANCE = 1e-5
"""The largest difference between the bias of a checkpoint and the one rebuilt from hills.csv, in
kJ/mol per kJ/mol; the table has 12 digits."""
RETRIES = 3
"""The largest number of restarts in a row from one checkpoint after a run blew up."""
RETRY_SEED = 7919
"""The difference between the seeds of these velocities."""


def run_metadynamics(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    mode_names: list[str],
    options: BiasOptions,
    folder: Path,
    platform: openmm.Platform,
    progress: Progress | None = None,
    checkpoint_ps: float = CHECKPOINT_PS,
    warn: Callable[[str], None] | None = None,
    begun: Callable[[BiasRecord], None] | None = None,
) -> BiasedRun:
    """Runs a bias on forces of one's own, or continues the run that the folder holds.

    Writes bias.json, trajectory.xtc, colvar.csv (a row per frame: time_ps, the modes, bias, c and
    weight, extrapolation), hills.csv (metadynamics) and checkpoint/; at the end free_energy.npz and
    convergence.csv. `openmm_plugin.metadynamics` does the same for a model.

    Args:
        molecule: The molecule and the structure to start from.
        forces: One force per mode (`openmm_plugin.mode_forces`).
        mode_names: The column of each mode, such as `mode_0`.
        options: How the modes are biased.
        folder: The folder of the run, which exists already.
        platform: OpenMM's platform.
        progress: Called at every hill with the step and the values of the modes.
        checkpoint_ps: The time between checkpoints, in ps.
        warn: A function that is called with a line after each restart of a failed simulation.
        begun: Called with the settled bias before the first step.

    Raises:
        OptionError: More than three modes.
        SimulationError: The simulation blew up again and again; the last checkpoint stays.
        OutputError: A damaged checkpoint or table, another bias than the folder's, or another
            process that runs in the folder.
    """
    check_count(forces)
    with sole_writer(folder):
        bias = settle(molecule, forces, mode_names, options, folder, platform)
        if begun is not None:
            begun(bias.record)
        simulation = BiasedSimulation(
            molecule,
            forces,
            bias,
            folder,
            platform,
            checkpoint_ps,
            progress=progress,
            warn=warn,
            watch=Watch.in_folder(folder),
        )
        last = simulation.run()
        run = BiasedRun.read(folder)
        run.warn_of_unknown()
        write_results(run, last)
    return run


class BiasedSimulation:
    """A biased simulation in its folder: it starts or resumes, advances, saves and checks.

    Where the frame of the modes nears its limit their forces grow without bound, and no time step
    is short enough. A run that blows up therefore goes on from its last checkpoint with new
    velocities of the same temperature, and gives up when that fails `RETRIES` times in a row.

    Args:
        molecule: The molecule and the structure to start from.
        forces: One force per mode.
        bias: The bias, from `settle`.
        folder: The folder of the run, which this process alone writes.
        platform: OpenMM's platform.
        checkpoint_ps: The time between checkpoints, and between exchanges of hills, in ps.
        shared: The hills that are shared with other walkers.
        progress: Called at every hill with the step and the values of the modes.
        warn: A function that is called with a line after each restart of a failed simulation.
        watch: The watch for frames that the model of the run does not know; None for none.
    """

    def __init__(
        self,
        molecule: MolecularSystem,
        forces: list[openmm.Force],
        bias: SettledBias,
        folder: Path,
        platform: openmm.Platform,
        checkpoint_ps: float = CHECKPOINT_PS,
        shared: SharedHills | None = None,
        progress: Progress | None = None,
        warn: Callable[[str], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        options = bias.options
        self._folder, self._options, self._record = folder, options, bias.record
        self._shared, self._progress, self._warn = shared, progress, warn
        self._timestep = options.timestep_fs / 1000.0
        self._pace = steps_of(options.pace_ps, self._timestep, "pace_ps")
        hills = max(1, round(options.time_ns * 1000.0 / self._timestep / self._pace))
        self._total = self._pace * hills
        self._every = max(1, round(checkpoint_ps / options.pace_ps)) * self._pace
        self._trajectory = folder / "trajectory.xtc"
        self._watch = watch
        self._tables = BiasTables(folder, bias.record, options, watch)
        self._checkpoints = CheckpointFolder(
            folder / "checkpoint", [self._trajectory, *self._tables.paths]
        )
        self._start = bias.start
        if self._start is None and self._checkpoints.latest() is None:
            # before the run's own integrator is made: on the Reference platform all share their
            # random numbers, and a run that is begun again must draw the same
            self._start = relaxed_state(
                molecule,
                options.temperature,
                self._timestep,
                options.seed,
                platform,
                folder=folder,
            )
        system = openmm.XmlSerializer.clone(molecule.system)
        self._engine = self._make_engine(system, forces, bias)
        self._simulation = langevin_simulation(
            molecule, system, options.temperature, self._timestep, options.seed, platform
        )

    def _make_engine(
        self, system: openmm.System, forces: list[openmm.Force], bias: SettledBias
    ) -> BiasEngine:
        options = bias.options
        if options.opes:
            others = None
            if self._shared is not None:
                others = (self._shared.folder, self._shared.walker, self._every)
            return opes_engine(system, forces, options, self._pace, others)
        if bias.file is not None:
            return NativeMetadynamics(system, bias.file, options, self._pace)
        return Metadynamics(system, forces, options, self._pace)

    def run(self) -> np.ndarray:
        """Runs to the end, from the last checkpoint where there is one.

        Returns:
            The bias V in kJ/mol on the grid; the first mode runs along the first axis.

        Raises:
            SimulationError: The simulation blew up again and again; the last checkpoint stays.
            OutputError: A damaged checkpoint or table.
        """
        retry, failed = 0, None
        while True:
            try:
                with one_torch_thread():
                    self._advance(resumed=self._begin(retry))
                return self._engine.bias
            except (openmm.OpenMMException, ValueError) as error:
                failure = simulation_failure(self._simulation, self._timestep, self._folder, error)
                if failure is None:
                    raise
                latest = self._checkpoints.latest()
                retry, failed = (retry + 1 if latest == failed else 1), latest
                if latest is None or retry > RETRIES:
                    raise failure from error
                if self._warn is not None:
                    time = self._simulation.currentStep * self._timestep
                    self._warn(
                        f"{self._folder}: blew up near {time:.1f} ps; goes on from its last "
                        f"checkpoint with new velocities ({retry} of {RETRIES} attempts)"
                    )

    def _begin(self, retry: int) -> bool:
        """Puts the simulation to its last checkpoint or to its start; whether it is resumed."""
        kept = self._checkpoints.restore(self._simulation, self._check)
        if kept is None:
            assert self._start is not None
            start_from(self._simulation, self._start)
            self._tables.begin()
        else:
            arrays, extra = kept
            self._engine.load(arrays, self._simulation.context)
            if self._shared is not None:
                self._shared.seen = extra["seen"]
        if retry > 0:
            seed = self._options.seed + 1 + RETRY_SEED * retry
            self._simulation.context.setVelocitiesToTemperature(self._options.temperature, seed)
        return kept is not None

    def _advance(self, resumed: bool) -> None:
        """Steps to the end, with a row per hill and a checkpoint from time to time."""
        simulation = self._simulation
        reporter = app.XTCReporter(str(self._trajectory), self._pace, append=resumed)
        simulation.reporters[:] = [reporter]
        if self._watch is not None:
            simulation.reporters.append(self._watch.reporter(self._pace))
        with self._tables:
            if self._shared is not None and resumed:
                # a kill may have come between the checkpoint and its publication
                self._publish(self._tables.flush())
            while simulation.currentStep < self._total:
                self._engine.step(simulation, self._pace)
                hill = self._engine.last
                assert hill is not None
                step = simulation.currentStep
                self._tables.write(step * self._timestep, hill)
                if step % self._every == 0 or step >= self._total:
                    self._save()
                if self._progress is not None:
                    self._progress(step, hill.modes)

    def _save(self) -> None:
        """Writes a checkpoint; takes in the hills of other walkers and publishes one's own."""
        size = self._tables.flush()
        if self._shared is None:
            self._checkpoints.save(self._simulation, self._engine.state())
            return
        fresh = None if self._options.opes else self._shared.collect()
        if fresh is not None:
            bias = self._engine.bias + fresh.on_grid(self._record.grid)
            self._engine.load({"bias": bias}, self._simulation.context)
        extra = {"seen": self._shared.seen}
        self._checkpoints.save(self._simulation, self._engine.state(), extra)
        self._publish(size)

    def _publish(self, hills_size: int) -> None:
        assert self._shared is not None
        self._shared.publish(self._simulation.currentStep, self._total, hills_size)

    def _check(
        self, arrays: dict[str, np.ndarray], extra: dict[str, Any], sizes: dict[Path, int]
    ) -> None:
        """Raises ValueError unless a checkpoint's bias is the sum of its own and others' hills."""
        grid = self._record.grid
        if arrays["bias"].shape != grid.shape:
            raise ValueError(f"its bias has {arrays['bias'].shape} points, not {grid.shape}")
        hills = self._tables.hills
        if hills is None:
            return
        added = [read_hills(hills, sizes[hills])]
        if self._shared is not None:
            added += self._shared.seen_hills(extra["seen"])
        rebuilt = merge(added).on_grid(grid)
        if np.abs(rebuilt - arrays["bias"]).max() > BIAS_TOLERANCE * (1.0 + rebuilt.max()):
            raise ValueError(f"its bias is not the sum of {HILLS}")
