"""`symplectic-cv analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np

from symplectic_cv.analysis import analyze as analysing
from symplectic_cv.analysis.kinetics import KineticComparison
from symplectic_cv.analysis.latent import LatentFrames
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.model_folder import read_history
from symplectic_cv.models.torsion_folder import load_modes
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
    lag: Annotated[
        float | None,
        option(
            help="Lag in ps of the VAMP-2 scores and timescales on held-out time, for frames that "
            "are ordered in time. Default: a fifth of the relaxation time of mode 0."
        ),
    ] = None,
    kinetic_modes: Annotated[
        int,
        option(help="Number of slowest modes that are scored beside TICA and PCA."),
    ] = 2,
    strict: o.Strict = False,
    length_unit: o.LengthUnitOption = None,
    mdshare_folder: o.MdshareFolder = Path("mdshare"),
    mdshare_catalogue: o.MdshareCatalogue = None,
    seed: o.Seed = 0,
    threads: o.Threads = 1,
) -> None:
    """Report the frequencies of the modes and their mutual information with torsions.

    Evaluates the modes of a model in every frame. Writes modes.csv (frequencies in rad/ps, slowest
    first), modes_per_frame.csv (modes and torsions in degrees of each frame),
    mutual_information.csv (nats), latent.npz, figures and report.html. Where frames are
    ordered in time, the slowest modes are scored on the last third of each run, beside TICA, PCA
    and all torsions (kinetics.csv: VAMP-2 and implied timescales, with errors).

    Example: symplectic-cv analyze model md/trajectory.xtc -o analysis
    """
    require_free(output)
    trained = load_modes(model)
    read_history(model)  # reports a damaged file before the work, not after
    found = analysing.compared_torsions(trained, torsions or None)  # a wrong one too
    with progress_bar("reading", None, "frames") as bar:
        data = read_trajectories(
            list(trajectories),
            top,
            molecule=trained.molecule,
            mdshare_folder=mdshare_folder,
            mdshare_catalogue=mdshare_catalogue,
            progress=bar.advance,
            strict=strict,
            length_unit=length_unit,
        )
    if not found:
        note("no backbone torsion among the model's atoms: mutual information is left out")
    with progress_bar("modes and torsions", 100, "%") as bar:
        analysis = analysing.analyze(
            trained,
            data,
            torsions or None,
            seed,
            lambda part: bar.to(round(100 * part)),
            lag,
            kinetic_modes,
        )
    if isinstance(analysis.frames, LatentFrames) and analysis.frames.health.near_limit:
        health = analysis.frames.health
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
    if analysis.kinetics is None:
        note(f"kinetics are left out: {analysis.no_kinetics}")
    else:
        _tell_kinetics(analysis.kinetics)
    note(f"report: {report}")


def _tell_kinetics(found: KineticComparison) -> None:
    """Prints the scores on held-out time."""
    listed = ", ".join(
        f"{name} {score:.2f} ± {error:.2f}"
        for name, score, error in zip(found.names, found.vamp2, found.vamp2_error, strict=True)
    )
    note(f"VAMP-2 on held-out time, lag {found.lag_ps:.3g} ps: {listed}")
    times = zip(found.timescales[0, :2], found.timescale_error[0, :2], strict=True)
    seen = ", ".join(f"{t:.1f} ± {error:.1f}" for t, error in times if t > 0.0)
    note(f"timescales that the {found.n_modes} slowest modes see: {seen or 'none'} ps")
