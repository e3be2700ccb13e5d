"""`symplectic-cv path`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import mdtraj as md
import numpy as np
import torch

from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.cli.options import option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.data.structures import (
    read_structure,
    require_same_handedness,
    undefined_torsions,
)
from symplectic_cv.data.torsions import Torsion, compute_torsions, find_torsions
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder, require_free
from symplectic_cv.models.model_folder import load_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.paths.interpolation import (
    cartesian_path,
    spherical_path,
    straight_latent_path,
)
from symplectic_cv.paths.latent_path import LatentPath
from symplectic_cv.paths.strings import refine_path, scan_mode
from symplectic_cv.reports.path_figures import plot_path
from symplectic_cv.reports.style import save_figure


@with_threads
def path(
    model: o.ModelFolder,
    /,
    *,
    start: Annotated[
        str | None, option(metavar="S", help="PDB file, or TRAJ:FRAME counted from 0.")
    ] = None,
    end: Annotated[
        str | None, option(metavar="E", help="PDB file, or TRAJ:FRAME counted from 0.")
    ] = None,
    points: Annotated[int, option(help="Structures, both ends included.")] = 50,
    modes: Annotated[
        list[int] | None,
        option(
            metavar="K [K...]",
            help="Modes that move on their sphere, the others moving straight (default: all).",
        ),
    ] = None,
    refine: Annotated[
        bool, option("--refine", help="Move the path to the most likely one nearby.")
    ] = False,
    scan: Annotated[
        int | None,
        option(
            metavar="K",
            help="Instead of a path: mode K from one side to the other, the other modes as in "
            "--start (default: at 0).",
        ),
    ] = None,
    reach: Annotated[
        float, option(help="How far --scan goes, in standard deviations of the mode.")
    ] = 2.5,
    all_atom: Annotated[
        bool,
        option("--all-atom", help="Add hydrogens with OpenMM, relaxed around heavy atoms."),
    ] = False,
    forcefield: Annotated[
        list[str] | None,
        option(metavar="XML [XML...]", help="Of --all-atom (default: Amber ff99SB-ILDN)."),
    ] = None,
    output: o.Output = Path("path"),
    top: o.Top = None,
    threads: o.Threads = 1,
) -> None:
    """Draw a latent path between two conformations, or along one mode.

    Interpolates the scaled modes spherically: along the shell where their probability is, not
    through its unlikely inside. With --scan one mode moves alone. Writes path.pdb (a model per
    point, superposed), path.csv (log-likelihood in nats, scaled modes, torsions in degrees) and
    path.png, which compares the path with the straight lines in space and in the latent space.
    With --all-atom also path-all-atom.pdb.

    Example: symplectic-cv path model --start md/trajectory.xtc:0 --end folded.pdb -o path
    """
    require_free(output)
    if scan is None and (start is None or end is None):
        raise OptionError("a path needs --start and --end (or --scan K, along mode K)")
    if scan is not None and (end is not None or refine):
        raise OptionError("--scan goes along one mode: it takes --start, but no --end or --refine")
    if scan is not None and modes:
        raise OptionError("--modes is for a path between two ends; --scan names its own mode")
    if forcefield and not all_atom:
        raise OptionError("--forcefield is for --all-atom")
    trained = load_model(model)
    first = None if start is None else _end(trained, start, top)
    others: dict[str, LatentPath] = {}
    if scan is not None:
        origin = None
        if first is not None:
            found = trained.double().collective_variables(torch.as_tensor(first))
            origin = found.detach().numpy()
        latent = scan_mode(trained, scan, reach, points, origin)
    else:
        assert first is not None
        assert end is not None
        last = _end(trained, end, top)
        latent = spherical_path(trained, first, last, points, modes or None)
        others["straight line"] = cartesian_path(trained, first, last, points)
        others["straight in the latent space"] = straight_latent_path(
            trained, latent.latent[0], latent.latent[-1], points
        )
        if refine:
            others["not refined"] = latent
            with progress_bar("refining", None, ""):
                latent = refine_path(trained, latent)
    torsions = find_torsions(trained.molecule)
    _require_structures(latent)
    _require_defined(latent, torsions)
    names = [torsion.name for torsion in torsions]
    angles = compute_torsions(latent.positions, torsions, trained.molecule)
    hydrogens = None
    if all_atom:
        from openmm_plugin.hydrogens import add_hydrogens

        with progress_bar("adding hydrogens", points, "structures") as bar:
            hydrogens = add_hydrogens(
                latent.positions, trained.molecule, forcefield or None, bar.advance
            )

    make_folder(output)
    _write_structures(
        output / "path.pdb",
        md.Trajectory(latent.positions.astype(np.float32), trained.molecule.topology),
    )
    if hydrogens is not None:
        _write_structures(output / "path-all-atom.pdb", hydrogens)
    direct = others.get("straight line")
    panels = plot_path(
        latent.log_likelihood,
        {name: way.log_likelihood for name, way in others.items()},
        angles,
        None if direct is None else _angles(direct, torsions, trained),
        names,
        scan=None if scan is None else (scan, latent.latent[:, scan]),
    )
    save_figure(panels, output / "path.png")
    _write_table(output / "path.csv", latent, angles, names)

    lowest = latent.log_likelihood.min()
    if direct is None:
        note(f"log-likelihood along mode {scan}: {lowest:.1f} nats at least")
    else:
        straight = direct.log_likelihood.min()
        note(
            f"lowest log-likelihood on the latent path: {lowest:.1f} nats; on the straight line: "
            f"{straight:.1f} nats ({lowest - straight:+.1f})"
        )
        within = others["straight in the latent space"].log_likelihood.min()
        note(f"on the straight line in the latent space: {within:.1f} nats")
    if refine:
        before = others["not refined"].log_likelihood
        note(
            f"the refinement changed the lowest by {lowest - before.min():+.1f} nats, the mean by "
            f"{latent.log_likelihood.mean() - before.mean():+.1f} nats"
        )
    note(
        f"ends: {latent.log_likelihood[0]:.1f} and {latent.log_likelihood[-1]:.1f} nats; "
        f"{points} structures in {output / 'path.pdb'}"
    )


def _end(model: NeuralCanonicalTransformation, spec: str, top: Path | None) -> np.ndarray:
    positions = read_structure(spec, model.molecule, top)
    require_same_handedness(positions, model.molecule, model.frame.reference.cpu().numpy(), spec)
    return positions


def _require_structures(way: LatentPath) -> None:
    """Raises FrameError where a latent point of the path is no structure."""
    lost = np.flatnonzero(~np.isfinite(way.log_likelihood))
    if len(lost):
        raise FrameError(
            f"point {lost[0]} of the path is no structure: a bond, an angle or a torsion goes "
            "beyond what the model knows; take ends nearer to one another, a smaller --reach, or a "
            "model with --chart cartesian"
        )


def _require_defined(way: LatentPath, torsions: list[Torsion]) -> None:
    """Raises FrameError where a torsion on the path has three atoms on a line."""
    undefined = undefined_torsions(way.positions, torsions)
    if undefined.any():
        point, which = (int(place[0]) for place in np.nonzero(undefined))
        raise FrameError(
            f"point {point} of the path: three atoms of {torsions[which].name} lie on a line, so "
            "that the torsion is undefined: the path leaves what the model knows; take ends nearer "
            "to one another, or --refine"
        )


def _angles(
    way: LatentPath, torsions: list[Torsion], model: NeuralCanonicalTransformation
) -> np.ndarray:
    """Torsions along a path to compare with, NaN where undefined, (P, T) in rad."""
    angles = compute_torsions(way.positions, torsions, model.molecule)
    angles[undefined_torsions(way.positions, torsions)] = np.nan
    return angles


def _write_structures(target: Path, structures: md.Trajectory) -> None:
    aside = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        structures.save_pdb(str(aside))
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def _write_table(target: Path, way: LatentPath, angles: np.ndarray, names: list[str]) -> None:
    n_modes = way.latent.shape[1]
    header = [
        "point",
        "log_likelihood_nats",
        *(f"mode_{mode}" for mode in range(n_modes)),
        *(f"{name}_deg" for name in names),
    ]
    values = np.column_stack([way.log_likelihood, way.latent, np.degrees(angles)])
    lines = [",".join(header)]
    for point, row in enumerate(values):
        lines.append(",".join([str(point), *(f"{value:.8g}" for value in row)]))
    write_atomically(target, ("\n".join(lines) + "\n").encode())
