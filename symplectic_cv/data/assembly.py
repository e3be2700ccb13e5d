"""Makes the frames of runs whole, checks them, and puts the runs together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from symplectic_cv.data.bond_lengths import (
    molecules_of,
    require_nanometres,
    without_invented_bonds,
)
from symplectic_cv.data.mdtraj_files import CHUNK, Chunk
from symplectic_cv.data.periodic import JUMP, Links, find_broken_link, make_whole, spanning_links
from symplectic_cv.data.rounding import rounding_of
from symplectic_cv.errors import DataWarning, TrajectoryError
from symplectic_cv.molecule import Molecule

LEAP = 2.0
"""Molecules whose distance changes by more than this along an axis between two frames, in nm, did
not move: one of them was wrapped."""

Progress = Callable[[int], None]
"""Called with the number of frames just read."""


class Assembled(NamedTuple):
    """Whole frames of runs; the fields are those of `TrajectoryData`."""

    positions: np.ndarray
    lengths: list[int]
    names: list[str]
    molecule: Molecule
    links: Links
    times_ps: np.ndarray
    rounding: float


def assemble(
    runs: Iterable[tuple[str, Iterator[Chunk]]],
    molecule: Molecule,
    progress: Progress | None = None,
    like: tuple[np.ndarray, Links] | None = None,
) -> Assembled:
    """Makes the frames of runs whole and checks them.

    Args:
        runs: The name and the chunks of each run, of the modelled atoms alone.
        molecule: The modelled atoms.
        progress: A function that is called with the number of frames just read.
        like: Whole frames that were read before, shape (F, N, 3), and the links that made them
            whole, which are used again; or None.

    Raises:
        TrajectoryError: A run holds no frame, a coordinate is not finite, or a molecule cannot be
            made whole.
    """
    positions: list[np.ndarray] = []
    times: list[np.ndarray] = []
    lengths: list[int] = []
    names: list[str] = []
    rounding = 0.0
    links: Links | None = None
    typical: np.ndarray | None = None
    parts = np.zeros(0)
    if like is not None:
        links, typical = like[1], _typical_lengths(like[0][:CHUNK], like[1])
    for name, chunks in runs:
        done, parted = 0, ""
        for chunk in chunks:
            if len(chunk.positions) == 0:
                continue
            _require_finite(chunk.positions, name, done, molecule)
            if done == 0:
                rounding = max(rounding, rounding_of(chunk.positions))
            box = chunk.box
            if done == 0:
                require_nanometres(chunk.positions, chunk.box, molecule, name)
            if links is None:
                molecule, notes = without_invented_bonds(chunk.positions, box, molecule)
                for note in notes:
                    warnings.warn(f"{name}: {note}", DataWarning, stacklevel=3)
                links = spanning_links(
                    chunk.positions[0], None if box is None else box[0], molecule.bonds
                )
            if len(parts) == 0:
                parts = molecules_of(molecule.topology)
            whole = make_whole(chunk.positions, box, links)
            if typical is None:
                typical = _typical_lengths(whole, links)
            told = _require_whole(
                whole, links, typical, parts, name, done, molecule, box is not None
            )
            parted = parted or told
            positions.append(whole.astype(np.float32))
            known = chunk.times is not None
            times.append(np.array(chunk.times if known else np.full(len(whole), np.nan), float))
            done += len(whole)
            if progress is not None:
                progress(len(whole))
        if done == 0:
            raise TrajectoryError(f"{name}: holds no frame")
        lengths.append(done)
        names.append(name)
        if parted:
            warnings.warn(parted, DataWarning, stacklevel=3)
    assert links is not None
    return Assembled(
        positions=np.concatenate(positions),
        lengths=lengths,
        names=names,
        molecule=molecule,
        links=links,
        times_ps=np.concatenate(times),
        rounding=rounding,
    )


def _typical_lengths(whole: np.ndarray, links: Links) -> np.ndarray:
    """The median length of each link over whole frames, (N−1,) in nm."""
    steps = whole[:, links.pairs[:, 1]] - whole[:, links.pairs[:, 0]]
    return np.asarray(np.median(np.linalg.norm(steps, axis=-1), axis=0))


def box_vectors(box: Any, n_frames: int) -> np.ndarray | None:
    """Box vectors, (F, 3, 3) in nm, of edges, of one box or of one per frame."""
    if box is None:
        return None
    vectors = np.asarray(box, dtype=np.float64)
    if vectors.shape == (3,):
        vectors = np.diag(vectors)
    if vectors.shape == (3, 3):
        vectors = np.broadcast_to(vectors, (n_frames, 3, 3))
    if vectors.shape != (n_frames, 3, 3) or not np.isfinite(vectors).all():
        raise TrajectoryError(
            f"`box` has shape {np.shape(box)}; give finite edges (3,), or vectors (3, 3) or "
            f"({n_frames}, 3, 3), in nm"
        )
    if not (vectors.diagonal(axis1=1, axis2=2) > 0.0).all() or np.triu(vectors, 1).any():
        raise TrajectoryError(
            "`box` must have its first vector along x and its second in the xy plane, with "
            "positive edges (the reduced form of GROMACS and OpenMM)"
        )
    return vectors


def _require_finite(positions: np.ndarray, name: str, offset: int, molecule: Molecule) -> None:
    bad = np.argwhere(~np.isfinite(positions))
    if len(bad):
        frame, atom = int(bad[0, 0]), int(bad[0, 1])
        raise TrajectoryError(
            f"{name}: frame {offset + frame} has NaN or infinite coordinates at "
            f"{molecule.atom_label(atom)}: cut the trajectory before it"
        )


def _require_whole(
    whole: np.ndarray,
    links: Links,
    typical: np.ndarray,
    parts: np.ndarray,
    name: str,
    offset: int,
    molecule: Molecule,
    has_box: bool,
) -> str:
    """Raises TrajectoryError where a molecule is torn; says where two molecules part.

    Args:
        whole: Frames that were made whole, shape (F, N, 3), in nm.
        links: The links along which they were made whole.
        typical: The typical length of each link, shape (N−1,), in nm.
        parts: A number for the molecule of each atom, shape (N,).
        name: The name of the run.
        offset: The number of frames of the run before these.
        molecule: The modelled atoms.
        has_box: Whether the frames have boxes.

    Returns:
        A line about the first frame in which two molecules part; empty where none do.
    """
    between = ~links.bonded & (parts[links.pairs[:, 0]] != parts[links.pairs[:, 1]])
    broken = find_broken_link(whole, links, np.where(between, np.inf, typical))
    remedy = (
        "is the topology right? else make molecules whole first "
        "(gmx trjconv -pbc whole, or MDTraj's image_molecules)"
    )
    if broken is not None:
        frame, link, length = broken
        first, second = (molecule.atom_label(int(atom)) for atom in links.pairs[link])
        reason = (
            "although its box was used"
            if has_box
            else "and the file holds no box to make the molecule whole"
        )
        raise TrajectoryError(
            f"{name}: frame {offset + frame}: {first} and {second} are {length:.2f} nm apart, "
            f"{reason}: {remedy}"
        )
    if not between.any():
        return ""
    pairs = links.pairs[between]
    steps = whole[:, pairs[:, 1]] - whole[:, pairs[:, 0]]
    far = np.argwhere(np.linalg.norm(steps, axis=-1) > typical[between] + JUMP)
    if len(far) == 0:
        return ""
    frame, link = (int(k) for k in far[0])
    first, second = (molecule.atom_label(int(atom)) for atom in pairs[link])
    length = float(np.linalg.norm(steps[frame, link]))
    leap = np.abs(np.diff(steps, axis=0)).max((0, 2)) if len(steps) > 1 else np.zeros(len(pairs))
    if not has_box and (leap > LEAP).any():
        raise TrajectoryError(
            f"{name}: frame {offset + frame}: {first} and {second} of two molecules are "
            f"{length:.2f} nm apart at once, and the file holds no box: {remedy}"
        )
    return (
        f"{name}: the molecules of {first} and {second} part, from frame {offset + frame} on "
        f"({length:.2f} nm): these frames are kept; a model of both is of little use where they "
        "do not touch"
    )
