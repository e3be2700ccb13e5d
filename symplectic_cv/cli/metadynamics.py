"""`symplectic-cv metadynamics`."""

from __future__ import annotations

import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import typer

from openmm_plugin import metadynamics as meta
from openmm_plugin.forces import mode_forces
from openmm_plugin.systems import choose_platform, load_system
from openmm_plugin.versions import choose_backend, torchforce_problem
from symplectic_cv.analysis.figures import free_energy_surface, time_series
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.errors import ModelError
from symplectic_cv.output import require_free, start_run
from symplectic_cv.storage import load_model, read_config, write_atomically
from symplectic_cv.torchscript import export

DEFAULT = meta.BiasOptions()
CV = "cv.pt"
NO_BIAS = 0.01
"""Where the bias is below this part of its maximum nothing is known; the figure is blank there."""


class Backend(str, Enum):
    AUTO = "auto"
    TORCHFORCE = "torchforce"
    PYTHON = "python"


def metadynamics(
    model: o.ModelFolder,
    system: Annotated[Path, typer.Option("--system", help="system.xml of the molecule.")],
    output: o.Output = Path("metadynamics"),
    top: Annotated[
        Optional[Path],
        typer.Option("--top", help="PDB to start from (default: topology.pdb beside the system)."),
    ] = None,
    modes: o.Modes = [0, 1],  # noqa: B006 - Typer reads the default
    time_ns: Annotated[float, typer.Option(help="Length of the run, ns.")] = DEFAULT.time_ns,
    bias_factor: Annotated[
        float, typer.Option(help="Bias factor γ of well-tempered metadynamics.")
    ] = DEFAULT.bias_factor,
    height: Annotated[
        float, typer.Option(help="Height of the first hill, kJ/mol.")
    ] = DEFAULT.height,
    width: Annotated[
        float, typer.Option(help="Width of a hill; modes have unit variance in the data.")
    ] = DEFAULT.width,
    pace: Annotated[float, typer.Option(help="Time between hills, ps.")] = DEFAULT.pace_ps,
    grid: Annotated[
        tuple[float, float],
        typer.Option("--range", metavar="LOW HIGH", help="Range of the grid; walls at its ends."),
    ] = (DEFAULT.low, DEFAULT.high),
    timestep_fs: Annotated[float, typer.Option(help="Time step, fs.")] = DEFAULT.timestep_fs,
    backend: Annotated[
        Backend, typer.Option(help="How OpenMM evaluates the modes.")
    ] = Backend.AUTO,
    platform: Annotated[
        Optional[str], typer.Option(help="OpenMM platform (default: the fastest for this size).")
    ] = None,
    temperature: Annotated[
        Optional[float], typer.Option("--temperature", help="K (default: the model's).")
    ] = None,
    seed: o.Seed = DEFAULT.seed,
    resume: o.Resume = False,
) -> None:
    """Bias the slowest modes in OpenMM by well-tempered metadynamics.

    Writes trajectory.xtc, colvar.csv (time_ps, modes, bias, weight), free_energy.npz, checkpoint/
    and figures. --resume goes on after a kill, or makes a run longer with a larger --time-ns.

    Example: symplectic-cv metadynamics model --system md/system.xml --modes 0 1 --time-ns 5
    """
    if not resume:
        require_free(output)
    chosen_backend = choose_backend(backend.value)
    if backend is Backend.AUTO and chosen_backend != Backend.TORCHFORCE.value:
        note(f"through PythonForce, because {torchforce_problem()}")
    network = load_model(model)
    modes = network.check_modes(modes)
    options = meta.BiasOptions(
        time_ns=time_ns,
        bias_factor=bias_factor,
        height=height,
        width=width,
        pace_ps=pace,
        low=grid[0],
        high=grid[1],
        timestep_fs=timestep_fs,
        temperature=network.temperature if temperature is None else temperature,
        seed=seed,
    )
    meta.check_count(modes)
    molecule = load_system(system, top)
    chosen = choose_platform(platform, molecule.topology.getNumAtoms())
    with tempfile.TemporaryDirectory() as aside:
        # all that the model, the system or the start can break comes before the folder is made
        trial = Path(aside) / CV
        export(network, modes, trial)
        forces = mode_forces(trial, molecule.system, chosen_backend)
        if not resume:
            meta.check_start(forces, molecule, options)
        settings = {
            "command": "metadynamics",
            "model_sha256": read_config(model)["weights_sha256"],
            "modes": modes,
            **options.settings(),
        }
        start_run(output, settings, resume)
        if not (output / CV).is_file():
            write_atomically(output / CV, trial.read_bytes())
    names = [f"mode_{mode}" for mode in modes]
    note(
        f"{molecule.topology.getNumAtoms()} atoms on {chosen.getName()}, modes "
        f"{' '.join(map(str, modes))} through {chosen_backend}; hills of {height:g} kJ/mol, width "
        f"{width:g}, each {pace:g} ps, bias factor {bias_factor:g}"
    )
    with progress_bar("biasing", round(time_ns * 1000), "ps") as bar:

        def show(step: int, values: np.ndarray) -> None:
            bar.to(round(step * timestep_fs * 1e-3), " ".join(f"{value:+.2f}" for value in values))

        meta.run_metadynamics(molecule, forces, names, options, output, chosen, progress=show)
    draw(output, names)
    note(f"free energy: {output / 'free_energy.npz'}, {output / 'free_energy.png'}")


def draw(folder: Path, names: list[str]) -> None:
    """The figures of a run: free energy, and the modes over time."""
    try:
        table = np.atleast_1d(np.genfromtxt(folder / "colvar.csv", delimiter=",", names=True))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'colvar.csv'}: unreadable ({error})") from error
    time_series(folder / "modes.png", table["time_ps"], [table[name] for name in names], names)
    with np.load(folder / "free_energy.npz") as archive:
        if len(names) <= 2:
            axes = [archive[name] for name in names]
            visited = archive["bias"] > NO_BIAS * archive["bias"].max()
            surface = np.where(visited, archive["free_energy"], np.inf)
            labels = [f"{name} (dimensionless)" for name in names]
            free_energy_surface(folder / "free_energy.png", axes, surface, labels)
