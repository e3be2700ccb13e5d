"""Whole, checked positions of the modelled atoms: from files, other libraries, or arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdtraj as md
import numpy as np

from symplectic_cv.checks import choose
from symplectic_cv.data.assembly import Progress, assemble, box_vectors
from symplectic_cv.data.formats import (
    OpenMMTopology,
    as_topology,
    find_files,
    open_runs,
    topology_for,
)
from symplectic_cv.data.identity import place_atoms
from symplectic_cv.data.mdtraj_files import CHUNK, Chunk, LengthUnit, require_atom_count
from symplectic_cv.data.periodic import Links, known_box
from symplectic_cv.errors import OptionError, TrajectoryError
from symplectic_cv.molecule import Molecule, select_atoms

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe


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
        rounding: The step that the file format rounded coordinates to, in nm: 0.001 for XTC; 0
            where they are not rounded.
    """

    positions: np.ndarray = field(repr=False)
    lengths: list[int]
    names: list[str]
    molecule: Molecule
    links: Links = field(repr=False)
    times_ps: np.ndarray | None = field(default=None, repr=False)
    rounding: float = 0.0

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
            rounding=max(self.rounding, other.rounding),
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
            OptionError: The trajectory is none of MDTraj's.

        Example:
            >>> from symplectic_cv.data.mdshare import heavy_atom_topology
            >>> frames = 0.15 * np.random.default_rng(0).normal(size=(4, 10, 3))
            >>> trajectory = md.Trajectory(0.1 * frames, heavy_atom_topology())
            >>> TrajectoryData.from_mdtraj(trajectory).n_frames
            4
        """
        if not isinstance(trajectory, md.Trajectory):
            raise OptionError(
                f"`trajectory` must be a Trajectory of MDTraj; got {type(trajectory).__name__}"
            )
        return cls.of_molecule(trajectory, select_atoms(trajectory.topology, atoms), None, name)

    @classmethod
    def of_molecule(
        cls,
        trajectory: md.Trajectory,
        molecule: Molecule,
        places: np.ndarray | None = None,
        name: str = "trajectory",
    ) -> TrajectoryData:
        """The frames of an MDTraj trajectory, of the atoms of a model.

        Args:
            trajectory: The trajectory.
            molecule: The modelled atoms.
            places: The place of each of them in the trajectory, shape (N,); where None they are
                where the molecule says.
            name: What the run is called in messages.

        Raises:
            TrajectoryError: A coordinate is not finite, or a molecule cannot be made whole.
        """
        places = molecule.indices if places is None else places
        box = known_box(trajectory.unitcell_vectors)
        return cls._from_frames(trajectory.xyz, places, molecule, box, trajectory.time, name)

    @classmethod
    def from_array(
        cls,
        positions: np.ndarray,
        topology: md.Topology | OpenMMTopology | str | Path,
        atoms: str | Sequence[int] | None = None,
        box: np.ndarray | None = None,
        name: str = "array",
    ) -> TrajectoryData:
        """Frames from an array.

        Args:
            positions: Positions of all atoms of the topology, shape (F, N, 3), in nm.
            topology: The topology of these atoms, MDTraj's or OpenMM's, or a file that holds it.
            atoms: The modelled atoms: an MDTraj selection or atom indices from 0; the heavy atoms
                of the solute where None.
            box: Periodic box, in nm: edges of a rectangular one, shape (3,), or box vectors,
                shape (3, 3) or (F, 3, 3). Molecules must be whole where None.
            name: What the run is called in messages.

        Raises:
            TrajectoryError: The shape does not fit the topology, a coordinate is not finite, or a
                molecule cannot be made whole.
            SelectionError: The selection cannot carry a model.
            OptionError: The topology is none.
        """
        topology = as_topology(topology)
        x = np.asarray(positions)
        if x.ndim != 3 or x.shape[2] != 3 or not np.issubdtype(x.dtype, np.number):
            raise TrajectoryError(
                f"`positions` has shape {x.shape} and type {x.dtype}; give numbers in nm, "
                f"(n_frames, {topology.n_atoms}, 3)"
            )
        require_atom_count(name, x.shape[1], topology.n_atoms)
        molecule = select_atoms(topology, atoms)
        vectors = box_vectors(box, len(x))
        return cls._from_frames(x, molecule.indices, molecule, vectors, None, name)

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
            OptionError: The source is none of MDAnalysis.
        """
        from symplectic_cv.data.mdanalysis import frames_of, selection_of, topology_of

        if not hasattr(source, "universe"):
            raise OptionError(
                "`source` must be a universe or an atom group of MDAnalysis; got "
                f"{type(source).__name__}"
            )
        molecule = select_atoms(
            topology_of(source.universe), selection_of(source) if atoms is None else atoms
        )
        name = name or str(source.universe.trajectory.filename or "universe")
        return cls(*assemble([(name, frames_of(source.universe, molecule.indices))], molecule))

    @classmethod
    def _from_frames(
        cls,
        positions: np.ndarray,
        places: np.ndarray,
        molecule: Molecule,
        box: np.ndarray | None,
        times: np.ndarray | None,
        name: str,
    ) -> TrajectoryData:
        """One run of frames in memory, of the atoms at these places."""

        def chunks() -> Iterator[Chunk]:
            for start in range(0, len(positions), CHUNK):
                part = slice(start, start + CHUNK)
                yield Chunk(
                    positions[part][:, places],
                    None if box is None else box[part],
                    None if times is None else times[part],
                )

        return cls(*assemble([(name, chunks())], molecule))


def as_data(frames: Any, name: str) -> TrajectoryData:
    """Frames as a `TrajectoryData`.

    Args:
        frames: A `TrajectoryData`, or an MDTraj trajectory, of which the heavy atoms of the solute
            are modelled.
        name: The parameter that holds the frames, for the message.

    Raises:
        OptionError: The frames are something else; the message says how to read them.
        TrajectoryError, SelectionError: The MDTraj trajectory cannot be modelled.
    """
    if isinstance(frames, TrajectoryData):
        return frames
    if isinstance(frames, md.Trajectory):
        return TrajectoryData.from_mdtraj(frames)
    raise OptionError(
        f"`{name}` must be a TrajectoryData; got {type(frames).__name__}: {remedy_for(frames)}"
    )


def remedy_for(frames: Any) -> str:
    """The advice on how to make a `TrajectoryData` of frames in another form.

    Args:
        frames: The value that was given: a path, a universe of MDAnalysis, an array or another.
    """
    if isinstance(frames, (str, Path)):
        return "read the file with `read_trajectories`"
    if hasattr(frames, "universe"):
        return "make it with `TrajectoryData.from_mdanalysis`"
    return "make it with `TrajectoryData.from_array`"


def read_trajectories(
    sources: str | Path | Sequence[str | Path],
    top: str | Path | md.Topology | OpenMMTopology | None = None,
    atoms: str | Sequence[int] | None = None,
    molecule: Molecule | None = None,
    mdshare_folder: str | Path = Path("mdshare"),
    mdshare_catalogue: Path | None = None,
    progress: Progress | None = None,
    like: TrajectoryData | None = None,
    strict: bool = False,
    length_unit: LengthUnit | str | None = None,
    masses: float | Sequence[float] | np.ndarray | None = None,
) -> TrajectoryData:
    """Reads every frame of trajectory files, picks the modelled atoms and makes them whole.

    Args:
        sources: One or several trajectory files of any format that MDTraj reads, or .npz of
            positions in nm, (F, N, 3) or (F, 3N), or names `mdshare:…` of the mdshare repository.
        top: The topology, MDTraj's or OpenMM's, or a file that holds it; it is looked for beside
            the first trajectory where None.
        atoms: The modelled atoms: an MDTraj selection or atom indices from 0; the heavy atoms of
            the solute where None.
        molecule: The modelled atoms instead, those of a trained model; it excludes `atoms`.
        mdshare_folder: The folder that keeps files from the mdshare repository.
        mdshare_catalogue: The catalogue of another repository than mdshare's own.
        progress: A function that is called with the number of frames just read.
        like: Frames that were read before. The same atoms are picked, and they are made whole
            along the same links, as if all files were read at once; it excludes `atoms`.
        strict: Whether a file that ends in the middle of a frame is refused; otherwise its whole
            frames are read, with a warning.
        length_unit: The unit of the numbers in the files, "nm" or "angstrom"; that of their format
            where None, and nm for .npz.
        masses: The masses in Da: one for all, or one for each atom of the topology; those of the
            elements where None.

    Raises:
        TrajectoryError: A file is missing, truncated, has NaN or infinite coordinates or another
            atom count than its topology, or a molecule cannot be made whole.
        SelectionError: The selection cannot carry a model.

    Warns:
        DataWarning: What was done about a file or a molecule that is not as it should be.
    """
    if isinstance(sources, (str, Path)):
        sources = [sources]
    elif isinstance(sources, md.Trajectory):
        raise OptionError("`sources` names files; use `TrajectoryData.from_mdtraj`")
    sources = list(sources)
    if not sources:
        raise TrajectoryError("no trajectory file given")
    files, built_in = find_files(sources, Path(mdshare_folder), mdshare_catalogue)
    topology = built_in
    if top is not None:
        topology = as_topology(top, "top")
    elif topology is None:
        topology = topology_for(files[0])
    if like is not None:
        molecule = like.molecule
    if molecule is None:
        molecule = select_atoms(topology, atoms, masses)
        places = molecule.indices
    else:
        places = place_atoms(
            molecule, topology, str(top if isinstance(top, str | Path) else files[0])
        )
    known = topology
    unit = None if length_unit is None else choose(LengthUnit, length_unit, "length_unit")
    boxed = built_in is not None
    runs = (run for file in files for run in open_runs(file, known, places, boxed, strict, unit))
    before = None if like is None else (like.positions, like.links)
    return TrajectoryData(*assemble(runs, molecule, progress, before))
