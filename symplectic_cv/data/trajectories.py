"""Reads trajectories through MDTraj into whole, checked positions of the modelled atoms."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mdtraj as md
import numpy as np
from scipy.io import netcdf_file

from symplectic_cv.data import mdshare
from symplectic_cv.data.periodic import (
    Links,
    find_broken_link,
    known_box,
    make_whole,
    spanning_links,
)
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.molecule import Molecule, select_atoms

FORMATS = (".xtc", ".dcd", ".h5", ".nc", ".trr", ".pdb", ".npz")
SELF_DESCRIBING = (".h5", ".pdb")
CHUNK = 5000

Progress = Callable[[int], None]
"""Called with the number of frames just read."""


@dataclass(frozen=True)
class TrajectoryData:
    """Whole positions of the modelled atoms from one or several files.

    Attributes:
        positions: (F, N, 3), float32, in nm.
        lengths: number of frames of each continuous run, in the order of `names`.
        names: what each run is called in messages.
        molecule: the modelled atoms.
        links: the tree that made them whole.
    """

    positions: np.ndarray
    lengths: list[int]
    names: list[str]
    molecule: Molecule
    links: Links = field(repr=False)

    @property
    def n_frames(self) -> int:
        return len(self.positions)

    def locate(self, frame: int) -> str:
        """Name of the run and its own frame number for a frame of the whole set."""
        for name, length in zip(self.names, self.lengths, strict=True):
            if frame < length:
                return f"{name}, frame {frame}"
            frame -= length
        raise IndexError(frame)

    def joined(self, other: TrajectoryData) -> TrajectoryData:
        """These frames and, after them, those of other runs of the same atoms.

        Args:
            other: Frames that were read with `like` these.
        """
        return TrajectoryData(
            positions=np.concatenate([self.positions, other.positions]),
            lengths=[*self.lengths, *other.lengths],
            names=[*self.names, *other.names],
            molecule=self.molecule,
            links=self.links,
        )


@dataclass(frozen=True)
class _Chunk:
    positions: np.ndarray
    box: np.ndarray | None


def load_topology(path: Path) -> md.Topology:
    """The topology in a PDB, h5 or other file that MDTraj knows.

    Raises:
        TrajectoryError: missing or unreadable.
    """
    if not path.is_file():
        raise TrajectoryError(f"{path}: no such topology file (--top)")
    try:
        return md.load_topology(str(path))
    except Exception as error:  # MDTraj raises whatever its parsers met
        raise TrajectoryError(
            f"{path}: truncated, or not a readable topology ({_last_line(error)})"
        ) from error


def find_topology(trajectory: Path) -> Path | None:
    """The topology that belongs to a trajectory: itself, one of its own name, or
    the `topology.pdb` that `simulate` writes beside it."""
    if trajectory.suffix.lower() in SELF_DESCRIBING:
        return trajectory
    for candidate in (trajectory.with_suffix(".pdb"), trajectory.with_name("topology.pdb")):
        if candidate.is_file():
            return candidate
    return None


def read_trajectories(
    sources: Sequence[str | Path],
    top: str | Path | md.Topology | None = None,
    atoms: str | None = None,
    molecule: Molecule | None = None,
    mdshare_folder: Path = Path("mdshare"),
    mdshare_catalogue: Path | None = None,
    progress: Progress | None = None,
    like: TrajectoryData | None = None,
) -> TrajectoryData:
    """Reads every frame of the given files, picks the atoms and makes them whole.

    Args:
        sources: trajectory files (.xtc, .dcd, .h5, .nc, .trr, .pdb, or .npz of positions
            in nm, (F, N, 3) or (F, 3N)), or names `mdshare:…` of the mdshare repository.
        top: topology, or a file that holds one; found beside the first trajectory where None.
        atoms: MDTraj selection; the heavy atoms of the solute where None.
        molecule: pick these atoms instead (of a trained model); excludes `atoms`.
        mdshare_folder: where files from the mdshare repository are kept.
        mdshare_catalogue: catalogue of another repository than mdshare's own.
        progress: called with the number of frames just read.
        like: frames that were read before: the same atoms are picked, and they are made whole
            along the same links, as if all files were read at once; excludes `atoms`.

    Raises:
        TrajectoryError: a file that is missing, truncated, has NaN or infinite coordinates,
            another atom count than its topology, or a molecule that cannot be made whole.
        SelectionError: a selection that cannot carry a model.
    """
    if not sources:
        raise TrajectoryError("no trajectory file given")
    files, built_in = _resolve(sources, mdshare_folder, mdshare_catalogue)
    topology = built_in
    if isinstance(top, md.Topology):
        topology = top
    elif top is not None or topology is None:
        topology = _topology_for(files[0], Path(top) if top is not None else None)
    if like is not None:
        molecule = like.molecule
    if molecule is None:
        molecule = select_atoms(topology, atoms)
        places = molecule.indices
    else:
        places = molecule.places_in(topology, str(top if isinstance(top, str | Path) else files[0]))

    runs: list[np.ndarray] = []
    names: list[str] = []
    links: Links | None = None
    typical: np.ndarray | None = None
    if like is not None:
        links, typical = like.links, _typical_lengths(like.positions[:CHUNK], like.links)
    for file in files:
        for name, chunks in _open_runs(file, topology, places, built_in is not None):
            parts = []
            done = 0
            for chunk in chunks:
                _require_finite(chunk.positions, name, done, molecule)
                box = chunk.box
                if links is None:
                    links = spanning_links(
                        chunk.positions[0], None if box is None else box[0], molecule.bonds
                    )
                whole = make_whole(chunk.positions, box, links)
                if typical is None:
                    typical = _typical_lengths(whole, links)
                _require_whole(whole, links, typical, name, done, molecule, box is not None)
                parts.append(whole.astype(np.float32))
                done += len(whole)
                if progress is not None:
                    progress(len(whole))
            if done == 0:
                raise TrajectoryError(f"{name}: holds no frame")
            runs.append(np.concatenate(parts))
            names.append(name)
    assert links is not None
    return TrajectoryData(
        positions=np.concatenate(runs),
        lengths=[len(run) for run in runs],
        names=names,
        molecule=molecule,
        links=links,
    )


def _typical_lengths(whole: np.ndarray, links: Links) -> np.ndarray:
    """The median length of each link over whole frames, (N−1,) in nm."""
    steps = whole[:, links.pairs[:, 1]] - whole[:, links.pairs[:, 0]]
    return np.asarray(np.median(np.linalg.norm(steps, axis=-1), axis=0))


def _resolve(
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


def _topology_for(first: Path, top: Path | None) -> md.Topology:
    path = top if top is not None else find_topology(first)
    if path is None:
        raise TrajectoryError(
            f"{first}: no topology found beside it; name one with --top (a PDB of the same atoms)"
        )
    return load_topology(path)


def _open_runs(
    file: Path, topology: md.Topology, indices: np.ndarray, mdshare_box: bool
) -> Iterator[tuple[str, Iterator[_Chunk]]]:
    """Each continuous run of a file, as chunks of the picked atoms."""
    if file.suffix.lower() == ".npz":
        box_length = mdshare.BOX_LENGTH if mdshare_box else None
        yield from _npz_runs(file, topology.n_atoms, indices, box_length)
    else:
        yield str(file), _mdtraj_chunks(file, topology, indices)


def _npz_runs(
    file: Path, n_atoms: int, indices: np.ndarray, box_length: float | None
) -> Iterator[tuple[str, Iterator[_Chunk]]]:
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
        _require_atom_count(name, array.shape[1], n_atoms)
        yield name, _array_chunks(array, indices, box_length)


def _array_chunks(
    array: np.ndarray, indices: np.ndarray, box_length: float | None
) -> Iterator[_Chunk]:
    for start in range(0, len(array), CHUNK):
        part = array[start : start + CHUNK][:, indices]
        box = None
        if box_length is not None:
            box = np.broadcast_to(np.eye(3) * box_length, (len(part), 3, 3))
        yield _Chunk(part, box)


def _mdtraj_chunks(file: Path, topology: md.Topology, indices: np.ndarray) -> Iterator[_Chunk]:
    _require_complete_dcd(file)
    _require_complete_netcdf(file)
    suffix = file.suffix.lower()
    try:
        if suffix not in SELF_DESCRIBING:
            with md.open(str(file)) as handle:
                first = handle.read(1)
                xyz = first[0] if isinstance(first, tuple) else first
            _require_atom_count(str(file), xyz.shape[1], topology.n_atoms)
            options = {"top": topology}
        else:
            _require_atom_count(str(file), load_topology(file).n_atoms, topology.n_atoms)
            options = {}
        for part in md.iterload(str(file), chunk=CHUNK, atom_indices=indices, **options):
            yield _Chunk(part.xyz, known_box(part.unitcell_vectors))
    except TrajectoryError:
        raise
    except Exception as error:  # MDTraj raises whatever its readers met
        raise TrajectoryError(
            f"{file}: truncated or damaged ({type(error).__name__}: {_last_line(error)}); "
            "copy it again, or cut it to its last good frame"
        ) from error


def _require_complete_dcd(file: Path) -> None:
    """MDTraj reads a cut DCD without a word; its header tells how many frames it had."""
    if file.suffix.lower() != ".dcd":
        return
    with open(file, "rb") as handle:
        header = handle.read(12)
    if len(header) < 12:
        raise TrajectoryError(f"{file}: truncated, it has no complete header")
    order = "<" if header[:4] == struct.pack("<i", 84) else ">"  # a record of 84 bytes opens it
    announced = struct.unpack(order + "i", header[8:12])[0]
    try:
        with md.open(str(file)) as handle:
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
    """What an error says in the end: HDF5 puts a page of its own call stack before."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _require_atom_count(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise TrajectoryError(
            f"{name}: has {found} atoms, its topology has {expected}: give the topology of the "
            "same atoms with --top"
        )


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
    name: str,
    offset: int,
    molecule: Molecule,
    has_box: bool,
) -> None:
    broken = find_broken_link(whole, links, typical)
    if broken is None:
        return
    frame, link, length = broken
    first, second = (molecule.atom_label(int(atom)) for atom in links.pairs[link])
    reason = (
        "although its box was used"
        if has_box
        else "and the file holds no box to make the molecule whole"
    )
    raise TrajectoryError(
        f"{name}: frame {offset + frame}: {first} and {second} are {length:.2f} nm apart, "
        f"{reason}: is the topology right? else make molecules whole first "
        "(gmx trjconv -pbc whole, or MDTraj's image_molecules)"
    )
