"""Frames of trajectory files through MDTraj: whole frames only, in nm, chunk by chunk."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np
from scipy.io import netcdf_file

from symplectic_cv.data.frame_counts import count_frames
from symplectic_cv.data.periodic import known_box
from symplectic_cv.data.quiet import quiet_output
from symplectic_cv.errors import DataWarning, TrajectoryError

CHUNK = 5000
SELF_DESCRIBING = (
    *(".h5", ".hdf5", ".lh5", ".arc"),
    *(".pdb", ".pdb.gz", ".pdbx", ".pdbx.gz", ".cif", ".cif.gz", ".mmcif", ".mmcif.gz"),
    *(".gro", ".mol2", ".xml", ".hoomdxml", ".gsd"),
)
"""Formats whose files hold their own topology."""
BARE = (
    *(".xtc", ".trr", ".dcd", ".nc", ".ncdf", ".netcdf", ".mdcrd", ".crd", ".trj", ".binpos"),
    *(".xyz", ".xyz.gz", ".lammpstrj", ".dtr", ".stk"),
    *(".rst7", ".ncrst", ".inpcrd", ".restrt"),
)
"""Formats whose files hold positions alone."""
FORMATS = (*BARE, *SELF_DESCRIBING)
WITH_TIMES = (".xtc", ".trr")
"""Formats whose frames always carry their times; MDTraj makes times up for others."""
IN_NM = (".xtc", ".trr", ".gro", ".h5", ".hdf5", ".lh5", ".xml", ".hoomdxml", ".gsd")
"""Formats that store nm; MDTraj takes the numbers of all others for ångströms."""
READ_WHOLE = (
    *(".trj", ".crd", ".mdcrd", ".arc", ".binpos", ".stk"),
    *(".xml", ".hoomdxml", ".gsd", ".hdf5", ".mol2"),
    *(".pdbx", ".pdbx.gz", ".cif", ".cif.gz", ".mmcif", ".mmcif.gz"),
)
"""Formats that MDTraj reads at once, or in chunks only under another name."""


class LengthUnit(str, Enum):
    """The unit of the numbers in a trajectory file, where it is not that of the format."""

    NM = "nm"
    ANGSTROM = "angstrom"


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

    def scaled(self, factor: float) -> Chunk:
        """These frames with all lengths times a factor."""
        box = None if self.box is None else factor * self.box
        return Chunk(factor * self.positions, box, self.times)


def topology_in(path: Path) -> md.Topology:
    """The topology in a file that MDTraj reads; MDTraj raises errors of many types."""
    if suffix_of(path) == ".hdf5":
        with md.formats.HDF5TrajectoryFile(str(path)) as handle:
            return handle.topology
    return md.load_topology(str(path))


def suffix_of(path: str | Path) -> str:
    """The ending of a file's name in small letters, with `.gz` and what is before it."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def scale_of(suffix: str, unit: LengthUnit | None) -> float:
    """The factor that turns lengths as MDTraj gives them into nm.

    Args:
        suffix: The ending of the file's name.
        unit: The unit of the numbers in the file; that of the format where None.
    """
    if unit is None:
        return 1.0
    if suffix in (*IN_NM, ".npz"):
        return 1.0 if unit is LengthUnit.NM else 0.1
    return 1.0 if unit is LengthUnit.ANGSTROM else 10.0


def mdtraj_chunks(
    file: Path, topology: md.Topology, indices: np.ndarray, strict: bool = False
) -> Iterator[Chunk]:
    """The whole frames of a file, in chunks of the chosen atoms.

    Args:
        file: The file.
        topology: The topology of its atoms.
        indices: The chosen atoms, shape (N,).
        strict: Whether a file that ends in the middle of a frame is refused.

    Raises:
        TrajectoryError: The file is damaged, or its atoms are not those of the topology.

    Warns:
        DataWarning: The file ends in the middle of a frame, or promises more than it holds.
    """
    counted = count_frames(file)
    most = None
    if counted is not None and counted.whole >= 0 and counted.missing:
        if strict or counted.damaged or counted.whole == 0:
            raise _cut(file, counted.whole, counted.missing)
        most = counted.whole
    done = 0
    try:
        for chunk in islice(_frames(file, topology, indices, CHUNK), None):
            if most is not None and done + len(chunk.positions) > most:
                chunk = _first(chunk, most - done)
            done += len(chunk.positions)
            yield chunk
            if done == most:
                break
    except TrajectoryError:
        raise
    except Exception as error:  # MDTraj raises errors of many types
        rest = [] if strict else _salvaged(file, topology, indices, done)
        if not rest:
            raise TrajectoryError(
                f"{file}: truncated or damaged ({type(error).__name__}: {last_line(error)}); "
                "copy it again, or cut it to its last good frame"
            ) from error
        yield from rest
        done += sum(len(chunk.positions) for chunk in rest)
        most = done
    if most is not None:
        missing = counted.missing if counted is not None else f"frame {done} is cut"
        warnings.warn(
            f"{file}: {done} whole frames were read; {missing}; `strict` refuses such files",
            DataWarning,
            stacklevel=2,
        )


def _cut(file: Path, whole: int, missing: str) -> TrajectoryError:
    return TrajectoryError(
        f"{file}: truncated or damaged after {whole} frames: {missing}; copy it again, or cut it "
        "to its last good frame"
    )


def _first(chunk: Chunk, count: int) -> Chunk:
    box = None if chunk.box is None else chunk.box[:count]
    return Chunk(chunk.positions[:count], box, None if chunk.times is None else chunk.times[:count])


def _frames(
    file: Path, topology: md.Topology, indices: np.ndarray, size: int, skip: int = 0
) -> Iterator[Chunk]:
    """Chunks of up to `size` frames, from frame `skip` on."""
    _require_complete_netcdf(file)
    suffix = suffix_of(file)
    in_order = np.sort(indices)
    places = np.searchsorted(in_order, indices)
    options: dict[str, Any] = {} if suffix in SELF_DESCRIBING else {"top": topology}
    if suffix in SELF_DESCRIBING:
        with _quiet():
            found = topology_in(file).n_atoms
        require_atom_count(str(file), found, topology.n_atoms)
    elif suffix not in READ_WHOLE:
        with _quiet(), md.open(str(file)) as handle:
            first = handle.read(1)
            found = (first[0] if isinstance(first, tuple) else first).shape[1]
        require_atom_count(str(file), found, topology.n_atoms)
    if suffix in READ_WHOLE or suffix.endswith(".gz"):
        parts = iter([_load(file, suffix, options)[skip:].atom_slice(in_order)])
    else:
        parts = md.iterload(str(file), chunk=size, skip=skip, atom_indices=in_order, **options)
    while True:
        with _quiet():
            part = next(parts, None)
        if part is None:
            break
        times = part.time if suffix in WITH_TIMES else None
        yield Chunk(part.xyz[:, places], known_box(part.unitcell_vectors), times)


def _load(file: Path, suffix: str, options: dict[str, Any]) -> md.Trajectory:
    """A whole file at once; `.trj` is Amber's text format, which MDTraj calls `.mdcrd`."""
    loaders = {".trj": md.load_mdcrd, ".crd": md.load_mdcrd, ".mdcrd": md.load_mdcrd}
    loaders[".hdf5"] = md.load_hdf5
    with _quiet():
        if suffix == ".binpos":
            return md.formats.binpos.load_binpos(str(file), **options)
        if suffix in loaders:
            return loaders[suffix](str(file), **options)
        return md.load(str(file), **options)


def _salvaged(file: Path, topology: md.Topology, indices: np.ndarray, skip: int) -> list[Chunk]:
    """The whole frames from a frame on, of a file that cannot be read to its end."""
    if suffix_of(file) == ".pdb":
        return _salvaged_pdb(file, topology, indices, skip)
    found: list[Chunk] = []
    try:
        for chunk in _frames(file, topology, indices, 1, skip):
            found.append(chunk)
    except Exception:  # here the frame begins that is cut
        pass
    return found


def _salvaged_pdb(file: Path, topology: md.Topology, indices: np.ndarray, skip: int) -> list[Chunk]:
    """The models of a PDB file that have their end."""
    text = file.read_text(errors="replace")
    end = text.rfind("ENDMDL")
    if skip > 0 or end < 0:
        return []
    with tempfile.TemporaryDirectory() as aside:
        whole = Path(aside) / "whole.pdb"
        whole.write_text(text[:end] + "ENDMDL\nEND\n")
        try:
            return list(_frames(whole, topology, indices, CHUNK))
        except Exception:  # damaged in the middle
            return []


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that readers print and the warnings of MDTraj about itself."""
    with quiet_output(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="mdtraj")
        yield


def last_line(error: Exception) -> str:
    """The last line of an error, because HDF5 puts its call stack before it."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def require_atom_count(name: str, found: int, expected: int) -> None:
    """Raises TrajectoryError where a file has another number of atoms than its topology."""
    if found != expected:
        raise TrajectoryError(
            f"{name}: has {found} atoms, its topology has {expected}: give the topology of the "
            "same atoms with `top`"
        )
