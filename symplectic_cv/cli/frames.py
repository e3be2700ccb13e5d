"""Frames of a command: counted before they are read, and read with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symplectic_cv.cli.console import note, progress_bar
from symplectic_cv.data.advice import count_of_files, require_enough_frames
from symplectic_cv.data.formats import load_topology, topology_for
from symplectic_cv.data.frame_weights import read_weights
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.molecule import select_atoms
from symplectic_cv.training.preparation import check_weights


def read_frames(
    trajectories: Sequence[str],
    top: Path | None,
    atoms: str | None,
    reading: dict[str, Any],
) -> TrajectoryData:
    """Reads the frames of a command, with a bar.

    Args:
        trajectories: The files, as the user names them.
        top: The topology file, or None.
        atoms: The selection, or None.
        reading: Further arguments of `read_trajectories` by name.
    """
    with progress_bar("reading", None, "frames") as bar:
        return read_trajectories(
            list(trajectories),
            top,
            atoms,
            progress=bar.advance,
            **reading,
        )


def require_count(
    trajectories: Sequence[str], top: Path | None, atoms: str | None, masses: np.ndarray | None
) -> None:
    """Refuses too few frames before any is read, where files say how many they hold."""
    count = count_of_files(trajectories)
    if count is None:
        return
    topology = topology_for(Path(trajectories[0])) if top is None else load_topology(top)
    require_enough_frames(count, select_atoms(topology, atoms, masses))


def weights_of_frames(spec: str | None, n_frames: int, temperature: float) -> np.ndarray | None:
    """The checked weights of frames, shape (F,), that a user names; says where they come from."""
    if spec is None:
        return None
    found = read_weights(spec, temperature)
    note(f"weights: {found.source}")
    return check_weights(found.values, n_frames)


def tell_weights(effective: float, n_frames: int) -> None:
    """Prints the effective number of frames by their weights."""
    note(f"effective training frames by their weights (Kish): {effective:.1f} of {n_frames}")


def tell(lines: Sequence[str]) -> None:
    """Prints lines of a report."""
    for line in lines:
        note(line)
