"""`symplectic-cv umbrella`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from openmm_plugin.biasing.umbrella import UmbrellaTask, run_umbrella, window_folder
from openmm_plugin.systems import choose_platform
from openmm_plugin.versions import choose_backend
from symplectic_cv.bias.free_energy import SURFACE
from symplectic_cv.bias.run import COLVAR
from symplectic_cv.bias.umbrella import (
    LEAST_OVERLAP,
    UmbrellaResult,
    Windows,
    combine,
    even_windows,
    path_windows,
    read_window,
)
from symplectic_cv.cli import molecules as m
from symplectic_cv.cli import options as o
from symplectic_cv.cli.biased import Backend, BackendOption, begin_biased_run
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import option
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import file_digest, write_atomically
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.model_folder import load_model
from symplectic_cv.reports.run_report import draw_umbrella

TABLE = "umbrella.csv"


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
            help="The mode to walk along; with --path the modes that the path is given in.",
        ),
    ] = [0],  # noqa: B006 - the parser reads the default
    path: Annotated[
        Path | None,
        option(
            help="Walk along a path instead: a CSV with columns mode_0, …, such as the path.csv of "
            "`path`."
        ),
    ] = None,
    windows: Annotated[int, option(help="Number of windows.")] = 16,
    ends: Annotated[
        tuple[float, float],
        option("--range", metavar="LOW HIGH", help="Centres of the first and last window."),
    ] = (-3.0, 3.0),
    force_constant: Annotated[
        float | None,
        option(
            help="κ, kJ/mol per squared unit of a mode (default: on a flat landscape a window "
            "spreads over half of the distance to the next)."
        ),
    ] = None,
    time_ns: Annotated[float, option(help="Length of each window, ns.")] = 0.5,
    stride_ps: Annotated[float, option(help="Time between frames, ps.")] = 0.2,
    steering_ps: Annotated[
        float, option(help="Time to move from one window to the next, and to settle, ps.")
    ] = 10.0,
    timestep_fs: Annotated[float, option(help="Time step, fs.")] = 2.0,
    jobs: Annotated[
        int, option(at_least=1, help="Windows that run at the same time, each a process.")
    ] = 1,
    checkpoint_ps: Annotated[float, option(help="Time between checkpoints, ps.")] = 50.0,
    pdb: m.PdbOption = None,
    forcefield: m.ForceFieldOption = None,
    solvent: m.SolventOption = None,
    backend: BackendOption = Backend.AUTO,
    platform: Annotated[
        str | None, option(help="OpenMM platform (default: the fastest for this size).")
    ] = None,
    temperature: Annotated[
        float | None, option("--temperature", help="K (default: the model's).")
    ] = None,
    seed: o.Seed = 0,
    resume: o.Resume = False,
) -> None:
    """Umbrella windows along a mode or a latent path, combined with MBAR.

    Steers the molecule from window to window, holds it in each, and writes window-01/, … (each with
    trajectory.xtc and colvar.csv), umbrella.csv (a row per window), free_energy.npz (with standard
    errors) and umbrella.png. --resume goes on after a kill, or makes windows longer.

    Example: symplectic-cv umbrella model --system md/system.xml --mode 0 --windows 16
    """
    if not resume:
        require_free(output)
    chosen_backend = choose_backend(backend.value)
    network = load_model(model)
    modes = network.check_modes(modes)
    kelvin = network.temperature if temperature is None else temperature
    names = [f"mode_{mode}" for mode in modes]
    for flag, value in (
        ("--time-ns", time_ns),
        ("--stride-ps", stride_ps),
        ("--steering-ps", steering_ps),
        ("--timestep-fs", timestep_fs),
        ("--checkpoint-ps", checkpoint_ps),
    ):
        if not 0.0 < value < float("inf"):
            raise OptionError(f"{flag} must be positive; got {value}")
    if path is not None:
        stand = path_windows(path, names, windows, force_constant, kelvin)
    elif len(modes) == 1:
        stand = even_windows(names, *ends, windows, force_constant, kelvin)
    else:
        raise OptionError(f"--modes names {len(modes)} modes; without --path windows walk along 1")
    molecule, of_molecule = m.read_molecule(
        system, top, pdb, forcefield, solvent, kelvin, output if resume else None
    )
    chosen = choose_platform(platform, molecule.topology.getNumAtoms())
    settings = {
        "command": "umbrella",
        "path_sha256": file_digest(path),
        "windows": windows,
        "centres": stand.centres.tolist(),
        "force_constant": stand.stiffness,
        **of_molecule,
        "stride_ps": stride_ps,
        "steering_ps": steering_ps,
        "timestep_fs": timestep_fs,
        "temperature_k": kelvin,
        "seed": seed,
    }
    begin_biased_run(output, settings, model, network, modes, molecule, chosen_backend, resume)
    note(
        f"{molecule.topology.getNumAtoms()} atoms on {chosen.getName()}; {windows} windows of "
        f"{time_ns:g} ns along {path or names[0]}, κ {stand.stiffness:g} kJ/mol"
    )
    task = UmbrellaTask(
        parent=str(output.resolve()),
        windows=stand,
        time_ps=time_ns * 1000.0,
        stride_ps=stride_ps,
        steering_ps=steering_ps,
        timestep_fs=timestep_fs,
        seed=seed,
        backend=chosen_backend,
        platform=chosen.getName(),
        checkpoint_ps=checkpoint_ps,
    )
    with progress_bar("umbrella windows", 100, "%") as bar:
        run_umbrella(task, jobs, lambda part: bar.to(round(100 * part)))
    series = [
        read_window(window_folder(output, window) / COLVAR, len(modes)) for window in range(windows)
    ]
    result = combine(stand, series)
    write_result(output, stand, result)
    if result.overlap.min() < LEAST_OVERLAP:
        weakest = int(result.overlap.argmin())
        warn(
            f"windows {weakest + 1} and {weakest + 2} hardly overlap ({result.overlap.min():.3f}): "
            "give more --windows or a smaller --force-constant"
        )
    note(f"free energy: {output / SURFACE}, {output / 'umbrella.png'}")


def write_result(folder: Path, windows: Windows, result: UmbrellaResult) -> None:
    """Writes umbrella.csv, umbrella.png and free_energy.npz."""
    header = [
        "window",
        *(f"centre_{name}" for name in windows.modes),
        "independent_frames",
        "statistical_inefficiency",
        "free_energy_kj_per_mol",
        "error_kj_per_mol",
        "overlap_with_next",
    ]
    overlap = [*result.overlap, np.nan]
    lines = [",".join(header)]
    for k, centre in enumerate(windows.centres):
        numbers = [
            *centre,
            result.frames[k],
            result.inefficiency[k],
            result.window_free_energy[k],
            result.window_error[k],
            overlap[k],
        ]
        lines.append(",".join([str(k + 1), *(f"{number:.6g}" for number in numbers)]))
    write_atomically(folder / TABLE, ("\n".join(lines) + "\n").encode())
    along = windows.modes[0] if len(windows.modes) == 1 else "progress"
    draw_umbrella(folder, windows, result)
    content = io.BytesIO()
    arrays: dict[str, Any] = {along: result.axis}
    np.savez(
        content,
        free_energy=result.free_energy,
        error=result.error,
        centres=windows.centres,
        force_constant=windows.stiffness,
        modes=np.array(windows.modes),
        method="umbrella",
        temperature_k=windows.temperature,
        **arrays,
    )
    write_atomically(folder / SURFACE, content.getvalue())
