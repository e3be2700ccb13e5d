"""Unbiased free energies of biased runs, along torsions and distances, with errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mdtraj as md
import numpy as np

from symplectic_cv.bias.biased_modes import modes_of_all
from symplectic_cv.bias.blocks import BLOCKS, block_of_frames
from symplectic_cv.bias.combined_runs import CombinedRuns, Weighting, combine_runs
from symplectic_cv.bias.regions import Region, parse_regions
from symplectic_cv.bias.reweighted import Reweighted
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.surfaces import (
    BINS,
    BinnedSurface,
    binned_surface,
    region_difference,
)
from symplectic_cv.checks import choose
from symplectic_cv.data.descriptors import Column, compute_columns
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import OptionError

TRAJECTORY = "trajectory.xtc"


def reweight(
    runs: str | Path | BiasedRun | Sequence[str | Path | BiasedRun],
    topology: str | Path | md.Topology | None = None,
    atoms: str | None = None,
    torsions: str | Sequence[str] | None = None,
    distances: str | Sequence[str] = (),
    regions: Sequence[str | Region] = (),
    method: str | Weighting = Weighting.MBAR,
    skip_ps: float | None = None,
    stride: int | Sequence[int] | None = None,
    bins: int = BINS,
    seed: int = 0,
    blocks: int = BLOCKS,
    progress: Callable[[int], None] | None = None,
) -> Reweighted:
    """Unbiased free energies of one or several biased runs, along torsions and distances.

    Several runs are combined by MBAR. They may bias different modes of different models, but
    they must be of the same molecule at the same temperature.

    Args:
        runs: The folders of biased runs, or `BiasedRun` objects; one or several.
        topology: The topology of the trajectories; found beside the first trajectory where None.
        atoms: MDTraj selection of the atoms to read; the heavy atoms of the solute where None.
        torsions: Torsions by kind (`phi`, `psi`, `omega`, `chi1`, …) or as `NAME=i,j,k,l` with
            atom numbers from 1; the backbone's phi and psi where None.
        distances: Distances as `NAME=i,j` with atom numbers from 1, or as `ALA2-CA:ALA2-O`.
        regions: Boxes such as `C7eq=phi:-150:0` (degrees, nm); each region's free energy is
            given relative to that of the first.
        method: `mbar`, or `running` for weights exp((V − c)/kT) of the bias each frame felt.
        skip_ps: The time to leave out at the start of each run, ps; the transient that is found in
            the run's bias where None.
        stride: The stride of the frames that are used: one number for all runs, or one for each.
            Runs that rarely cross between states need a larger stride, which
            `symplectic_cv.adaptation.judging.thinning_strides` computes.
        bins: The number of bins along each descriptor.
        seed: The seed of the bootstrap resamples behind the errors.
        blocks: The number of blocks of time that the errors are estimated from.
        progress: A function that is called with the number of frames just read.

    Returns:
        Profiles, planes and differences with standard errors; `.save(folder)` writes them.

    Raises:
        OptionError: An unknown `method`, or descriptors, regions or strides that do not fit.
        OutputError: A folder without a run, or weights that do not match the frames.
        TrajectoryError: A trajectory or topology that is missing or damaged.
    """
    weighting = choose(Weighting, method, "method")
    torsions = [torsions] if isinstance(torsions, str) else torsions
    distances = [distances] if isinstance(distances, str) else distances
    boxes = _boxes(regions)
    read, data = read_runs(runs, topology, atoms, progress)
    columns = compute_columns(data.positions, data.molecule, torsions, distances)
    if not columns:
        raise OptionError(
            "nothing to draw a free energy along: name `torsions` or `distances` of these atoms"
        )
    known = {column.name for column in columns}
    for region in boxes:
        unknown = sorted(set(region.ends) - known)
        if unknown:
            raise OptionError(
                f"`regions` {region.name}: {unknown[0]} is no descriptor here; there are "
                f"{', '.join(sorted(known))}"
            )
    modes = modes_of_all(read, data) if weighting is Weighting.MBAR and len(read) > 1 else None
    combined = combine_runs(read, modes, _since_ps(read, skip_ps), weighting)
    if stride is not None:
        strides = [stride] if isinstance(stride, int) else list(stride)
        combined = combined.thinned(strides * len(read) if len(strides) == 1 else strides)
    masks = {region.name: region.holds(columns) for region in boxes}
    return free_energies(
        read, combined, columns, planes_of(columns), masks, bins, blocks, seed, weighting
    )


def read_runs(
    runs: str | Path | BiasedRun | Sequence[str | Path | BiasedRun],
    topology: str | Path | md.Topology | None = None,
    atoms: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[BiasedRun], TrajectoryData]:
    """Reads tables and trajectories of biased runs and checks them against one another.

    Args:
        runs: The folders or `BiasedRun` objects, one or several.
        topology: The topology of the trajectories; found beside the first trajectory where None.
        atoms: MDTraj selection of the atoms to read; the heavy atoms of the solute where None.
        progress: A function that is called with the number of frames just read.

    Raises:
        OutputError: A folder without a run, or weights that do not match the frames.
        TrajectoryError: A trajectory or topology that is missing or damaged.
    """
    given = [runs] if isinstance(runs, str | Path | BiasedRun) else runs
    read = [run if isinstance(run, BiasedRun) else BiasedRun.read(run) for run in given]
    files = [run.folder / TRAJECTORY for run in read]
    data = read_trajectories(files, topology, atoms, progress=progress)
    for run, length in zip(read, data.lengths, strict=True):
        run.require_frames(length)
    return read, data


def free_energies(
    runs: Sequence[BiasedRun],
    combined: CombinedRuns,
    columns: Sequence[Column],
    planes: Sequence[tuple[int, int]],
    masks: Mapping[str, np.ndarray],
    bins: int = BINS,
    blocks: int = BLOCKS,
    seed: int = 0,
    method: Weighting = Weighting.MBAR,
) -> Reweighted:
    """Free energies along each column and in planes of two, from frames with known weights.

    Args:
        runs: The runs that the frames belong to, in the frames' order.
        combined: The kept frames and their weights.
        columns: The descriptors of all frames of all runs, each with F_all values.
        planes: Pairs of columns, by their places in `columns`.
        masks: Regions as masks of all frames, (F_all,) each; each is compared with the first.
        bins: The number of bins along each descriptor.
        blocks: The number of blocks of time that the errors are estimated from.
        seed: The seed of the bootstrap resamples behind the errors.
        method: The weighting of `combined`, for the record.
    """
    columns = [Column(c.name, c.unit, c.values[combined.kept], c.periodic) for c in columns]
    inside = {name: mask[combined.kept] for name, mask in masks.items()}
    kt, labels = runs[0].record.kt, block_of_frames(combined.lengths, blocks)

    def along(*chosen: Column) -> BinnedSurface:
        return binned_surface(
            np.stack([column.values for column in chosen], 1),
            combined.weights,
            [column.range for column in chosen],
            [column.name for column in chosen],
            kt,
            labels,
            bins,
            seed,
        )

    names = list(inside)
    return Reweighted(
        columns=columns,
        profiles=[along(column) for column in columns],
        planes=[along(columns[i], columns[j]) for i, j in planes],
        combined=combined,
        differences={
            name: region_difference(
                inside[name], inside[names[0]], combined.weights, kt, labels, seed
            )
            for name in names[1:]
        },
        times=np.concatenate([run.frames.time_ps for run in runs])[combined.kept],
        names=[str(run.folder) for run in runs],
        method=method,
        reference=names[0] if names else None,
    )


def planes_of(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """Pairs of columns that are drawn as planes, by their places.

    These are phi and psi of each residue; where there are two columns only, both of them.
    """
    if len(columns) == 2:
        return [(0, 1)]
    place = {column.name: k for k, column in enumerate(columns)}
    return [
        (k, place["psi" + name[3:]])
        for name, k in place.items()
        if name.startswith("phi") and "psi" + name[3:] in place
    ]


def _boxes(regions: Sequence[str | Region]) -> list[Region]:
    """Regions as they are, or parsed from their texts."""
    texts = [region for region in regions if isinstance(region, str)]
    if texts and len(texts) < len(regions):
        raise OptionError("`regions` mix texts and `Region` objects: give one kind")
    return parse_regions(texts) if texts else [r for r in regions if isinstance(r, Region)]


def _since_ps(runs: Sequence[BiasedRun], skip_ps: float | None) -> list[float] | None:
    """The first time to use of each run, ps; None where the transients are to be found."""
    if skip_ps is None:
        return None
    since_ps = [float(run.frames.time_ps.min()) + skip_ps for run in runs]
    for run, since in zip(runs, since_ps, strict=True):
        if since > run.frames.time_ps.max():
            raise OptionError(
                f"`skip_ps` {skip_ps:g} leaves nothing of {run.folder}, which has "
                f"{run.frames.time_ps.max():g} ps"
            )
    return since_ps
