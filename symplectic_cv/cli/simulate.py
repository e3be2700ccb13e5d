"""`symplectic-cv simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import openmm_plugin as library
from openmm_plugin.molecules import build_molecule
from openmm_plugin.running.dynamics import SimulationOptions, SimulationProgress
from openmm_plugin.systems import Solvent
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.cli.options import argument, option
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.files.trajectories import TrajectoryFormat


def simulate(
    system: Annotated[
        str | None,
        argument("SYSTEM", help="Built-in molecule: alanine-dipeptide or tetra-alanine."),
    ] = None,
    /,
    *,
    output: o.Output = Path("md"),
    pdb: Annotated[
        Path | None, option(help="PDB file of your own molecule, instead of a built-in one.")
    ] = None,
    forcefield: Annotated[
        list[str] | None,
        option(
            "--forcefield",
            metavar="XML [XML...]",
            help="Force-field files, from OpenMM or your own. Default: Amber ff99SB-ILDN.",
        ),
    ] = None,
    solvent: Annotated[Solvent, option(help="Solvent around the molecule.")] = Solvent.IMPLICIT,
    time_ns: Annotated[float, option(help="Length of the run in ns.")] = 12.0,
    stride_ps: Annotated[float, option(help="Time between frames in ps.")] = 0.24,
    timestep_fs: Annotated[
        float | None,
        option(help="Time step in fs. Default: 2, or 0.5 with --flexible."),
    ] = None,
    flexible: Annotated[
        bool,
        option("--flexible", help="Leave bonds to hydrogen free instead of constraining them."),
    ] = False,
    format_: Annotated[
        TrajectoryFormat | None,
        option(
            "--format",
            help="Format of the trajectory: dcd keeps single precision, xtc rounds to 0.001 nm in "
            "a third of the space. Default: xtc, or dcd with --flexible.",
        ),
    ] = None,
    trust_system: o.TrustSystem = False,
    platform: o.Platform = None,
    precision: o.Precision = None,
    device_index: o.DeviceIndex = None,
    temperature: o.Temperature = 300.0,
    seed: o.Seed = 0,
    resume: o.Resume = False,
) -> None:
    """Run Langevin dynamics with OpenMM to get training data.

    Writes trajectory.xtc (with --flexible trajectory.dcd, whose energies can be learned from),
    topology.pdb, system.xml and state.csv. The default force field is Amber
    ff99SB-ILDN: with OBC for implicit solvent, in TIP3P water at 1 bar for explicit solvent.

    Example: symplectic-cv simulate alanine-dipeptide --time-ns 12 -o md
    """
    if not resume:
        require_free(output)
    molecule = build_molecule(system, pdb, forcefield, solvent, flexible, temperature, trust_system)
    chosen = SimulationOptions(
        time_ns=time_ns,
        stride_ps=stride_ps,
        timestep_fs=timestep_fs,
        temperature=temperature,
        seed=seed,
        platform=platform,
        precision=precision,
        device_index=device_index,
        format=format_,
    )
    with progress_bar("simulating", round(time_ns * 1000), "ps") as bar:

        def show(progress: SimulationProgress) -> None:
            if progress.time_ps == 0.0:
                note(
                    f"{progress.n_atoms} atoms, {solvent.value}, {temperature:g} K, {time_ns:g} ns "
                    f"in steps of {progress.timestep_fs:g} fs on {progress.platform}"
                )
            bar.to(round(progress.time_ps))

        run = library.simulate(
            molecule, options=chosen, folder=output, resume=resume, progress=show
        )
    note(f"{run.frames} frames, {stride_ps:g} ps apart: {run.trajectory}")
