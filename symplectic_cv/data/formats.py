"""Reads trajectory files through MDTraj as runs of chunks of frames, and checks each file."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import mdtraj as md
import numpy as np
from scipy.io import netcdf_file

from symplectic_cv.data import mdshare
from symplectic_cv.data.periodic import known_box
from symplectic_cv.data.quiet import quiet_output
from symplectic_cv.errors import OptionError, TrajectoryError

FORMATS = (".xtc", ".dcd", ".h5", ".nc", ".trr", ".pdb", ".npz")
SELF_DESCRIBING = (".h5", ".pdb")
WITH_TIMES = (".xtc", ".trr")
"""Formats whose frames always carry their times; MDTraj makes times up for others."""
CHUNK = 5000


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames of a run.

    Attributes:
        positions: Positions of the chosen atoms, shape (F, N, 3), in nm.
        box: Box vectors, shape (F, 3, 3), in nm, or None.
        times: Times of the frames, shape (F,), in ps, or None.
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    times: np.ndarray | None = None


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
        return md.load_topology(str(path))
    except Exception as error:  # MDTraj raises errors of many types
        raise TrajectoryError(
            f"{path}: truncated, or not a readable topology ({_last_line(error)})"
        ) from error


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
    if trajectory.suffix.lower() in SELF_DESCRIBING:
        return trajectory
    for candidate in (trajectory.with_suffix(".pdb"), trajectory.with_name("topology.pdb")):
        if candidate.is_file():
            return candidate
    return None


def open_runs(
    file: Path, topology: md.Topology, indices: np.ndarray, mdshare_box: bool
) -> Iterator[tuple[str, Iterator[Chunk]]]:
    """Each continuous run of a file, as chunks of the picked atoms."""
    if file.suffix.lower() == ".npz":
        box_length = mdshare.BOX_LENGTH if mdshare_box else None
        yield from _npz_runs(file, topology.n_atoms, indices, box_length)
    else:
        yield str(file), _mdtraj_chunks(file, topology, indices)


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


def _mdtraj_chunks(file: Path, topology: md.Topology, indices: np.ndarray) -> Iterator[Chunk]:
    _require_complete_dcd(file)
    _require_complete_netcdf(file)
    suffix = file.suffix.lower()
    try:
        if suffix not in SELF_DESCRIBING:
            with quiet_output(), md.open(str(file)) as handle:
                first = handle.read(1)
                xyz = first[0] if isinstance(first, tuple) else first
            require_atom_count(str(file), xyz.shape[1], topology.n_atoms)
            options = {"top": topology}
        else:
            require_atom_count(str(file), load_topology(file).n_atoms, topology.n_atoms)
            options = {}
        in_order = np.sort(indices)
        places = np.searchsorted(in_order, indices)
        parts = md.iterload(str(file), chunk=CHUNK, atom_indices=in_order, **options)
        while True:
            with quiet_output():
                part = next(parts, None)
            if part is None:
                break
            times = part.time if suffix in WITH_TIMES else None
            yield Chunk(part.xyz[:, places], known_box(part.unitcell_vectors), times)
    except TrajectoryError:
        raise
    except Exception as error:  # MDTraj raises errors of many types
        raise TrajectoryError(
            f"{file}: truncated or damaged ({type(error).__name__}: {_last_line(error)}); "
            "copy it again, or cut it to its last good frame"
        ) from error


def _require_complete_dcd(file: Path) -> None:
    """MDTraj reads a truncated DCD without an error; its header holds the number of frames."""
    if file.suffix.lower() != ".dcd":
        return
    with open(file, "rb") as handle:
        header = handle.read(12)
    if len(header) < 12:
        raise TrajectoryError(f"{file}: truncated, it has no complete header")
    order = "<" if header[:4] == struct.pack("<i", 84) else ">"  # a record of 84 bytes opens it
    announced = struct.unpack(order + "i", header[8:12])[0]
    try:
        with quiet_output(), md.open(str(file)) as handle:
            present = len(handle)
    except OSError as error:
        raise TrajectoryError(f"{file}: not a readable DCD file ({error})") from error
    if announced > present:
        raise TrajectoryError(
            f"{file}: truncated, its header announces {announced} frames and {present} are there; "
            "copy it again, or cut it to its last good frame"
        )


def _require_complete_netcdf(file: Path) -> None:
    """The NetCDF library fills what is cut off with zeros; SciPy's reader asks for the bytes."""
    with open(file, "rb") as handle:
        if handle.read(4) not in (b"CDF\x01", b"CDF\x02"):  # HDF5 inside notices by itself
            return
    complete = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its memory map is still in use when it fails
        try:
            netcdf_file(file, mmap=True).close()
        except (OSError, ValueError, TypeError, IndexError, KeyError):
            complete = False
    if not complete:
        raise TrajectoryError(
            f"{file}: truncated, it is shorter than its header announces; copy it again, or cut "
            "it to its last good frame"
        )


def _last_line(error: Exception) -> str:
    """The last line of an error, because HDF5 puts its call stack before it."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def require_atom_count(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise TrajectoryError(
            f"{name}: has {found} atoms, its topology has {expected}: give the topology of the "
            "same atoms with `top`"
        )


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
        if files[-1].suffix.lower() not in FORMATS:
            raise TrajectoryError(
                f"{files[-1]}: unknown trajectory format; known are {', '.join(FORMATS)}"
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
