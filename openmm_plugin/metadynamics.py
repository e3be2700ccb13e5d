"""Well-tempered metadynamics on exported modes, with OpenMM's own `app.Metadynamics`.

Around it: walls at the ends of the grid, where the bias of `app.Metadynamics` would
silently end; an explicit grid; hills, trajectory and bias that resume exactly; weights of
the frames for reweighting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.forces import evaluate
from openmm_plugin.free_energy import bias_offset, free_energy
from openmm_plugin.running import CheckpointFolder, blown_up, has_blown_up, steps_of
from openmm_plugin.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.errors import OptionError
from symplectic_cv.storage import write_atomically
from symplectic_cv.units import thermal_energy

Progress = Callable[[int, np.ndarray], None]
"""Called with the step reached and the values of the modes there."""

MAX_MODES = 3
POINTS_PER_WIDTH = 2.5
"""Grid points per hill width; the spline between them is then good to a per mille of a hill."""


@dataclass(frozen=True)
class BiasOptions:
    """How a run is biased.

    Attributes:
        time_ns: length of the whole run, ns.
        bias_factor: γ > 1 of well-tempered metadynamics.
        height: of the first hill, kJ/mol.
        width: of a hill along each mode; a mode has unit variance in the training data.
        pace_ps: time between hills.
        low, high: range of the grid, the same for every mode; walls stand at its ends.
        wall: force constant of the walls, kJ/mol per squared unit of a mode.
        timestep_fs: time step.
        temperature: K.
        seed: of the thermostat.
    """

    time_ns: float = 1.0
    bias_factor: float = 10.0
    height: float = 1.0
    width: float = 0.25
    pace_ps: float = 1.0
    low: float = -6.0
    high: float = 6.0
    wall: float = 100.0
    timestep_fs: float = 2.0
    temperature: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        thermal_energy(self.temperature)
        if not 1.0 < self.bias_factor < float("inf"):
            raise OptionError(f"--bias-factor must be above 1; got {self.bias_factor}")
        for name in ("time_ns", "height", "width", "pace_ps", "wall", "timestep_fs"):
            value = getattr(self, name)
            if not 0.0 < value < float("inf"):
                raise OptionError(f"--{name.replace('_', '-')} must be positive; got {value}")
        if not 4 * self.width < self.high - self.low < float("inf"):
            raise OptionError(
                f"--range {self.low} {self.high} must be finite and hold more than four hill "
                f"widths ({self.width})"
            )

    @property
    def grid_points(self) -> int:
        return int(np.ceil(POINTS_PER_WIDTH * (self.high - self.low) / self.width)) + 1

    @property
    def axis(self) -> np.ndarray:
        return np.linspace(self.low, self.high, self.grid_points)

    def settings(self) -> dict[str, Any]:
        """What may not change when a run is resumed; it may be made longer."""
        return {key: value for key, value in asdict(self).items() if key != "time_ns"}


@dataclass(frozen=True)
class Deposit:
    """A frame at which a hill was added.

    Attributes:
        modes: values of the modes, (n_modes,).
        bias: energy of bias and walls before the hill, kJ/mol.
        weight: exp((bias − c(t))/kT), the frame's weight in unbiased averages.
    """

    modes: np.ndarray
    bias: float
    weight: float


class Metadynamics(app.Metadynamics):
    """`app.Metadynamics` whose bias is flat beyond its grid, with walls, and can be restored.

    Args:
        system: the bias is added to it.
        forces: one per mode, its energy the value of the mode.
        options: see `BiasOptions`.
        pace: time steps between hills.
    """

    def __init__(
        self, system: openmm.System, forces: list[openmm.Force], options: BiasOptions, pace: int
    ) -> None:
        variables = [
            app.BiasVariable(
                force, options.low, options.high, options.width, False, options.grid_points
            )
            for force in forces
        ]
        super().__init__(
            system,
            variables,
            options.temperature * unit.kelvin,
            options.bias_factor,
            options.height * unit.kilojoules_per_mole,
            pace,
        )
        self.last: Deposit | None = None
        # the table is zero outside its range: hold it at its edge instead, and push back
        inside, walls = [], []
        for k in range(len(forces)):
            inside.append(f"max({options.low}, min({options.high}, cv{k}))")
            walls.append(
                f"0.5*{options.wall}*(max(0, cv{k}-({options.high}))^2"
                f"+max(0, ({options.low})-cv{k})^2)"
            )
        self._force.setEnergyFunction(f"table({', '.join(inside)}) + {' + '.join(walls)}")

    @property
    def bias(self) -> np.ndarray:
        """V in kJ/mol on the grid; the first mode runs along the first axis."""
        return np.array(self._totalBias.T)

    def _addGaussian(self, position: Any, height: Any, context: openmm.Context) -> None:
        # called by `step` with the bias as the frame has felt it: note it before the hill
        first = self.height.value_in_unit(unit.kilojoules_per_mole)
        now = height.value_in_unit(unit.kilojoules_per_mole)
        scale = (unit.MOLAR_GAS_CONSTANT_R * self._deltaT).value_in_unit(unit.kilojoules_per_mole)
        kt = scale / (self.biasFactor - 1.0)
        energy = scale * float(np.log(first / now))
        offset = bias_offset(self._totalBias, self.biasFactor, kt)
        self.last = Deposit(np.array(position), energy, float(np.exp((energy - offset) / kt)))
        super()._addGaussian(position, height, context)

    def restore(self, bias: np.ndarray, context: openmm.Context) -> None:
        """Puts back a bias that `bias` gave."""
        self._selfBias[:] = bias.T
        self._totalBias[:] = bias.T
        flat = self._totalBias.flatten()
        if len(self.variables) == 1:
            self._table.setFunctionParameters(flat, *self._limits)
        else:
            self._table.setFunctionParameters(*self._widths, flat, *self._limits)
        self._force.updateParametersInContext(context)


def check_count(modes: Sequence[Any]) -> None:
    """Raises OptionError for more modes than a grid can hold."""
    if not 1 <= len(modes) <= MAX_MODES:
        raise OptionError(f"--modes names {len(modes)} modes; metadynamics takes 1 to {MAX_MODES}")


def check_start(forces: list[openmm.Force], start: MolecularSystem, options: BiasOptions) -> None:
    """Raises OptionError where the starting structure lies outside of the grid."""
    positions = np.asarray(start.positions.value_in_unit(unit.nanometer), dtype=np.float64)
    for k, value in enumerate(evaluate(forces, len(positions), positions)):
        if not options.low <= value <= options.high:
            raise OptionError(
                f"the starting structure has {value:.2f} in biased mode {k}, outside of the grid "
                f"[{options.low}, {options.high}]: widen it with --range, or start elsewhere "
                "(--top)"
            )


def run_metadynamics(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    mode_names: list[str],
    options: BiasOptions,
    folder: Path,
    platform: openmm.Platform,
    progress: Progress | None = None,
    checkpoint_ps: float = 50.0,
) -> np.ndarray:
    """Runs metadynamics, or goes on with the run that the folder holds.

    Writes `trajectory.xtc` and `colvar.csv` (time_ps, the modes, bias and weight at every
    hill), `free_energy.npz` and `checkpoint/`.

    Args:
        molecule: what to simulate, and where to start.
        forces: one per mode (`openmm_plugin.forces.mode_forces`).
        mode_names: column of each mode, such as `mode_0`.
        options: see `BiasOptions`.
        folder: exists already.
        platform: where it runs.
        progress: called at every hill.
        checkpoint_ps: time between checkpoints.

    Returns:
        The bias V in kJ/mol on the grid, first mode along the first axis.

    Raises:
        OptionError: more than three modes.
        SimulationError: it blew up; the last checkpoint stays.
        OutputError: the checkpoint is damaged.
    """
    check_count(forces)
    timestep = options.timestep_fs / 1000.0
    pace = steps_of(options.pace_ps, timestep, "--pace")
    total = pace * max(1, round(options.time_ns * 1000.0 / timestep / pace))
    every = max(1, round(checkpoint_ps / options.pace_ps)) * pace

    system = openmm.XmlSerializer.clone(molecule.system)
    meta = Metadynamics(system, forces, options, pace)
    simulation = langevin_simulation(
        molecule, system, options.temperature, timestep, options.seed, platform
    )
    trajectory, colvar = folder / "trajectory.xtc", folder / "colvar.csv"
    checkpoints = CheckpointFolder(folder / "checkpoint", [trajectory, colvar])
    try:
        kept = checkpoints.restore(simulation)
        if kept is None:
            relaxed = relaxed_state(molecule, options.temperature, timestep, options.seed, platform)
            start_from(simulation, relaxed)
            columns = ["time_ps", *mode_names, "bias_kj_per_mol", "weight"]
            colvar.write_text(",".join(columns) + "\n")
        else:
            meta.restore(kept[0]["bias"], simulation.context)
        simulation.reporters.append(app.XTCReporter(str(trajectory), pace, append=kept is not None))
        with open(colvar, "a") as table:
            while simulation.currentStep < total:
                meta.step(simulation, pace)
                hill = meta.last
                assert hill is not None
                time = simulation.currentStep * timestep
                row = [time, *hill.modes, hill.bias, hill.weight]
                table.write(",".join(f"{number:.8g}" for number in row) + "\n")
                if simulation.currentStep % every == 0 or simulation.currentStep >= total:
                    table.flush()
                    checkpoints.save(simulation, {"bias": meta.bias})
                if progress is not None:
                    progress(simulation.currentStep, hill.modes)
    except (openmm.OpenMMException, ValueError) as error:
        if has_blown_up(simulation):
            raise blown_up(simulation.currentStep, timestep, folder) from error
        raise
    write_free_energy(folder / "free_energy.npz", meta.bias, mode_names, options)
    return meta.bias


def write_free_energy(
    path: Path, bias: np.ndarray, mode_names: list[str], options: BiasOptions
) -> None:
    """Writes `free_energy` and `bias` (kJ/mol) with one axis per mode, named as the mode."""
    import io

    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: options.axis for name in mode_names}
    np.savez(
        buffer,
        free_energy=free_energy(bias, options.bias_factor),
        bias=bias,
        modes=np.array(mode_names),
        temperature_k=options.temperature,
        bias_factor=options.bias_factor,
        **arrays,
    )
    write_atomically(path, buffer.getvalue())
