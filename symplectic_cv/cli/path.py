"""`symplectic-cv path`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.cli.options import option
from symplectic_cv.cli.threads import with_threads
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.model_folder import open_molecular_model
from symplectic_cv.models.torsion_folder import load_modes
from symplectic_cv.paths.latent_path import LatentPath, write_structures
from symplectic_cv.paths.path import ComparedPaths, compare_paths, read_end
from symplectic_cv.paths.strings import scan_mode
from symplectic_cv.reports.path_figures import draw_path


@with_threads
def path(
    model: o.ModelFolder,
    /,
    *,
    start: Annotated[
        str | None,
        option(
            metavar="S",
            help="Structure at the start: a PDB file, or TRAJ:FRAME with frames counted from 0.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        option(
            metavar="E",
            help="Structure at the end: a PDB file, or TRAJ:FRAME with frames counted from 0.",
        ),
    ] = None,
    points: Annotated[
        int, option(help="Number of structures along the path, both ends included.")
    ] = 50,
    modes: Annotated[
        list[int] | None,
        option(
            metavar="K [K...]",
            help="Modes that are interpolated on a sphere; the others are interpolated linearly."
            " Default: all modes on a sphere.",
        ),
    ] = None,
    refine: Annotated[
        bool, option("--refine", help="Move the path to the most likely path nearby.")
    ] = False,
    scan: Annotated[
        int | None,
        option(
            metavar="K",
            help="Move mode K alone from one side to the other, instead of a path between two "
            "structures. The other modes stay as in --start, or at 0.",
        ),
    ] = None,
    reach: Annotated[
        float,
        option(help="How far --scan goes to either side, in standard deviations of the mode."),
    ] = 2.5,
    all_atom: Annotated[
        bool,
        option(
            "--all-atom",
            help="Also write all-atom structures: OpenMM adds hydrogens and relaxes them around "
            "the heavy atoms.",
        ),
    ] = False,
    forcefield: Annotated[
        list[str] | None,
        option(
            metavar="XML [XML...]",
            help="Force-field files for --all-atom. Default: Amber ff99SB-ILDN.",
        ),
    ] = None,
    output: o.Output = Path("path"),
    top: o.Top = None,
    threads: o.Threads = 1,
) -> None:
    """Draw a latent path between two conformations, or along one mode.

    Interpolates the scaled modes on a sphere, so that the path stays in the shell where they are
    probable. With --scan one mode moves alone. Writes path.pdb (a model per point, superposed),
    path.csv (log-likelihood in nats, scaled modes, torsions in degrees) and path.png, which
    compares the path with the straight lines in space and in the latent space. With --all-atom it
    also writes path-all-atom.pdb.

    Example: symplectic-cv path model --start md/trajectory.xtc:0 --end folded.pdb -o path
    """
    require_free(output)
    if scan is None and (start is None or end is None):
        raise OptionError("a path needs `start` and `end` (or `scan`, a mode to go along)")
    if scan is not None and (end is not None or refine):
        raise OptionError(
            "`scan` goes along one mode: it takes `start`, but neither `end` nor `refine`"
        )
    if scan is not None and modes:
        raise OptionError("`modes` is for a path between two ends; `scan` names its own mode")
    if forcefield and not all_atom:
        raise OptionError("`forcefield` is for `all_atom`")
    network = load_modes(model)
    compared = None
    if scan is not None:
        density = open_molecular_model(network)
        origin = None if start is None else read_end(density, start, top)
        found = scan_mode(density, scan, reach, points, origin)
    else:
        assert start is not None
        assert end is not None
        with progress_bar("refining", None, "") if refine else nullcontext():
            compared = compare_paths(network, start, end, points, modes or None, refine, top)
        found = compared.path
    hydrogens = None
    if all_atom:
        from openmm_plugin.hydrogens import add_hydrogens

        with progress_bar("adding hydrogens", points, "structures") as bar:
            hydrogens = add_hydrogens(
                found.positions, network.molecule, forcefield or None, bar.advance
            )
    found.save(output)
    if hydrogens is not None:
        write_structures(output / "path-all-atom.pdb", hydrogens)
    draw_path(output, found, compared, scan)
    _report(found, compared, scan)
    note(
        f"ends: {found.log_likelihood[0]:.1f} and {found.log_likelihood[-1]:.1f} nats; "
        f"{points} structures in {output / 'path.pdb'}"
    )


def _report(found: LatentPath, compared: ComparedPaths | None, scan: int | None) -> None:
    lowest = found.log_likelihood.min()
    if compared is None:
        note(f"log-likelihood along mode {scan}: {lowest:.1f} nats at least")
        return
    straight = compared.straight.log_likelihood.min()
    note(
        f"lowest log-likelihood on the latent path: {lowest:.1f} nats; on the straight line: "
        f"{straight:.1f} nats ({lowest - straight:+.1f})"
    )
    within = compared.straight_latent.log_likelihood.min()
    note(f"on the straight line in the latent space: {within:.1f} nats")
    if compared.unrefined is not None:
        before = compared.unrefined.log_likelihood
        note(
            f"the refinement changed the lowest by {lowest - before.min():+.1f} nats, the mean by "
            f"{found.log_likelihood.mean() - before.mean():+.1f} nats"
        )
