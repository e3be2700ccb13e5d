"""`symplectic-cv path`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import mdtraj as md
import numpy as np
import torch
import typer

from symplectic_cv.analysis.figures import latent_path
from symplectic_cv.analysis.torsions import compute_torsions, find_torsions
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note
from symplectic_cv.molecule import Molecule
from symplectic_cv.output import make_folder, require_free
from symplectic_cv.paths import (
    LatentPath,
    cartesian_path,
    read_structure,
    require_same_handedness,
    spherical_path,
)
from symplectic_cv.storage import load_model, write_atomically


def path(
    model: o.ModelFolder,
    start: Annotated[
        str, typer.Option(metavar="S", help="PDB file, or TRAJ:FRAME counted from 0.")
    ],
    end: Annotated[str, typer.Option(metavar="E", help="PDB file, or TRAJ:FRAME counted from 0.")],
    points: Annotated[int, typer.Option(help="Structures on the path, both ends included.")] = 50,
    modes: Annotated[
        Optional[list[int]],
        typer.Option(
            metavar="K [K...]",
            help="Modes that move on their sphere, the others moving straight (default: all).",
        ),
    ] = None,
    output: o.Output = Path("path"),
    top: o.Top = None,
    threads: o.Threads = 1,
) -> None:
    """Draw a latent path between two conformations.

    Interpolates the scaled modes spherically: along the shell where their probability is, not
    through its unlikely inside. Writes path.pdb (a model per point, superposed), path.csv
    (log-likelihood in nats, scaled modes, torsions in degrees) and path.png, which compares the
    path with the straight line between the two structures.

    Example: symplectic-cv path model --start md/trajectory.xtc:0 --end folded.pdb -o path
    """
    torch.set_num_threads(threads)
    require_free(output)
    trained = load_model(model)
    first, last = (read_structure(spec, trained.molecule, top) for spec in (start, end))
    require_same_handedness(first, trained, start)
    require_same_handedness(last, trained, end)
    latent = spherical_path(trained, first, last, points, modes or None)
    straight = cartesian_path(trained, first, last, points)
    torsions = find_torsions(trained.molecule)
    names = [torsion.name for torsion in torsions]
    angles, straight_angles = (
        compute_torsions(way.positions, torsions, trained.molecule) for way in (latent, straight)
    )

    make_folder(output)
    _write_structures(output / "path.pdb", latent, trained.molecule)
    latent_path(
        output / "path.png",
        latent.log_likelihood,
        straight.log_likelihood,
        angles,
        straight_angles,
        names,
    )
    _write_table(output / "path.csv", latent, angles, names)

    lowest, direct = latent.log_likelihood.min(), straight.log_likelihood.min()
    note(
        f"lowest log-likelihood on the latent path: {lowest:.1f} nats; on the straight line: "
        f"{direct:.1f} nats ({lowest - direct:+.1f})"
    )
    note(
        f"ends: {latent.log_likelihood[0]:.1f} and {latent.log_likelihood[-1]:.1f} nats; "
        f"{points} structures in {output / 'path.pdb'}"
    )


def _write_structures(target: Path, way: LatentPath, molecule: Molecule) -> None:
    aside = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        md.Trajectory(way.positions.astype(np.float32), molecule.topology).save_pdb(str(aside))
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
