"""Whole, checked positions of the modelled atoms: from files, other libraries, or arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdtraj as md
import numpy as np

from symplectic_cv.data import mdshare
from symplectic_cv.data.formats import (
    CHUNK,
    FORMATS,
    Chunk,
    find_topology,
    load_topology,
    open_runs,
    require_atom_count,
)
from symplectic_cv.data.periodic import (
    Links,
    find_broken_link,
    known_box,
    make_whole,
    spanning_links,
)
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.molecule import Molecule, select_atoms

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

Progress = Callable[[int], None]
"""Called with the number of frames just read."""


@dataclass(frozen=True)
class TrajectoryData:
    """Whole positions of the modelled atoms from one or several continuous runs.

    Attributes:
        positions: Positions of all frames, shape (F, N, 3), float32, in nm.
        lengths: The number of frames of each run, in the order of `names`.
        names: What each run is called in messages: its file, where it comes from one.
        molecule: The modelled atoms.
        links: The tree of links that made the molecules whole.
        times_ps: Times of all frames, shape (F,), in ps; NaN where they are unknown.
    """

    positions: np.ndarray
    lengths: list[int]
    names: list[str]
    molecule: Molecule
    links: Links = field(repr=False)
    times_ps: np.ndarray | None = field(default=None, repr=False)

    @property
    def n_frames(self) -> int:
        """The number of all frames."""
        return len(self.positions)

    def locate(self, frame: int) -> str:
        """The name of the run and the number in it for a frame of the whole set."""
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
        times = [
            np.full(part.n_frames, np.nan) if part.times_ps is None else part.times_ps
            for part in (self, other)
        ]
        return TrajectoryData(
            positions=np.concatenate([self.positions, other.positions]),
            lengths=[*self.lengths, *other.lengths],
            names=[*self.names, *other.names],
            molecule=self.molecule,
            links=self.links,
            times_ps=np.concatenate(times),
        )

    @classmethod
    def from_mdtraj(
        cls,
        trajectory: md.Trajectory,
        atoms: str | Sequence[int] | None = None,
        name: str = "trajectory",
    ) -> TrajectoryData:
        """The frames of an MDTraj trajectory.

        Args:
            trajectory: The trajectory, with its topology.
            atoms: The modelled atoms: an MDTraj selection or atom indices from 0; the heavy atoms
                of the solute where None.
            name: What the run is called in messages.

        Raises:
            TrajectoryError: A coordinate is not finite, or a molecule cannot be made whole.
            SelectionError: The selection cannot carry a model.

        Example:
            >>> from symplectic_cv.data.mdshare import heavy_atom_topology
            >>> frames = 0.15 * np.random.default_rng(0).normal(size=(4, 10, 3))
            >>> trajectory = md.Trajectory(0.1 * frames, heavy_atom_topology())
            >>> TrajectoryData.from_mdtraj(trajectory).n_frames
            4
        """
        box = known_box(trajectory.unitcell_vectors)
        return _from_frames(trajectory.xyz, trajectory.topology, atoms, box, trajectory.time, name)

    @classmethod
    def from_array(
        cls,
        positions: np.ndarray,
        topology: md.Topology | str | Path,
        atoms: str | Sequence[int] | None = None,
        box: np.ndarray | None = None,
        name: str = "array",
    ) -> TrajectoryData:
        """Frames from an array.

        Args:
            positions: Positions of all atoms of the topology, shape (F, N, 3), in nm.
            topology: The topology of these atoms, or a file that holds it.
            atoms: The modelled atoms: an MDTraj selection or atom indices from 0; the heavy atoms
                of the solute where None.
            box: Periodic box, in nm: edges of a rectangular one, shape (3,), or box vectors,
                shape (3, 3) or (F, 3, 3). Molecules must be whole where None.
            name: What the run is called in messages.

        Raises:
            TrajectoryError: The shape does not fit the topology, a coordinate is not finite, or a
                molecule cannot be made whole.
            SelectionError: The selection cannot carry a model.
        """
        topology = topology if isinstance(topology, md.Topology) else load_topology(Path(topology))
        x = np.asarray(positions)
        if x.ndim != 3 or x.shape[2] != 3 or not np.issubdtype(x.dtype, np.number):
            raise TrajectoryError(
                f"`positions` has shape {x.shape} and type {x.dtype}; give numbers in nm, "
                f"(n_frames, {topology.n_atoms}, 3)"
            )
        return _from_frames(x, topology, atoms, _box_vectors(box, len(x)), None, name)

    @classmethod
    def from_mdanalysis(
        cls,
        source: Universe | AtomGroup,
        atoms: str | Sequence[int] | None = None,
        name: str | None = None,
    ) -> TrajectoryData:
        """All frames of the trajectory of an MDAnalysis universe.

        Bonds are MDTraj's standard bonds of known residues, and those of the universe.

        Args:
            source: A universe, or an atom group, whose own atoms are then the modelled ones.
            atoms: The modelled atoms instead: an MDTraj selection or atom indices from 0 in the
                universe; the heavy atoms of the solute where None and a universe is given.
            name: What the run is called in messages; the file of the trajectory where None.

        Raises:
            TrajectoryError: A coordinate is not finite, or a molecule cannot be made whole.
            SelectionError: The selection cannot carry a model, or an element is unknown.
        """
        from symplectic_cv.data.mdanalysis import frames_of, selection_of, topology_of

        molecule = select_atoms(
            topology_of(source.universe), selection_of(source) if atoms is None else atoms
        )
        name = name or str(source.universe.trajectory.filename or "universe")
        return gather([(name, frames_of(source.universe, molecule.indices))], molecule)


def read_trajectories(
    sources: str | Path | Sequence[str | Path],
    top: str | Path | md.Topology | None = None,
    atoms: str | Sequence[int] | None = None,
    molecule: Molecule | None = None,
    mdshare_folder: str | Path = Path("mdshare"),
    mdshare_catalogue: Path | None = None,
    progress: Progress | None = None,
    like: TrajectoryData | None = None,
) -> TrajectoryData:
    """Reads every frame of trajectory files, picks the modelled atoms and makes them whole.

    Args:
        sources: One or several trajectory files (.xtc, .dcd, .h5, .nc, .trr, .pdb, or .npz of
            positions in nm, (F, N, 3) or (F, 3N)), or names `mdshare:…` of the mdshare repository.
        top: The topology, or a file that holds it; it is looked for beside the first trajectory
            where None.
        atoms: The modelled atoms: an MDTraj selection or atom indices from 0; the heavy atoms of
            the solute where None.
        molecule: The modelled atoms instead, those of a trained model; it excludes `atoms`.
        mdshare_folder: The folder that keeps files from the mdshare repository.
        mdshare_catalogue: The catalogue of another repository than mdshare's own.
        progress: A function that is called with the number of frames just read.
        like: Frames that were read before. The same atoms are picked, and they are made whole
            along the same links, as if all files were read at once; it excludes `atoms`.

    Raises:
        TrajectoryError: A file is missing, truncated, has NaN or infinite coordinates or another
            atom count than its topology, or a molecule cannot be made whole.
        SelectionError: The selection cannot carry a model.
    """
    sources = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not sources:
        raise TrajectoryError("no trajectory file given")
    files, built_in = _resolve(sources, Path(mdshare_folder), mdshare_catalogue)
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
    known = topology
    runs = (run for file in files for run in open_runs(file, known, places, built_in is not None))
    return gather(runs, molecule, progress, like)


def gather(
    runs: Iterable[tuple[str, Iterator[Chunk]]],
    molecule: Molecule,
    progress: Progress | None = None,
    like: TrajectoryData | None = None,
) -> TrajectoryData:
    """Makes the frames of runs whole and checks them.

    Args:
        runs: The name and the chunks of each run, of the modelled atoms alone.
        molecule: The modelled atoms.
        progress: A function that is called with the number of frames just read.
        like: Frames whose links are used, or None.

    Raises:
        TrajectoryError: A run holds no frame, a coordinate is not finite, or a molecule cannot be
            made whole.
    """
    positions: list[np.ndarray] = []
    times: list[np.ndarray] = []
    lengths: list[int] = []
    names: list[str] = []
    links: Links | None = None
    typical: np.ndarray | None = None
    if like is not None:
        links, typical = like.links, _typical_lengths(like.positions[:CHUNK], like.links)
    for name, chunks in runs:
        done = 0
        for chunk in chunks:
            if len(chunk.positions) == 0:
                continue
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
    assert links is not None
    return TrajectoryData(
        positions=np.concatenate(positions),
        lengths=lengths,
        names=names,
        molecule=molecule,
        links=links,
        times_ps=np.concatenate(times),
    )


def _typical_lengths(whole: np.ndarray, links: Links) -> np.ndarray:
    """The median length of each link over whole frames, (N−1,) in nm."""
    steps = whole[:, links.pairs[:, 1]] - whole[:, links.pairs[:, 0]]
    return np.asarray(np.median(np.linalg.norm(steps, axis=-1), axis=0))


def _from_frames(
    positions: np.ndarray,
    topology: md.Topology,
    atoms: str | Sequence[int] | None,
    box: np.ndarray | None,
    times: np.ndarray | None,
    name: str,
) -> TrajectoryData:
    """One run of frames in memory, (F, N, 3) of all atoms of a topology."""
    require_atom_count(name, positions.shape[1], topology.n_atoms)
    molecule = select_atoms(topology, atoms)

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(positions), CHUNK):
            part = slice(start, start + CHUNK)
            yield Chunk(
                positions[part][:, molecule.indices],
                None if box is None else box[part],
                None if times is None else times[part],
            )

    return gather([(name, chunks())], molecule)


def _box_vectors(box: Any, n_frames: int) -> np.ndarray | None:
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
            f"{first}: no topology found beside it; name one with `top` (a PDB of the same atoms)"
        )
    return load_topology(path)


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
