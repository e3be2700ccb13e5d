"""Free energies of biased runs in torsions and distances, with errors and differences."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symplectic_cv.analysis.descriptors import Column, compute_columns
from symplectic_cv.analysis.figures import free_energy_surface
from symplectic_cv.analysis.free_energy_figures import axis_label, free_energy_profiles
from symplectic_cv.analysis.surfaces import BINS, Difference, Surface, difference, surface
from symplectic_cv.bias.blocks import BLOCKS, block_of_frames
from symplectic_cv.bias.combine import Combined, Weighting, combine
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.compiled import core_problem
from symplectic_cv.core import load_core
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import OptionError
from symplectic_cv.molecule import Molecule
from symplectic_cv.output import make_folder
from symplectic_cv.storage import write_atomically
from symplectic_cv.torchscript import load_exported

TRAJECTORY, CV = "trajectory.xtc", "cv.pt"
_REGION = re.compile(r"([\w'+-]+)=(.+)")
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Region:
    """A box in descriptors: for each its name and its two ends, in degrees or nm."""

    name: str
    ends: dict[str, tuple[float, float]]

    def holds(self, columns: Sequence[Column]) -> np.ndarray:
        """Frames inside, (F,); a torsion may run across ±180 degrees."""
        inside = np.ones(len(columns[0].values), dtype=bool)
        for column in columns:
            if column.name in self.ends:
                low, high = self.ends[column.name]
                shown = np.degrees(column.values) if column.unit == "rad" else column.values
                above, below = shown >= low, shown <= high
                inside &= (above & below) if low <= high else (above | below)
        return inside


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


def modes_of_all(runs: Sequence[BiasedRun], data: TrajectoryData) -> list[np.ndarray]:
    """The biased modes of each run on the frames of all, through each run's own exported file."""
    found = []
    first = 0
    for run, length in zip(runs, data.lengths, strict=True):
        exported = _Exported.read(run.folder)
        values = exported.values(data.positions[:, exported.places_in(data.molecule)])
        # as the simulation had them, not as the rounded frames of the file give them back
        values[first : first + length] = run.colvar.modes
        first += length
        found.append(values)
    return found


@dataclass(frozen=True)
class _Exported:
    """The exported modes of a run: through the native core where it is compiled, else torch.

    Attributes:
        name: of the file.
        indices: places of the modelled atoms in the system, (N,).
        values: modes (F, n) of whole frames (F, N, 3) in nm of these atoms.
    """

    name: str
    indices: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def read(cls, folder: Path) -> _Exported:
        """Raises ModelError where there is no exported file, or a damaged one."""
        native = (folder / CV).with_suffix(".safetensors")
        if native.is_file() and core_problem() is None:
            core = load_core(native)
            return cls(str(native), core.indices, lambda x: core.values(x, selected=True))
        module, metadata = load_exported(folder / CV)
        indices = Molecule.from_json(metadata["molecule"]).indices

        @torch.no_grad()
        def values(positions: np.ndarray) -> np.ndarray:
            whole = torch.zeros(int(indices.max()) + 1, 3, dtype=torch.float64)
            rows = []
            for frame in torch.as_tensor(positions, dtype=torch.float64):
                whole[torch.as_tensor(indices)] = frame
                rows.append(module(whole))
            return torch.stack(rows).numpy()

        return cls(str(folder / CV), indices, values)

    def places_in(self, molecule: Molecule) -> list[int]:
        """Where its atoms are among those of `molecule`; raises OptionError for one left out."""
        place = {int(index): k for k, index in enumerate(molecule.indices)}
        for index in self.indices:
            if int(index) not in place:
                raise OptionError(
                    f"{self.name}: its model needs atom {int(index) + 1}, which is left out: "
                    "choose more with --atoms"
                )
        return [place[int(index)] for index in self.indices]


def reweight(
    runs: Sequence[BiasedRun],
    data: TrajectoryData,
    torsions: Sequence[str] | None = None,
    distances: Sequence[str] = (),
    regions: Sequence[Region] = (),
    weighting: Weighting = Weighting.MBAR,
    since_ps: Sequence[float] | None = None,
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
        bins: along each descriptor.
        blocks: of time, for the errors.
        seed: of the resamples.

    Raises:
        OptionError: descriptors or regions that do not exist.
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


def parse_regions(definitions: Sequence[str]) -> list[Region]:
    """Regions from `NAME=phi:-150:0,psi:0:180`, degrees for torsions, nm for distances.

    Args:
        definitions: one per region.

    Raises:
        OptionError: a text that is no region, or a name used twice.

    Example:
        >>> parse_regions(["near=ends:0.5:0.7", "far=ends:0.7:2"])[0]
        Region(name='near', ends={'ends': (0.5, 0.7)})
    """
    found: list[Region] = []
    for definition in definitions:
        match = _REGION.fullmatch(definition)
        ends: dict[str, tuple[float, float]] = {}
        try:
            if match is None:
                raise ValueError
            for part in match[2].split(","):
                name, low, high = part.split(":")
                ends[name] = (float(low), float(high))
                if not np.isfinite(ends[name]).all():
                    raise ValueError
        except ValueError as error:
            raise OptionError(
                f"--regions {definition}: not a region; an example: "
                "--regions C7eq=phi:-150:0 C7ax=phi:30:130"
            ) from error
        if match[1] in (region.name for region in found):
            raise OptionError(f"--regions: {match[1]} is defined twice")
        found.append(Region(match[1], ends))
    if len(found) == 1:
        raise OptionError("--regions takes two or more: free energies are relative to the first")
    return found


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
        free_energy_surface(path, axes, plane.free_energy, labels)
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
