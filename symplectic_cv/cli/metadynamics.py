"""`symplectic-cv metadynamics`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import openmm_plugin as library
from openmm_plugin.biasing.metadynamics_options import AUTO, MetadynamicsOptions
from openmm_plugin.biasing.options import BiasProgress
from openmm_plugin.versions import native_problem
from symplectic_cv.bias.free_energy import SURFACE
from symplectic_cv.bias.run import OPES, BiasRecord
from symplectic_cv.cli import molecules as m
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import option
from symplectic_cv.exporting.compiled import core_problem
from symplectic_cv.reports.run_report import FREE_ENERGY, draw_biased_run

DEFAULT = MetadynamicsOptions()


def metadynamics(
    model: o.ModelFolder,
    /,
    *,
    system: m.SystemOption = None,
    output: o.Output = Path("metadynamics"),
    top: m.StartOption = None,
    modes: o.Modes = [0, 1],  # noqa: B006 - the parser reads the default
    time_ns: Annotated[
        float, option(help="Length of the run in ns; with several --walkers, of each.")
    ] = DEFAULT.time_ns,
    bias_factor: Annotated[
        float | None,
        option(help="Bias factor γ, above 1. Default: 10; with --opes the barrier divided by kT."),
    ] = None,
    height: Annotated[
        float | None,
        option(help="Height of the first hill in kJ/mol. Default: 1. Not with --opes."),
    ] = None,
    fill: Annotated[
        float | None,
        option(
            metavar="KJ",
            help="Bias offset c(t) in kJ/mol at which no more hills are added, so that the "
            "molecule is not driven much further up. Default: hills are added to the end. "
            "Not with --opes.",
        ),
    ] = None,
    width: Annotated[
        list[str],
        option(
            metavar="auto|W [W...]",
            help="Width of the hills, one number or one for each mode; a mode has unit variance "
            "in the training data. auto takes 0.7 of the fluctuation of each mode in the "
            "starting basin, measured in 20 ps of equilibration (with --opes the whole "
            "fluctuation).",
        ),
    ] = [AUTO],  # noqa: B006
    pace_ps: Annotated[
        float,
        option(
            "--pace",
            help="Time between hills, and between frames, in ps; a whole number of time steps.",
        ),
    ] = DEFAULT.pace_ps,
    range_: Annotated[
        tuple[float, float] | None,
        option(
            "--range",
            metavar="LOW HIGH",
            help="Lowest and highest value of the modes on the grid; walls keep them inside. "
            "Default: the bounds of modes of torsions, -6 to 6 for other modes.",
        ),
    ] = DEFAULT.range,
    opes: Annotated[
        bool, option("--opes", help="Use OPES instead of well-tempered metadynamics.")
    ] = False,
    barrier: Annotated[
        float | None,
        option(
            help="Barrier that OPES has to overcome, in kJ/mol; it bounds the bias. Default: 40."
            " Only with --opes."
        ),
    ] = None,
    walkers: Annotated[
        int,
        option(
            at_least=1,
            help="Number of simulations that share one bias, at least 1; each is a process.",
        ),
    ] = 1,
    scheduler: Annotated[
        str | None,
        option(
            metavar="ADDRESS",
            help="Address of a Dask scheduler whose workers run the walkers; they must see the "
            "output folder.",
        ),
    ] = None,
    timestep_fs: o.Timestep = DEFAULT.timestep_fs,
    checkpoint_ps: Annotated[
        float | None,
        option(
            help="Time between checkpoints in ps. Default: 50, or ten hills with several "
            "--walkers, which share their hills then."
        ),
    ] = None,
    pdb: m.PdbOption = None,
    forcefield: m.ForceFieldOption = None,
    solvent: m.SolventOption = None,
    trust_system: o.TrustSystem = False,
    backend: o.BackendOption = o.Backend.AUTO,
    own_grid: Annotated[
        bool | None,
        option(
            "--own-grid",
            negative="--openmm-grid",
            help="Keep the bias grid in the native force, which is its default, or in OpenMM's "
            "table, which every other backend and --opes do.",
        ),
    ] = None,
    platform: o.Platform = None,
    precision: o.Precision = None,
    device_index: o.DeviceIndex = None,
    temperature: o.TemperatureOfModel = None,
    seed: o.Seed = DEFAULT.seed,
    resume: o.Resume = False,
) -> None:
    """Bias the slowest modes in OpenMM with well-tempered metadynamics or OPES.

    Writes trajectory.xtc, colvar.csv (a row per frame: time_ps, modes, bias, c, weight,
    extrapolation), hills.csv, free_energy.npz, convergence.csv, checkpoint/ and figures. With
    --walkers each walker has a folder walker-1, walker-2, …; the output folder gets the frames of
    all and their common free energy. --resume continues a run that was killed, or extends it to a
    larger --time-ns.

    Example: symplectic-cv metadynamics model --system md/system.xml --modes 0 1 --time-ns 5
    """
    problem = native_problem() or core_problem()
    if backend is o.Backend.AUTO and problem is not None:
        note(f"not through the native force, because {problem}")
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
    chosen = MetadynamicsOptions(
        modes=modes,
        time_ns=time_ns,
        bias_factor=bias_factor,
        height=height,
        fill=fill,
        width=width,
        pace_ps=pace_ps,
        range=range_,
        opes=opes,
        barrier=barrier,
        walkers=walkers,
        scheduler=scheduler,
        timestep_fs=timestep_fs,
        checkpoint_ps=checkpoint_ps,
        temperature=temperature,
        seed=seed,
        backend=backend.value,
        own_grid=own_grid,
        platform=platform,
        precision=precision,
        device_index=device_index,
    )
    with progress_bar("biasing", round(time_ns * 1000) * walkers, "ps") as bar:

        def show(progress: BiasProgress) -> None:
            if progress.time_ps == 0.0 and progress.modes is None:
                bias = describe_bias(progress.record)
                note(f"{progress.n_atoms} atoms on {progress.platform}; {bias}")
            values = () if progress.modes is None else progress.modes
            bar.to(round(progress.time_ps), " ".join(f"{value:+.2f}" for value in values))

        library.metadynamics(
            model, molecule, options=chosen, folder=output, resume=resume, progress=show, warn=warn
        )
    draw_biased_run(output)
    figure = f", {output / FREE_ENERGY}" if (output / FREE_ENERGY).is_file() else ""
    note(f"free energy: {output / SURFACE}{figure}")


def _listed(ends: Sequence[float]) -> str:
    """The ends of a grid, once where they are the same for all modes."""
    return ", ".join(f"{end:g}" for end in (ends if len(set(ends)) > 1 else ends[:1]))


def describe_bias(record: BiasRecord) -> str:
    """A line on the hills: their height, widths and pace."""
    widths = ", ".join(f"{width:g}" for width in record.widths)
    what = "OPES kernels" if record.method == OPES else "hills"
    points = " x ".join(map(str, record.grid.points))
    return (
        f"{what} of width {widths} in {', '.join(record.modes)}, each {record.pace_ps:g} ps, on "
        f"{points} grid points from {_listed(record.grid.low)} to {_listed(record.grid.high)}, "
        f"bias factor "
        f"{record.bias_factor:.3g}"
    )
