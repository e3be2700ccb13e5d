"""`symplectic-cv umbrella`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import openmm_plugin as library
from openmm_plugin.biasing.umbrella import UmbrellaOptions, UmbrellaProgress
from symplectic_cv.bias.free_energy import SURFACE
from symplectic_cv.cli import molecules as m
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import option
from symplectic_cv.reports.run_report import draw_umbrella


def umbrella(
    model: o.ModelFolder,
    /,
    *,
    system: m.SystemOption = None,
    output: o.Output = Path("umbrella"),
    top: m.StartOption = None,
    modes: Annotated[
        list[int],
        option(
            "--modes",
            "--mode",
            metavar="K [K...]",
            help="Mode to place the windows along; with --path the modes in which the path is "
            "given.",
        ),
    ] = [0],  # noqa: B006 - the parser reads the default
    path: Annotated[
        Path | None,
        option(
            help="Table (CSV with columns mode_0, …) of a path to place the windows along, such "
            "as the path.csv of the command path."
        ),
    ] = None,
    windows: Annotated[int, option(help="Number of windows.")] = 16,
    range_: Annotated[
        tuple[float, float],
        option("--range", metavar="LOW HIGH", help="Centres of the first and the last window."),
    ] = (-3.0, 3.0),
    force_constant: Annotated[
        float | None,
        option(
            help="Force constant κ in kJ/mol per squared unit of a mode. Default: on a flat "
            "landscape a window spreads over half of the distance to the next."
        ),
    ] = None,
    time_ns: Annotated[float, option(help="Length of each window in ns.")] = 0.5,
    stride_ps: Annotated[float, option(help="Time between frames in ps.")] = 0.2,
    steering_ps: Annotated[
        float,
        option(help="Time in ps to steer from one window to the next, and again to settle there."),
    ] = 10.0,
    timestep_fs: o.Timestep = 2.0,
    jobs: Annotated[
        int,
        option(
            at_least=1,
            help="Number of windows that run at the same time, at least 1; each is a process.",
        ),
    ] = 1,
    checkpoint_ps: Annotated[float, option(help="Time between checkpoints in ps.")] = 50.0,
    pdb: m.PdbOption = None,
    forcefield: m.ForceFieldOption = None,
    solvent: m.SolventOption = None,
    trust_system: o.TrustSystem = False,
    backend: o.BackendOption = o.Backend.AUTO,
    platform: o.Platform = None,
    precision: o.Precision = None,
    device_index: o.DeviceIndex = None,
    temperature: o.TemperatureOfModel = None,
    seed: o.Seed = 0,
    resume: o.Resume = False,
) -> None:
    """Run umbrella windows along a mode or a latent path and combine them with MBAR.

    Steers the molecule from window to window and holds it in each. Writes window-01/, … (each with
    trajectory.xtc and colvar.csv), umbrella.csv (a row per window), free_energy.npz (with standard
    errors) and umbrella.png. --resume continues after a kill, or extends the windows.

    Example: symplectic-cv umbrella model --system md/system.xml --mode 0 --windows 16
    """
    molecule = m.molecule_of_options(
        system,
        top,
        pdb,
        forcefield,
        solvent,
        temperature,
        model,
        output if resume else None,
        trust_system,
    )
    chosen = UmbrellaOptions(
        modes=modes,
        path=path,
        windows=windows,
        range=range_,
        force_constant=force_constant,
        time_ns=time_ns,
        stride_ps=stride_ps,
        steering_ps=steering_ps,
        timestep_fs=timestep_fs,
        jobs=jobs,
        checkpoint_ps=checkpoint_ps,
        temperature=temperature,
        seed=seed,
        backend=backend.value,
        platform=platform,
        precision=precision,
        device_index=device_index,
    )
    with progress_bar("umbrella windows", 100, "%") as bar:

        def show(progress: UmbrellaProgress) -> None:
            if progress.done == 0.0:
                note(
                    f"{progress.n_atoms} atoms on {progress.platform}; {windows} windows of "
                    f"{time_ns:g} ns along {path or progress.windows.modes[0]}, κ "
                    f"{progress.windows.stiffness:g} kJ/mol"
                )
            bar.to(round(100 * progress.done))

        result = library.umbrella(
            model, molecule, options=chosen, folder=output, resume=resume, progress=show, warn=warn
        )
    draw_umbrella(output, result.windows, result)
    note(f"free energy: {output / SURFACE}, {output / 'umbrella.png'}")
