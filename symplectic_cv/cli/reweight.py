"""`symplectic-cv reweight`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from symplectic_cv.bias import reweighting
from symplectic_cv.bias.combined_runs import Weighting
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.surfaces import BINS
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note, progress_bar, warn
from symplectic_cv.cli.options import argument, option
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.reports.reweighting_report import draw_reweighted

FEW_EFFECTIVE = 200
"""Below this number of effective frames a free energy is unreliable."""


def reweight(
    *runs: Annotated[
        Path,
        argument("RUN", required=True, help="Folders of biased runs of the same molecule."),
    ],
    output: o.Output = Path("reweight"),
    top: Annotated[
        Path | None,
        option("--top", help="Topology file. Default: the one beside the first trajectory."),
    ] = None,
    atoms: o.Atoms = None,
    torsions: Annotated[
        list[str] | None,
        option(
            metavar="T [T...]",
            help="Torsions: phi psi omega chi1 …, or NAME=i,j,k,l with atom numbers from 1. "
            "Default: backbone phi and psi.",
        ),
    ] = None,
    distances: Annotated[
        list[str] | None,
        option(
            metavar="D [D...]",
            help="Distances: NAME=i,j with atom numbers from 1, or ALA2-CA:ALA2-O.",
        ),
    ] = None,
    regions: Annotated[
        list[str] | None,
        option(
            metavar="R [R...]",
            help="Regions whose free energies are compared with the first, in degrees and nm: "
            "C7eq=phi:-150:0 C7ax=phi:30:130,psi:-130:30.",
        ),
    ] = None,
    method: Annotated[
        Weighting,
        option(
            help="How frames are weighted: mbar combines all runs by MBAR, running weights each "
            "frame by its bias and c(t)."
        ),
    ] = Weighting.MBAR,
    skip_ps: Annotated[
        float | None,
        option(
            help="Time in ps that is left out at the start of each run. Default: its transient."
        ),
    ] = None,
    stride: Annotated[
        list[int] | None,
        option(
            metavar="N [N...]",
            help="Take every Nth frame, one number for all runs or one for each. Take fewer "
            "frames of runs that hardly cross between states; adapt writes its strides to "
            "free_energy/summary.json.",
        ),
    ] = None,
    bins: Annotated[
        int,
        option(at_least=2, at_most=720, help="Number of bins per torsion or distance, 2 to 720."),
    ] = BINS,
    seed: o.Seed = 0,
) -> None:
    """Compute free energies of biased runs in torsions and distances, with errors.

    Removes the bias from every frame. Several runs, also of different modes, are combined by MBAR.
    Errors come from blocks of time. Writes frames.csv (weights), free_energy.csv, free_energy.npz,
    summary.json and figures.

    Example: symplectic-cv reweight metadynamics --top md/topology.pdb --torsions phi psi
    """
    require_free(output)
    read = [BiasedRun.read(folder) for folder in runs]
    with progress_bar("reading", None, "frames") as bar:
        result = reweighting.reweight(
            read,
            top,
            atoms,
            torsions,
            distances or [],
            regions or [],
            method,
            skip_ps,
            stride,
            bins,
            seed,
            progress=bar.advance,
        )
    result.save(output)
    draw_reweighted(output, result)
    for run, since in zip(read, result.combined.since_ps, strict=True):
        time = run.frames.time_ps
        note(f"{run.folder}: the first {since - time.min():.0f} of {time.max():.0f} ps left out")
    effective = result.effective_frames
    note(f"{len(result.combined.weights)} frames, {effective:.0f} effective")
    if effective < FEW_EFFECTIVE:
        warn(f"{effective:.0f} effective frames are few: run longer, or bias other modes")
    for name, found in result.differences.items():
        note(
            f"G({name}) − G({result.reference}) = {found.value:.2f} ± {found.error:.2f} kJ/mol "
            f"(standard error; 95 %: ± {found.interval:.2f})"
        )
    note(f"free energies: {output / 'free_energy.csv'}, {output / 'profiles.png'}")
