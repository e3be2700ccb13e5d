"""Unbiased molecular dynamics: the data that models learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openmm
from openmm import app, unit

from openmm_plugin.platforms import properties_of
from openmm_plugin.running.checkpoints import (
    CheckpointFolder,
    SimulationError,
    blown_up,
    has_blown_up,
    is_absurd,
    steps_of,
)
from openmm_plugin.running.failure import FAILED, write_frame
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.files.atomic import write_atomically

FRICTION = 1.0
"""The friction of the Langevin thermostat, in 1/ps."""
CHUNK_STEPS = 2000
EQUILIBRATION = 20.0
"""Time between the minimisation and the first frame, ps."""

Progress = Callable[[int], None]


def write_structure(molecule: MolecularSystem, folder: Path) -> None:
    """Writes topology.pdb and system.xml, which later commands start from."""
    with open(folder / "topology.pdb", "w") as handle:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, handle, keepIds=True)
    # last and whole: a folder with a system.xml has both
    write_atomically(
        folder / "system.xml", openmm.XmlSerializer.serialize(molecule.system).encode()
    )


def langevin_simulation(
    molecule: MolecularSystem,
    system: openmm.System,
    temperature: float,
    timestep: float,
    seed: int,
    platform: openmm.Platform,
) -> app.Simulation:
    """A simulation with the middle Langevin integrator, at the molecule's structure.

    Args:
        molecule: The topology and the positions.
        system: The system to integrate (the molecule's own, or a biased copy).
        temperature: K.
        timestep: The time step in ps.
        seed: The seed of the thermostat; 0 would mean "random" to OpenMM, so 1 is added.
        platform: The platform that it runs on.
    """
    integrator = openmm.LangevinMiddleIntegrator(
        temperature * unit.kelvin, FRICTION / unit.picosecond, timestep * unit.picosecond
    )
    integrator.setRandomNumberSeed(seed + 1)
    for force in system.getForces():
        if isinstance(force, openmm.MonteCarloBarostat):
            force.setRandomNumberSeed(seed + 1)
            force.setDefaultTemperature(temperature * unit.kelvin)
    simulation = app.Simulation(
        molecule.topology, system, integrator, platform, properties_of(platform)
    )
    simulation.context.setPositions(molecule.positions)
    return simulation


def relaxed_state(
    molecule: MolecularSystem,
    temperature: float,
    timestep: float,
    seed: int,
    platform: openmm.Platform,
    look: Callable[[openmm.State], None] | None = None,
    every_ps: float = EQUILIBRATION,
    folder: Path | None = None,
) -> openmm.State:
    """The molecule after minimisation and a short equilibration, without any bias.

    Args:
        look: A function that is called with the positions each `every_ps` of the equilibration.
        folder: The folder of the run, which receives the frame of a failure.

    Raises:
        SimulationError: It blew up.
    """
    simulation = langevin_simulation(
        molecule, molecule.system, temperature, timestep, seed, platform
    )
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(temperature * unit.kelvin, seed + 1)
    stride = steps_of(every_ps, timestep, "equilibration")
    for _ in range(max(1, round(EQUILIBRATION / every_ps))):
        try:
            simulation.step(stride)
        except (openmm.OpenMMException, ValueError):
            if not has_blown_up(simulation):
                raise
        state = simulation.context.getState(positions=True)
        if is_absurd(state):
            if folder is not None:
                write_frame(simulation, folder / FAILED)
            raise SimulationError(
                f"the simulation blew up near {simulation.currentStep * timestep:.1f} ps of its "
                "equilibration (coordinates are NaN or absurd): use a smaller `timestep_fs` or a "
                "relaxed starting structure"
            )
        if look is not None:
            look(state)
    return simulation.context.getState(positions=True, velocities=True)


def start_from(simulation: app.Simulation, state: openmm.State) -> None:
    """Positions, velocities and box of a state, at step and time zero."""
    simulation.context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    simulation.context.setPositions(state.getPositions())
    simulation.context.setVelocities(state.getVelocities())


def run_dynamics(
    molecule: MolecularSystem,
    folder: Path,
    time_ns: float,
    stride_ps: float,
    timestep_fs: float,
    temperature: float,
    seed: int,
    platform: openmm.Platform,
    progress: Progress | None = None,
    checkpoint_ps: float = 100.0,
    lossless: bool = False,
) -> int:
    """Runs Langevin dynamics, or continues the run that the folder holds.

    Writes `trajectory.xtc` or `trajectory.dcd`, `state.csv` and `checkpoint/`, beside the
    `topology.pdb` and `system.xml` of `write_structure`.

    Args:
        time_ns: The length of the whole run.
        stride_ps: The time between frames.
        timestep_fs: The time step.
        temperature: K.
        progress: A function that is called with the step reached.
        lossless: Whether frames are written to trajectory.dcd, which does not round them.

    Returns:
        Number of frames.

    Raises:
        SimulationError: It blew up, or a time is not positive.
        OutputError: The checkpoint is damaged.
    """
    timestep = timestep_fs / 1000.0
    total = steps_of(time_ns * 1000.0, timestep, "time_ns")
    stride = steps_of(stride_ps, timestep, "stride_ps")
    trajectory = folder / ("trajectory.dcd" if lossless else "trajectory.xtc")
    state_csv = folder / "state.csv"
    simulation = langevin_simulation(
        molecule, molecule.system, temperature, timestep, seed, platform
    )
    checkpoints = CheckpointFolder(folder / "checkpoint", [trajectory, state_csv])
    try:
        resumed = checkpoints.restore(simulation) is not None
        if not resumed:
            relaxed = relaxed_state(molecule, temperature, timestep, seed, platform)
            start_from(simulation, relaxed)
        # a checkpoint before the first frame leaves files without a header to go on from
        begun = resumed and state_csv.stat().st_size > 0
        reporter = app.DCDReporter if lossless else app.XTCReporter
        simulation.reporters.append(reporter(str(trajectory), stride, append=begun))
        table = app.StateDataReporter(
            str(state_csv),
            stride,
            append=begun,
            step=True,
            time=True,
            potentialEnergy=True,
            kineticEnergy=True,
            temperature=True,
            volume=molecule.periodic,
        )
        simulation.reporters.append(table)
        every = steps_of(checkpoint_ps, timestep, "checkpoint_ps")
        while simulation.currentStep < total:
            here = simulation.currentStep
            simulation.step(min(CHUNK_STEPS, total - here, every - here % every))
            if simulation.currentStep % every == 0 or simulation.currentStep == total:
                checkpoints.save(simulation)
            if progress is not None:
                progress(simulation.currentStep)
    except (openmm.OpenMMException, ValueError) as error:
        if has_blown_up(simulation):
            raise blown_up(simulation.currentStep, timestep, folder) from error
        raise
    return total // stride
