"""Reads trajectory files through MDTraj as runs of chunks of frames, and checks each file."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import mdtraj as md
import numpy as np

from symplectic_cv.data import mdshare
from symplectic_cv.data.mdtraj_files import (
    CHUNK,
    SELF_DESCRIBING,
    Chunk,
    LengthUnit,
    last_line,
    mdtraj_chunks,
    require_atom_count,
    scale_of,
    suffix_of,
    topology_in,
)
from symplectic_cv.data.mdtraj_files import FORMATS as READABLE
from symplectic_cv.data.quiet import quiet_output
from symplectic_cv.errors import OptionError, TrajectoryError

FORMATS = (*READABLE, ".npz")

TOPOLOGIES = (".pdb", ".gro", ".psf", ".prmtop", ".parm7")
"""Endings of topologies that are looked for beside a trajectory of the same name."""

BY_MDANALYSIS = {
    suffix: f": MDTraj reads no {suffix}; give a .gro or .pdb of the same atoms, or install "
    "MDAnalysis, which reads it"
    for suffix in (".tpr", ".itp", ".top", ".data", ".pqr", ".pdbqt", ".mol2", ".xml.gz")
}
"""Endings of topologies that are read through MDAnalysis, and the remedy where it is missing."""

UNREADABLE = {
    ".tpr": "a run input file of GROMACS holds no frames: name its .xtc or .trr here, and a .gro "
    "or the .tpr with `top`",
    ".log": "a log file holds no positions",
    ".npy": "save positions with np.savez, as .npz",
}
"""What to do about files that are often named as trajectories."""


class OpenMMTopology(Protocol):
    """A topology of OpenMM, which this package does not import."""

    def getNumAtoms(self) -> int:
        """The number of atoms."""


def load_topology(path: Path) -> md.Topology:
    """The topology in a PDB, h5 or other file that MDTraj knows.

    Raises:
        TrajectoryError: The file is missing or unreadable.
    """
    if not path.is_file():
        raise TrajectoryError(f"{path}: no such topology file (`top`)")
    try:
        return topology_in(path)
    except Exception as error:  # MDTraj raises errors of many types
        found = _by_mdanalysis(path)
        if found is not None:
            return found
        remedy = BY_MDANALYSIS.get(suffix_of(path), "")
        raise TrajectoryError(
            f"{path}: truncated, or not a readable topology ({last_line(error)}){remedy}"
        ) from error


def _by_mdanalysis(path: Path) -> md.Topology | None:
    """The topology as MDAnalysis reads it; None where it is not installed, or cannot."""
    if suffix_of(path) not in BY_MDANALYSIS or importlib.util.find_spec("MDAnalysis") is None:
        return None
    from MDAnalysis import Universe

    from symplectic_cv.data.mdanalysis import topology_of

    try:
        with quiet_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return topology_of(Universe(str(path)))
    except Exception:  # MDTraj's reason is told
        return None


def as_topology(
    topology: md.Topology | OpenMMTopology | str | Path, name: str = "topology"
) -> md.Topology:
    """An MDTraj topology.

    Args:
        topology: A topology of MDTraj or OpenMM, or a file that holds one.
        name: The parameter that holds it, for the message.

    Raises:
        OptionError: The value is no topology.
        TrajectoryError: The file is missing or unreadable.
    """
    if isinstance(topology, md.Topology):
        return topology
    if isinstance(topology, (str, Path)):
        return load_topology(Path(topology))
    if hasattr(topology, "getNumAtoms"):  # OpenMM's; this package does not import OpenMM
        return md.Topology.from_openmm(topology)
    raise OptionError(
        f"`{name}` must be a topology of MDTraj or OpenMM, or a file such as a PDB; got "
        f"{type(topology).__name__}"
    )


def find_topology(trajectory: Path) -> Path | None:
    """The topology of a trajectory: the file itself, one of the same name, or
    the `topology.pdb` that `simulate` writes beside it."""
    if suffix_of(trajectory) in SELF_DESCRIBING:
        return trajectory
    stem = trajectory.with_name(trajectory.name[: -len(suffix_of(trajectory))] or "trajectory")
    beside = [stem.with_name(stem.name + ending) for ending in TOPOLOGIES]
    for candidate in (*beside, trajectory.with_name("topology.pdb")):
        if candidate.is_file():
            return candidate
    return None


def open_runs(
    file: Path,
    topology: md.Topology,
    indices: np.ndarray,
    mdshare_box: bool,
    strict: bool = False,
    unit: LengthUnit | None = None,
) -> Iterator[tuple[str, Iterator[Chunk]]]:
    """Each continuous run of a file, as chunks of the picked atoms in nm.

    Args:
        file: The file.
        topology: The topology of its atoms.
        indices: The picked atoms, shape (N,).
        mdshare_box: Whether the frames are in the box of mdshare's alanine dipeptide.
        strict: Whether a file that ends in the middle of a frame is refused.
        unit: The unit of the numbers in the file; that of its format where None.
    """
    factor = scale_of(suffix_of(file), unit)
    if file.suffix.lower() == ".npz":
        box_length = mdshare.BOX_LENGTH if mdshare_box else None
        runs = _npz_runs(file, topology.n_atoms, indices, box_length)
    else:
        runs = iter([(str(file), mdtraj_chunks(file, topology, indices, strict))])
    for name, chunks in runs:
        yield name, (chunks if factor == 1.0 else (chunk.scaled(factor) for chunk in chunks))


def _npz_runs(
    file: Path, n_atoms: int, indices: np.ndarray, box_length: float | None
) -> Iterator[tuple[str, Iterator[Chunk]]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise TrajectoryError(f"{file}: truncated or not a NumPy archive ({error})") from error
    if not arrays:
        raise TrajectoryError(f"{file}: holds no array of positions")
    for key, array in arrays.items():
        name = str(file) if len(arrays) == 1 else f"{file} [{key}]"
        if array.ndim == 2 and array.shape[1] % 3 == 0:
            array = array.reshape(len(array), array.shape[1] // 3, 3)
        if array.ndim != 3 or array.shape[2] != 3 or not np.issubdtype(array.dtype, np.floating):
            raise TrajectoryError(
                f"{name}: shape {array.shape}, type {array.dtype}; positions must be "
                "floating-point numbers in nm of shape (frames, atoms, 3) or (frames, 3·atoms)"
            )
        require_atom_count(name, array.shape[1], n_atoms)
        yield name, _array_chunks(array, indices, box_length)


def _array_chunks(
    array: np.ndarray, indices: np.ndarray, box_length: float | None
) -> Iterator[Chunk]:
    for start in range(0, len(array), CHUNK):
        part = array[start : start + CHUNK][:, indices]
        box = None
        if box_length is not None:
            box = np.broadcast_to(np.eye(3) * box_length, (len(part), 3, 3))
        yield Chunk(part, box)


def find_files(
    sources: Sequence[str | Path], folder: Path, catalogue: Path | None
) -> tuple[list[Path], md.Topology | None]:
    """Files on disk, and the built-in topology where all come from mdshare."""
    files: list[Path] = []
    fetched = 0
    for source in sources:
        if str(source).startswith(mdshare.PREFIX):
            found = mdshare.fetch(str(source)[len(mdshare.PREFIX) :], folder, catalogue)
            fetched += len(found)
            files += found
        else:
            path = Path(source)
            if path.is_dir():
                raise TrajectoryError(f"{path}: is a folder; name the trajectory files in it")
            if not path.is_file():
                raise TrajectoryError(f"{path}: no such trajectory file")
            files.append(path)
        suffix = suffix_of(files[-1])
        if suffix not in FORMATS:
            remedy = UNREADABLE.get(suffix, "convert it with MDTraj, MDAnalysis or VMD")
            raise TrajectoryError(
                f"{files[-1]}: unknown trajectory format; known are {', '.join(FORMATS)}: {remedy}"
            )
    built_in = fetched == len(files) and all("heavy-atom-positions" in file.name for file in files)
    return files, mdshare.heavy_atom_topology() if built_in else None


def topology_for(first: Path) -> md.Topology:
    """The topology beside a trajectory; raises TrajectoryError where there is none."""
    path = find_topology(first)
    if path is None:
        raise TrajectoryError(
            f"{first}: no topology found beside it; name one with `top` (a PDB of the same atoms)"
        )
    return load_topology(path)
