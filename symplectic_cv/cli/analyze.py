"""`symplectic-cv analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np

from symplectic_cv.analysis import latent
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.data.torsions import find_torsions
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.model_folder import load_model, read_history
from symplectic_cv.reports.analysis_report import write_analysis_report


@with_threads
def analyze(
    model: o.ModelFolder,
    /,
    *trajectories: o.Trajectory,
    output: o.Output = Path("analysis"),
    top: o.Top = None,
    torsions: Annotated[
        list[str] | None,
        option(
            metavar="T [T...]",
            help="Torsions to compare the modes with: phi psi omega chi1 …, or NAME=i,j,k,l with"
            " atom numbers of the topology, counted from 1. Default: phi and psi where "
            "there are any.",
        ),
    ] = None,
    mdshare_folder: o.MdshareFolder = Path("mdshare"),
    mdshare_catalogue: o.MdshareCatalogue = None,
    seed: o.Seed = 0,
    threads: o.Threads = 1,
) -> None:
    """Report the frequencies of the modes and their mutual information with torsions.

    Maps every frame to the latent space of a trained model. Writes modes.csv (frequencies in
    rad/ps, slowest first), mutual_information.csv (nats), latent.npz, figures and report.html.

    Example: symplectic-cv analyze model md/trajectory.xtc -o analysis
    """
    require_free(output)
    trained = load_model(model)
    read_history(model)  # reports a damaged file before the work, not after
    found = find_torsions(trained.molecule, torsions or None)  # a wrong one too
    with progress_bar("reading", None, "frames") as bar:
        data = read_trajectories(
            list(trajectories),
            top,
            molecule=trained.molecule,
            mdshare_folder=mdshare_folder,
            mdshare_catalogue=mdshare_catalogue,
            progress=bar.advance,
        )
    if not found:
        note("no backbone torsion among the model's atoms: mutual information is left out")
    with progress_bar("modes and torsions", 100, "%") as bar:
        analysis = latent.analyze(
            trained, data, torsions or None, seed, lambda part: bar.to(round(100 * part))
        )
    health = analysis.frames.health
    if health.near_limit:
        warn(
            f"{data.locate(health.frame)}: the molecule nears the limit of its frame "
            f"(smallest det A is {health.smallest:.3f} of the median); modes may bend sharply there"
        )
    analysis.save(output)
    report = write_analysis_report(output, analysis, trained, model)

    slowest = ", ".join(f"{omega:.2f}" for omega in analysis.omega[:6])
    note(f"slowest frequencies: {slowest} rad/ps")
    for column, torsion in enumerate(found[:6]):
        information = analysis.mutual_information[:, column]
        best = int(np.argmax(information))
        note(f"{torsion.name}: mode {best} tells most of it, {information[best]:.2f} nats")
    note(f"report: {report}")
