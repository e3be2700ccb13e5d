"""The free energy of a biased run in its own modes, its error, and whether it has converged.

Two estimates: from the bias itself, F = −γ/(γ−1) V, and from the frames by their weights, which
comes with an error from blocks of time. Where they disagree, the run is too short.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from symplectic_cv.bias.basins import BARRIER, find_basins
from symplectic_cv.bias.blocks import block_of_frames, log_ratio_error, log_share_error
from symplectic_cv.bias.free_energy import SURFACE
from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.plumed_tables import write_plumed_tables
from symplectic_cv.bias.run import OPES, BiasedFrames, BiasedRun, BiasRecord
from symplectic_cv.bias.well_tempered import free_energy, known_free_energy
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.tables import write_table

CONVERGENCE = "convergence.csv"
CONVERGENCE_HEADER = [
    "time_ps",
    "from_bias_kj_per_mol",
    "from_weights_kj_per_mol",
    "error_kj_per_mol",
]
TRANSIENT = 0.2
"""The share of frames at the start that the weighted estimate leaves out, because the bias still
changes quickly there."""
BLOCKS = 10
TIMES = 40
"""Points of the convergence curve."""
NEAR = 0.1
"""Smallest density that counts as seen, over the density that one frame adds at its own place."""


@dataclass(frozen=True)
class Convergence:
    """ΔF = F(second basin) − F(deepest basin) over time, all (T,), in kJ/mol.

    Attributes:
        time_ps: The time in ps.
        from_bias: ΔF from the bias at that time; NaN for OPES.
        from_weights: ΔF from the weights of the frames up to that time; NaN while a basin is
            unseen.
        error: The standard error of `from_weights`, from blocks; NaN while too few blocks
            hold a basin.
    """

    time_ps: np.ndarray
    from_bias: np.ndarray
    from_weights: np.ndarray
    error: np.ndarray


def weighted_surface(
    frames: BiasedFrames, record: BiasRecord, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Free energy on the grid from weighted frames, and its standard error, in kJ/mol.

    Every frame counts as a Gaussian of half the hills' width. The error of −kT ln p comes from
    resampled blocks of time of each walker.

    Args:
        frames: The frames of the run, with their weights.
        record: The record of the bias, with its grid and temperature.
        seed: The seed of the resamples.

    Returns:
        F, whose least value is 0, and its error. Both are infinite where no frame came near. The
        error is also infinite where too few blocks came near.
    """
    settled, blocks = settled_blocks(frames)
    grid = record.grid
    places = grid_places(grid, settled.modes)
    flat = np.ravel_multi_index(places, grid.shape)
    n_blocks = int(blocks.max()) + 1
    size = int(np.prod(grid.shape))
    steps = [axis[1] - axis[0] for axis in grid.axes]
    blur = [0.5 * width / step for width, step in zip(record.widths, steps, strict=True)]
    density = np.empty((n_blocks, size))
    for block in range(n_blocks):
        mine = blocks == block
        counted = np.bincount(flat[mine], settled.weight[mine], size).reshape(grid.shape)
        density[block] = gaussian_filter(counted, blur, mode="constant").ravel()
    total = density.sum(0)
    visits = np.bincount(flat, minlength=size).astype(np.float64).reshape(grid.shape)
    alone = 1.0 / np.prod(np.sqrt(2.0 * np.pi) * np.maximum(blur, 0.4))
    seen = (gaussian_filter(visits, blur, mode="constant").ravel() > NEAR * alone) & (total > 0)
    with np.errstate(divide="ignore"):
        surface = np.where(seen, -record.kt * np.log(total / total.sum()), np.inf)
    error = np.full(size, np.inf)
    error[seen] = record.kt * log_share_error(density[:, seen], seed)
    error[np.isnan(error)] = np.inf
    return (surface - surface.min()).reshape(grid.shape), error.reshape(grid.shape)


def settled_blocks(
    frames: BiasedFrames, transient: float = TRANSIENT
) -> tuple[BiasedFrames, np.ndarray]:
    """The frames after the transient of each walker, and the block of time of each frame.

    Args:
        frames: The frames of a run.
        transient: The part of the frames of each walker that is left out at its start.
    """
    keep, blocks = _blocks(frames, transient)
    return frames[keep], blocks


def _blocks(frames: BiasedFrames, transient: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask of the frames after the transients, (F,), and the blocks of those frames."""
    keep = np.zeros(len(frames), dtype=bool)
    blocks = np.zeros(len(frames), dtype=np.int64)
    walkers = np.unique(frames.walker)
    per_walker = max(2, -(-BLOCKS // len(walkers)))
    for place, walker in enumerate(walkers):
        rows = np.flatnonzero(frames.walker == walker)
        rows = rows[int(transient * len(rows)) :]
        keep[rows] = True
        blocks[rows] = place * per_walker + block_of_frames([len(rows)], per_walker)
    used, renumbered = np.unique(blocks[keep], return_inverse=True)
    assert len(used) > 0
    return keep, renumbered


def grid_places(grid: BiasGrid, modes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of the grid points nearest to modes (F, n)."""
    return tuple(
        np.clip(np.rint((column - axis[0]) / (axis[1] - axis[0])), 0, len(axis) - 1).astype(int)
        for column, axis in zip(np.asarray(modes).T, grid.axes, strict=True)
    )


def convergence(run: BiasedRun, surface: np.ndarray, seed: int = 0) -> Convergence | None:
    """Convergence of the difference between the two deepest basins of the surface.

    Args:
        surface: The free energy on the run's grid, kJ/mol.

    Returns:
        None where the surface has but one basin.
    """
    record, frames = run.record, run.frames
    kt = record.kt
    basins = find_basins(surface, BARRIER * kt)
    if basins.max() < 1:
        return None
    of_frame = basins[grid_places(record.grid, frames.modes)]
    times = np.linspace(0.0, frames.time_ps.max(), TIMES + 1)[1:]
    columns = np.full((3, TIMES), np.nan)
    bias, taken = np.zeros(record.grid.shape), 0
    for k, time in enumerate(times):
        if run.hill_list is not None:
            until = int(np.searchsorted(run.hill_list.time_ps, time, side="right"))
            bias = bias + run.hill_list[taken:until].on_grid(record.grid)
            taken = until
            scaled = record.bias_factor / (record.bias_factor - 1.0) * bias / kt
            # of both basins alike; without it the exponential overflows
            population = np.exp(scaled - scaled.max())
            columns[0, k] = _difference(
                population[basins == 0].sum(), population[basins == 1].sum(), kt
            )
        rows = np.flatnonzero(frames.time_ps <= time)
        if len(rows) < 2 * BLOCKS:
            continue
        keep, blocks = _blocks(frames[rows], TRANSIENT)
        n_blocks = int(blocks.max()) + 1
        here, weight = of_frame[rows][keep], frames.weight[rows][keep]
        sums = [np.bincount(blocks[here == b], weight[here == b], n_blocks) for b in (0, 1)]
        columns[1, k] = _difference(sums[0].sum(), sums[1].sum(), kt)
        columns[2, k] = kt * log_ratio_error(sums[1], sums[0], seed)
    return Convergence(times, *columns)


def _difference(first: float, second: float, kt: float) -> float:
    return float(-kt * np.log(second / first)) if first > 0 and second > 0 else float("nan")


def write_results(run: BiasedRun, bias: np.ndarray) -> Convergence | None:
    """Writes free_energy.npz, convergence.csv, COLVAR and HILLS of a run into its folder.

    `free_energy.npz` holds one axis per mode under its name, and on that grid in kJ/mol
    `free_energy` (metadynamics: from the bias; OPES: from the weights), `reweighted` (from the
    weights) with its standard `error`, and the last `bias`.

    Args:
        run: The run with all of its frames.
        bias: The last bias on the grid, in kJ/mol.

    Returns:
        What `convergence` returns.
    """
    folder, record = run.folder, run.record
    reweighted, error = weighted_surface(run.frames, record)
    if record.method == OPES:
        surface = known = reweighted
    else:
        surface = free_energy(bias, record.bias_factor)
        known = known_free_energy(bias, record.bias_factor)
    axes: dict[str, Any] = dict(zip(record.modes, record.grid.axes, strict=True))
    content = io.BytesIO()
    np.savez(
        content,
        free_energy=surface,
        reweighted=reweighted,
        error=error,
        bias=bias,
        modes=np.array(record.modes),
        method=record.method,
        temperature_k=record.temperature,
        bias_factor=record.bias_factor,
        **axes,
    )
    write_plumed_tables(run)
    curve = convergence(run, known)
    columns: list[Any] = [[]] * len(CONVERGENCE_HEADER)
    if curve is not None:
        columns = [curve.time_ps, curve.from_bias, curve.from_weights, curve.error]
    table = dict(zip(CONVERGENCE_HEADER, columns, strict=True))
    write_table(folder / CONVERGENCE, table, "%.6g")
    # last: a folder with a free energy has all the rest
    write_atomically(folder / SURFACE, content.getvalue())
    return curve
