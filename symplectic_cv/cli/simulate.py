"""`symplectic-cv simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from openmm_plugin.running import simulation
from openmm_plugin.running.checkpoints import steps_of
from openmm_plugin.systems import (
    Solvent,
    build_system,
    built_in_pdb,
    choose_platform,
    load_system,
    read_pdb,
)
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.cli.options import argument, option
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import require_free, start_run
from symplectic_cv.units import thermal_energy

DEFAULT_TIMESTEP_FS = 2.0
FLEXIBLE_TIMESTEP_FS = 0.5


def simulate(
    system: Annotated[
        str | None,
        argument("SYSTEM", help="alanine-dipeptide or tetra-alanine."),
    ] = None,
    /,
    *,
    output: o.Output = Path("md"),
    pdb: Annotated[Path | None, option(help="Your own molecule, with --forcefield.")] = None,
    forcefield: Annotated[
        list[str] | None,
        option(
            "--forcefield", metavar="XML [XML...]", help="Force-field files, OpenMM's or your own."
        ),
    ] = None,
    solvent: Annotated[Solvent, option(help="Surroundings.")] = Solvent.IMPLICIT,
    time_ns: Annotated[float, option(help="Length of the run, ns.")] = 12.0,
    stride_ps: Annotated[float, option(help="Time between frames, ps.")] = 0.24,
    timestep_fs: Annotated[
        float | None,
        option(help="Time step, fs (default: 2, or 0.5 with --flexible)."),
    ] = None,
    flexible: Annotated[
        bool, option("--flexible", help="No constraints on bonds to hydrogen.")
    ] = False,
    platform: Annotated[
        str | None, option(help="OpenMM platform (default: the fastest for this size).")
    ] = None,
    temperature: o.Temperature = 300.0,
    seed: o.Seed = 0,
    resume: o.Resume = False,
) -> None:
    """Run Langevin dynamics with OpenMM: the data to learn from.

    Writes trajectory.xtc, topology.pdb, system.xml and state.csv. Force field by default: Amber
    ff99SB-ILDN (implicit: with OBC, explicit: in TIP3P water at 1 bar).

    Example: symplectic-cv simulate alanine-dipeptide --time-ns 12 -o md
    """
    thermal_energy(temperature)
    if (system is None) == (pdb is None):
        raise OptionError(
            "name either a built-in SYSTEM (alanine-dipeptide, tetra-alanine) or your own with "
            "--pdb"
        )
    if not resume:
        require_free(output)
    structure = read_pdb(pdb) if pdb is not None else built_in_pdb(str(system))
    molecule = build_system(structure, solvent, forcefield, flexible, temperature)
    if timestep_fs is None:
        timestep_fs = FLEXIBLE_TIMESTEP_FS if flexible else DEFAULT_TIMESTEP_FS
    chosen = choose_platform(platform, molecule.topology.getNumAtoms())
    total = steps_of(time_ns * 1e6, timestep_fs, "time_ns")
    steps_of(stride_ps, timestep_fs, "stride_ps")
    settings = {
        "command": "simulate",
        "system": str(pdb or system),
        "solvent": solvent.value,
        "forcefield": forcefield,
        "stride_ps": stride_ps,
        "timestep_fs": timestep_fs,
        "flexible": flexible,
        "temperature_k": temperature,
        "seed": seed,
    }
    start_run(output, settings, resume)
    if (output / "system.xml").is_file():
        molecule = load_system(output / "system.xml")
    else:  # a new run, or one that was killed before it had written them
        simulation.write_structure(molecule, output)
    note(
        f"{molecule.topology.getNumAtoms()} atoms, {solvent.value}, {temperature:g} K, "
        f"{time_ns:g} ns in steps of {timestep_fs:g} fs on {chosen.getName()}"
    )
    with progress_bar("simulating", total, "steps") as bar:
        frames = simulation.simulate(
            molecule,
            output,
            time_ns,
            stride_ps,
            timestep_fs,
            temperature,
            seed,
            chosen,
            progress=lambda step: bar.to(step, f"{step * timestep_fs * 1e-6:.3f} ns"),
        )
    note(f"{frames} frames, {stride_ps:g} ps apart: {output / 'trajectory.xtc'}")
