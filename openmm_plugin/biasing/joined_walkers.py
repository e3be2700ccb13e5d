"""The joint result of a run's walkers: all frames and weights, all hills, one free energy."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from openmm_plugin.biasing.shared_hills import walker_folder
from openmm_plugin.running.checkpoints import CheckpointFolder
from symplectic_cv.bias.hills import HILLS, merge, read_hills
from symplectic_cv.bias.results import write_results
from symplectic_cv.bias.run import (
    COLVAR,
    OPES,
    RECORD,
    BiasedRun,
    BiasRecord,
    join_frames,
    read_colvar,
)
from symplectic_cv.errors import OutputError
from symplectic_cv.files.atomic import replaced_whole, write_atomically


def join(parent: Path, count: int) -> BiasedRun:
    """Writes the frames of all walkers, their weights, all hills and the free energy of all.

    Walker after walker: `trajectory.xtc` and `colvar.csv` (with a column `walker`); by time:
    `hills.csv`. The walkers' own files stay as they are.

    Args:
        parent: The folder of the run, with the walkers' folders.
        count: The number of walkers.

    Raises:
        OutputError: A walker with another bias, or with a damaged table.
    """
    folders = [walker_folder(parent, walker) for walker in range(1, count + 1)]
    record = BiasRecord.read(parent)
    for folder in folders:
        if replace(BiasRecord.read(folder), settings={}) != replace(record, settings={}):
            raise OutputError(f"{folder / RECORD}: describes another bias than {parent / RECORD}")
    # a trajectory in this format is a row of frames
    with replaced_whole(parent / "trajectory.xtc") as aside, open(aside, "wb") as whole:
        for folder in folders:
            with open(folder / "trajectory.xtc", "rb") as part:
                shutil.copyfileobj(part, whole)
    lines: list[str] = []
    frames = []
    for walker, folder in enumerate(folders, 1):
        frames.append(read_colvar(folder / COLVAR, record.kt))
        header, *rows = (folder / COLVAR).read_text().splitlines()
        lines += ([f"{header},walker"] if walker == 1 else []) + [f"{row},{walker}" for row in rows]
    write_atomically(parent / COLVAR, ("\n".join(lines) + "\n").encode())
    hills = None
    if record.method == OPES:
        bias = _last_bias(folders)
    else:
        parts = [read_hills(folder / HILLS) for folder in folders]
        tables = [(folder / HILLS).read_text().splitlines() for folder in folders]
        rows = [row for table in tables for row in table[1:]]
        times = np.concatenate([part.time_ps for part in parts])
        ordered = [rows[place] for place in np.argsort(times, kind="stable")]
        content = "\n".join([tables[0][0], *ordered]) + "\n"
        write_atomically(parent / HILLS, content.encode())
        hills = merge(parts)
        bias = hills.on_grid(record.grid)
    run = BiasedRun(parent, record, join_frames(frames), hills)
    write_results(run, bias)
    return run


def _last_bias(folders: list[Path]) -> np.ndarray:
    """The bias in the walkers' checkpoint that was written last."""
    checkpoints = [CheckpointFolder(folder / "checkpoint", []).latest() for folder in folders]
    newest = max(
        (path for path in checkpoints if path is not None), key=lambda p: p.stat().st_mtime
    )
    with np.load(newest / "arrays.npz", allow_pickle=False) as archive:
        return np.array(archive["bias"])
