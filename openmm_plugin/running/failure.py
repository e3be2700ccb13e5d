"""Failed simulations: the frame of the failure, and an error with the remedy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from openmm import app, unit

from openmm_plugin.running.checkpoints import SimulationError, blown_up, has_blown_up
from symplectic_cv.files.atomic import write_atomically

FAILED = "failed.pdb"
NO_VALUE = ("not finite", "is singular", "is ill-conditioned")
"""What errors of the modes say: the forces of this package, and TorchScript's own solver."""
TORN = "the molecule is torn"
"""What the modes say where bonded atoms are far apart: a simulation that blew up."""


def simulation_failure(
    simulation: app.Simulation, timestep: float, folder: Path, error: Exception
) -> SimulationError | None:
    """The error to report where coordinates or collective variables have ceased to be finite.

    The frame is then in failed.pdb; None for any other failure.

    Args:
        timestep: The time step in ps.
        folder: The folder of the run.
        error: The error of OpenMM, of a reporter or of a mode.
    """
    step = simulation.currentStep
    if has_blown_up(simulation) or TORN in str(error):
        write_frame(simulation, folder / FAILED)
        return blown_up(step, timestep, folder)
    if not any(words in str(error) for words in NO_VALUE):
        return None
    write_frame(simulation, folder / FAILED)
    return SimulationError(
        f"{folder}: a collective variable is not finite at step {step} ({step * timestep:.3f} ps): "
        f"look at {FAILED} there; the molecule has come where the model cannot follow (train on "
        "such structures too, or bias fewer modes in a smaller `range`); the last checkpoint is "
        "kept"
    )


def write_frame(simulation: app.Simulation, path: Path) -> None:
    """The present positions as a PDB file; atoms that are nowhere are listed, and put at 0."""
    state = simulation.context.getState(positions=True)
    positions = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    # wider numbers than a PDB file has columns for are as good as nowhere
    lost = ~(np.abs(positions) < 900.0).all(1)
    positions[lost] = 0.0
    text = io.StringIO()
    for atom in np.flatnonzero(lost):
        print(f"REMARK 1 ATOM {atom + 1} HAS NO POSITION AND IS WRITTEN AT THE ORIGIN", file=text)
    app.PDBFile.writeFile(
        simulation.topology,
        positions * unit.nanometer,
        text,
        keepIds=True,
        extraParticleIdentifier="",
    )
    write_atomically(path, text.getvalue().encode())
