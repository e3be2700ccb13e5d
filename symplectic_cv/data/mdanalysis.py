"""Topology and frames of an MDAnalysis universe, in MDTraj's terms and in nm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import mdtraj as md
import numpy as np

from symplectic_cv.data.mdtraj_files import CHUNK, Chunk
from symplectic_cv.errors import SelectionError, TrajectoryError

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

NM = 0.1
"""One ångström, MDAnalysis's unit of length, in nm."""


def selection_of(source: Universe | AtomGroup) -> list[int] | None:
    """Indices of the atoms of an atom group; None for a universe.

    Raises:
        TrajectoryError: The source is neither.
    """
    if source is source.universe:
        return None
    return [int(index) for index in source.atoms.indices]


def topology_of(universe: Universe) -> md.Topology:
    """The topology of all atoms of a universe.

    Elements that the universe does not know are taken from its atom types or names. Bonds are
    MDTraj's standard bonds of known residues, and those of the universe.
    """
    topology = md.Topology()
    chains: dict[int, Any] = {}
    residues: dict[int, Any] = {}
    for atom in universe.atoms:
        residue = atom.residue
        if residue.segindex not in chains:
            chains[residue.segindex] = topology.add_chain()
        if residue.resindex not in residues:
            residues[residue.resindex] = topology.add_residue(
                getattr(residue, "resname", "UNK"),
                chains[residue.segindex],
                resSeq=int(getattr(residue, "resid", residue.resindex + 1)),
            )
        name = getattr(atom, "name", "") or getattr(atom, "type", "") or "X"
        topology.add_atom(name, _element(atom, name), residues[residue.resindex])
    topology.create_standard_bonds()
    if hasattr(universe, "bonds"):  # of a PDB file only those that it lists
        known = {frozenset((a.index, b.index)) for a, b in topology.bonds}
        for first, second in universe.bonds.indices:
            if frozenset((int(first), int(second))) not in known:
                topology.add_bond(topology.atom(int(first)), topology.atom(int(second)))
    return topology


def frames_of(universe: Universe, indices: np.ndarray) -> Iterator[Chunk]:
    """Chunks of all frames of a universe's trajectory, of the chosen atoms.

    The universe is at the same frame afterwards.

    Raises:
        TrajectoryError: The trajectory cannot be read.
    """
    here = universe.trajectory.frame
    atoms = universe.atoms[np.asarray(indices)]
    positions: list[np.ndarray] = []
    boxes: list[np.ndarray | None] = []
    times: list[float] = []

    def chunk() -> Chunk:
        known = [box for box in boxes if box is not None]
        box = np.array(known) if len(known) == len(boxes) else None
        found = Chunk(np.array(positions), box, np.array(times))
        for part in (positions, boxes, times):
            part.clear()
        return found

    try:
        for frame in universe.trajectory:
            positions.append(NM * atoms.positions.astype(np.float64))
            boxes.append(_box(frame))
            times.append(float(frame.time))
            if len(positions) == CHUNK:
                yield chunk()
        if positions:
            yield chunk()
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, (SelectionError, TrajectoryError)):
            raise
        raise TrajectoryError(
            f"{universe.trajectory.filename}: MDAnalysis cannot read it ({error})"
        ) from error
    finally:
        universe.trajectory[here]


def _box(frame: Any) -> np.ndarray | None:
    """Box vectors of a frame, (3, 3) in nm; None where there is no box."""
    if frame.dimensions is None or not (np.abs(frame.dimensions[:3]) > 1e-6).all():
        return None
    return NM * np.asarray(frame.triclinic_dimensions, dtype=np.float64)


def _element(atom: Any, name: str) -> Any:
    """MDTraj's element of an atom; virtual where the element is unknown."""
    for attribute in ("element", "type"):
        symbol = str(getattr(atom, attribute, "") or "")
        try:
            return md.element.get_by_symbol(symbol.capitalize())
        except KeyError:
            continue
    letters = name.lstrip("0123456789")
    try:
        return md.element.get_by_symbol(letters[:1].upper())
    except KeyError:
        return md.element.virtual
