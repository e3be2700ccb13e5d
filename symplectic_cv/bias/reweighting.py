"""Free energies of biased runs in torsions and distances, with errors and differences."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symplectic_cv.bias.biased_modes import modes_of_all
from symplectic_cv.bias.blocks import BLOCKS, block_of_frames
from symplectic_cv.bias.combined_runs import Combined, Weighting, combine
from symplectic_cv.bias.regions import Region
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.surfaces import BINS, Difference, Surface, difference, surface
from symplectic_cv.data.descriptors import Column, compute_columns
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.reports.figures import free_energy_surface
from symplectic_cv.reports.free_energy_figures import axis_label, free_energy_profiles

TRAJECTORY = "trajectory.xtc"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Reweighted:
    """All that `symplectic-cv reweight` writes down.

    Attributes:
        columns: descriptors of the kept frames.
        profiles: of each descriptor.
        planes: of pairs of descriptors.
        combined: which frames, and their weights.
        differences: free energy of each region less that of the first, kJ/mol.
        times: of the kept frames, ps.
        names: of the runs.
    """

    columns: list[Column]
    profiles: list[Surface]
    planes: list[Surface]
    combined: Combined
    differences: dict[str, Difference]
    times: np.ndarray
    names: list[str]


def read_runs(
    folders: Sequence[Path], top: Path | None, atoms: str | None, progress: Progress | None = None
) -> tuple[list[BiasedRun], TrajectoryData]:
    """Tables and trajectories of biased runs, checked against one another.

    Raises:
        OutputError: a folder without a run, or weights that do not match the frames.
        TrajectoryError: a trajectory or topology that is missing or damaged.
    """
    runs = [BiasedRun.read(folder) for folder in folders]
    files = [folder / TRAJECTORY for folder in folders]
    data = read_trajectories(files, top, atoms, progress=progress)
    for run, length in zip(runs, data.lengths, strict=True):
        run.require_frames(length)
    return runs, data


def reweight(
    runs: Sequence[BiasedRun],
    data: TrajectoryData,
    torsions: Sequence[str] | None = None,
    distances: Sequence[str] = (),
    regions: Sequence[Region] = (),
    weighting: Weighting = Weighting.MBAR,
    since_ps: Sequence[float] | None = None,
    strides: Sequence[int] | None = None,
    bins: int = BINS,
    blocks: int = BLOCKS,
    seed: int = 0,
) -> Reweighted:
    """Unbiased free energies of torsions and distances from one or several biased runs.

    Args:
        runs, data: from `read_runs`.
        torsions, distances: as `compute_columns` takes them.
        regions: free energies of the others are given relative to the first.
        weighting: how the bias is taken out.
        since_ps: first time of each run to use; the end of its transient where None.
        strides: every how many frames of each run to use; all where None.
        bins: along each descriptor.
        blocks: of time, for the errors.
        seed: of the resamples.

    Raises:
        OptionError: descriptors or regions that do not exist, or strides that do not fit.
    """
    columns = compute_columns(data.positions, data.molecule, torsions, distances)
    if not columns:
        raise OptionError(
            "nothing to draw a free energy along: name --torsions or --distances of these atoms"
        )
    known = {column.name for column in columns}
    for region in regions:
        unknown = sorted(set(region.ends) - known)
        if unknown:
            raise OptionError(
                f"--regions {region.name}: {unknown[0]} is no descriptor here; there are "
                f"{', '.join(sorted(known))}"
            )
    modes = modes_of_all(runs, data) if weighting is Weighting.MBAR and len(runs) > 1 else None
    combined = combine(runs, modes, since_ps, weighting)
    if strides is not None:
        combined = combined.thinned(strides)
    masks = {region.name: region.holds(columns) for region in regions}
    return free_energies(runs, combined, columns, planes_of(columns), masks, bins, blocks, seed)


def free_energies(
    runs: Sequence[BiasedRun],
    combined: Combined,
    columns: Sequence[Column],
    planes: Sequence[tuple[int, int]],
    masks: Mapping[str, np.ndarray],
    bins: int = BINS,
    blocks: int = BLOCKS,
    seed: int = 0,
) -> Reweighted:
    """Free energies along each column and each plane of two, from frames with known weights.

    Args:
        runs: the frames' own.
        combined: which frames, and their weights.
        columns: descriptors of all frames of all runs.
        planes: pairs of columns.
        masks: regions as masks of all frames; the others are compared with the first.
        bins, blocks, seed: as for `reweight`.
    """
    columns = [Column(c.name, c.unit, c.values[combined.kept], c.periodic) for c in columns]
    inside = {name: mask[combined.kept] for name, mask in masks.items()}
    kt, labels = runs[0].record.kt, block_of_frames(combined.lengths, blocks)

    def along(*chosen: Column) -> Surface:
        return surface(
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
            name: difference(inside[name], inside[names[0]], combined.weights, kt, labels, seed)
            for name in names[1:]
        },
        times=np.concatenate([run.colvar.time_ps for run in runs])[combined.kept],
        names=[str(run.folder) for run in runs],
    )


def planes_of(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """Pairs worth a plane: phi and psi of each residue, or the only two there are."""
    if len(columns) == 2:
        return [(0, 1)]
    place = {column.name: k for k, column in enumerate(columns)}
    return [
        (k, place["psi" + name[3:]])
        for name, k in place.items()
        if name.startswith("phi") and "psi" + name[3:] in place
    ]


def write_reweighted(folder: Path, result: Reweighted, weighting: Weighting) -> None:
    """Writes frames.csv, free_energy.csv, free_energy.npz, figures and summary.json, which is last.

    Raises:
        OutputError: the folder cannot be made.
    """
    make_folder(folder)
    _write_frames(folder / "frames.csv", result)
    lines = ["descriptor,value,free_energy_kj_per_mol,standard_error_kj_per_mol,frames"]
    arrays: dict[str, Any] = {}
    for profile, column in zip(result.profiles, result.columns, strict=True):
        arrays[column.name] = profile.axes[0]
        rows = zip(profile.axes[0], profile.free_energy, profile.error, profile.frames, strict=True)
        lines += [f"{column.name},{x:.6g},{f:.6g},{e:.4g},{n}" for x, f, e, n in rows]
    for found in [*result.profiles, *result.planes]:
        name = ",".join(found.names)
        arrays[f"free_energy:{name}"] = found.free_energy
        arrays[f"error:{name}"] = found.error
    write_atomically(folder / "free_energy.csv", ("\n".join(lines) + "\n").encode())
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(folder / "free_energy.npz", buffer.getvalue())
    draw_reweighted(folder, result)
    summary = {
        "runs": result.names,
        "weighting": weighting.value,
        "since_ps": result.combined.since_ps,
        "strides": result.combined.strides,
        "frames": np.bincount(result.combined.run).tolist(),
        "effective_frames": result.combined.effective_frames,
        "units": {column.name: column.unit for column in result.columns},
        "differences_kj_per_mol": {
            name: {"value": d.value, "standard_error": d.error, "half_95_percent": d.interval}
            if np.isfinite(d.error)
            else None
            for name, d in result.differences.items()
        },
    }
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())


def draw_reweighted(folder: Path, result: Reweighted) -> list[Path]:
    """The figures; their paths."""
    units = {column.name: column.unit for column in result.columns}
    paths = [folder / "profiles.png"]
    free_energy_profiles(paths[0], result.profiles, [column.unit for column in result.columns])
    for plane in result.planes:
        path = folder / f"plane_{'_'.join(plane.names)}.png"
        axes = [
            np.degrees(axis) if units[name] == "rad" else axis
            for name, axis in zip(plane.names, plane.axes, strict=True)
        ]
        labels = [axis_label(name, units[name]) for name in plane.names]
        free_energy_surface(path, axes, plane.free_energy, labels, binned=True)
        paths.append(path)
    return paths


def _write_frames(path: Path, result: Reweighted) -> None:
    run = result.combined.run
    lines = ["run,time_ps," + ",".join(c.name for c in result.columns) + ",weight"]
    values = np.stack([column.values for column in result.columns], 1)
    for r, time, row, weight in zip(
        run, result.times, values, result.combined.weights, strict=True
    ):
        cells = ",".join(f"{value:.6g}" for value in row)
        lines.append(f"{r},{time:.8g},{cells},{weight:.6g}")
    write_atomically(path, ("\n".join(lines) + "\n").encode())
