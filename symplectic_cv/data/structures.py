"""Single structures of the modelled atoms: read from files, and checked against a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mdtraj as md
import numpy as np

from symplectic_cv.data import mdshare
from symplectic_cv.data.formats import FORMATS, find_topology, load_topology
from symplectic_cv.data.identity import place_atoms
from symplectic_cv.data.mdtraj_files import READ_WHOLE, SELF_DESCRIBING, suffix_of
from symplectic_cv.data.periodic import (
    find_broken_link,
    known_box,
    make_whole,
    spanning_links,
)
from symplectic_cv.data.quiet import quiet_output
from symplectic_cv.data.torsions import Torsion
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import OptionError, TrajectoryError, UserError
from symplectic_cv.molecule import Molecule

LINE = 0.02
"""Below this sine of an angle its three atoms lie on a line, and torsions about it mean nothing."""

_FRAME = re.compile(r"(?P<file>.+):(?P<frame>-?\d+)")


def read_structure(spec: str, molecule: Molecule, top: str | Path | None = None) -> np.ndarray:
    """Reads one whole structure of the modelled atoms, shape (N, 3), in nm, float64.

    Args:
        spec: A PDB file with one structure, or `TRAJ:FRAME` with a trajectory file of any
            kind that `train` reads (or `mdshare:FILE`) and a frame number from 0.
        molecule: The model's atoms; the file holds these alone, or the whole system.
        top: The topology file of a trajectory; it is looked for beside it where None.

    Raises:
        OptionError: The text is neither a file nor TRAJ:FRAME.
        TrajectoryError: A file is missing or damaged, the frame is not there, or the
            structure cannot be made whole.
        SelectionError: The atoms are not those of the model.
    """
    source, frame = _split(spec)
    is_mdshare = source.startswith(mdshare.PREFIX)
    if is_mdshare or source.lower().endswith(".npz"):
        if is_mdshare and top is None:
            topology, name_of_top = mdshare.heavy_atom_topology(), source
        else:
            top = _topology_file(Path(source), top)
            topology, name_of_top = load_topology(top), str(top)
        places = place_atoms(molecule, topology, name_of_top)
        there = replace(molecule, indices=places, n_system_atoms=topology.n_atoms)
        data = read_trajectories([source], top, molecule=there)
        return data.positions[_choose(source, frame, data.n_frames)].astype(np.float64)

    path = Path(source)
    top = _topology_file(path, top)
    topology = load_topology(top)
    places = place_atoms(molecule, topology, str(top))
    in_order = np.sort(places)
    try:
        suffix = suffix_of(path)
        if suffix in READ_WHOLE or (suffix in SELF_DESCRIBING and not suffix.endswith("5")):
            options = {} if suffix in SELF_DESCRIBING else {"top": topology}
            every = md.load(str(path), atom_indices=in_order, **options)
            loaded = every[_choose(source, frame, every.n_frames)]
        else:
            with quiet_output(), md.open(str(path)) as handle:
                n_frames = len(handle)
            chosen = _choose(source, frame, n_frames)
            options = {} if suffix in SELF_DESCRIBING else {"top": topology}
            with quiet_output():
                loaded = md.load_frame(str(path), chosen, atom_indices=in_order, **options)
    except UserError:
        raise
    except Exception as error:  # MDTraj raises errors of many types
        raise TrajectoryError(
            f"{spec}: truncated or damaged, or not of the topology {top} "
            f"({type(error).__name__}: {error})"
        ) from error
    order = np.searchsorted(in_order, places)
    return _whole(loaded.xyz[:, order], known_box(loaded.unitcell_vectors), molecule, spec)


def undefined_torsions(positions: np.ndarray, torsions: Sequence[Torsion]) -> np.ndarray:
    """A mask of torsions that are undefined because three of their atoms lie on a line.

    Args:
        positions: The structures, shape (P, N, 3), in nm.
        torsions: The T torsions.

    Returns:
        The mask, shape (P, T).
    """
    undefined = np.zeros((len(positions), len(torsions)), dtype=bool)
    for place, torsion in enumerate(torsions):
        for i, j, k in (torsion.atoms[:3], torsion.atoms[1:]):
            u, v = positions[:, i] - positions[:, j], positions[:, k] - positions[:, j]
            lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
            sine = np.linalg.norm(np.cross(u, v), axis=1) / np.maximum(lengths, 1e-12)
            undefined[:, place] |= ~(sine > LINE)
    return undefined


def _split(spec: str) -> tuple[str, int | None]:
    """File and frame of PDB or TRAJ:FRAME, after checking that there is such a file."""
    match = _FRAME.fullmatch(spec)
    source, frame = spec, None
    # a file may have a colon in its name, so what exists as it stands is a file
    if match is not None and not Path(spec).is_file():
        source, frame = match["file"], int(match["frame"])
    if source.startswith(mdshare.PREFIX):
        return source, frame
    if not Path(source).is_file():
        raise OptionError(f"{source}: no such file; give a PDB file, or TRAJ:FRAME")
    if suffix_of(source) not in FORMATS:
        raise OptionError(f"{source}: unknown format; known are {', '.join(FORMATS)}")
    return source, frame


def _choose(source: str, frame: int | None, n_frames: int) -> int:
    """The frame to take; raises TrajectoryError where it is not there or not named."""
    if frame is None and n_frames != 1:
        raise TrajectoryError(
            f"{source}: holds {n_frames} structures; say which, for example {source}:0"
        )
    if frame is not None and not 0 <= frame < n_frames:
        raise TrajectoryError(
            f"{source}: no frame {frame}; it has {n_frames}, numbered 0 to {n_frames - 1}"
        )
    return frame or 0


def _topology_file(path: Path, top: str | Path | None) -> Path:
    """The topology file of an end; a file that describes itself needs none."""
    found = find_topology(path)
    if suffix_of(path) in SELF_DESCRIBING:
        return path
    if top is not None:
        return Path(top)
    if found is None:
        raise TrajectoryError(f"{path}: no topology found beside it; name one with `top`")
    return found


def _whole(
    positions: np.ndarray, box: np.ndarray | None, molecule: Molecule, name: str
) -> np.ndarray:
    """The one frame made whole, (N, 3) in nm; raises TrajectoryError where it cannot be."""
    if not np.isfinite(positions).all():
        raise TrajectoryError(f"{name}: has NaN or infinite coordinates; take another frame")
    links = spanning_links(positions[0], None if box is None else box[0], molecule.bonds)
    whole = make_whole(positions, box, links)
    broken = find_broken_link(whole, links, np.full(len(links.pairs), np.inf))
    if broken is not None:
        first, second = (molecule.atom_label(int(atom)) for atom in links.pairs[broken[1]])
        raise TrajectoryError(
            f"{name}: {first} and {second} are {broken[2]:.2f} nm apart: not a whole molecule, "
            "or not the topology of this file"
        )
    return whole[0]
