"""The handedness of stereocentres: no path of conformations leads to a mirror image.

The frame of a model knows rotations only, so that it does not superpose mirror images. They are
looked for at each atom that holds three neighbours around it for good, in each frame. Where two
hydrogens are on one atom they are alike, and their order says nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symplectic_cv.errors import DataWarning, SelectionError
from symplectic_cv.molecule import Molecule, bonded_neighbours

CHIRAL_VOLUME = 0.3
"""Above this triple product of unit bond vectors an atom is tetrahedral; 0.77 is ideal."""

TETRAHEDRAL = 0.4
"""A centre whose triple product is above this in most frames has a handedness; that of a flat one
passes `CHIRAL_VOLUME` in wild frames only."""

RIGID = ("C", "Si", "P", "S")
"""Elements that keep the arrangement of their neighbours; nitrogen inverts."""

PART = 8192
"""Frames that are looked at at once."""

Locate = Callable[[int], str]
"""Names a frame: its file and its number there."""


@dataclass(frozen=True)
class Stereocentres:
    """Atoms with at least three modelled neighbours, of which at most one is a hydrogen.

    Attributes:
        atoms: The atoms, shape (S,), as indices among the modelled atoms.
        neighbours: Three neighbours of each, shape (S, 3).
    """

    atoms: np.ndarray
    neighbours: np.ndarray

    @classmethod
    def of(cls, molecule: Molecule) -> Stereocentres:
        """The stereocentres of a molecule, by its bonds."""
        hydrogen = [_symbol(atom) == "H" for atom in molecule.topology.atoms]
        around = bonded_neighbours(molecule.n_atoms, molecule.bonds)
        atoms = [
            atom
            for atom, others in enumerate(around)
            if len(others) >= 3
            and _symbol(molecule.topology.atom(atom)) in RIGID
            and sum(hydrogen[other] for other in others) <= 1
        ]
        neighbours = [sorted(around[atom], key=lambda k: (hydrogen[k], k))[:3] for atom in atoms]
        return cls(np.array(atoms, dtype=np.int64), np.array(neighbours, np.int64).reshape(-1, 3))

    def signs(self, positions: np.ndarray) -> np.ndarray:
        """The handedness of each centre in each frame, shape (F, S): −1, 1, or 0 where it is flat.

        Args:
            positions: Whole frames, shape (F, N, 3), in nm.
        """
        volumes = self.volumes(positions)
        return (np.sign(volumes) * (np.abs(volumes) > CHIRAL_VOLUME)).astype(np.int8)

    def volumes(self, positions: np.ndarray) -> np.ndarray:
        """The triple product of unit vectors to the neighbours, shape (F, S), from −1 to 1.

        Args:
            positions: Whole frames, shape (F, N, 3), in nm.
        """
        found = np.zeros((len(positions), len(self.atoms)))
        for start in range(0, len(positions), PART):
            x = np.asarray(positions[start : start + PART], dtype=np.float64)
            arms = x[:, self.neighbours] - x[:, self.atoms, None]
            lengths = np.linalg.norm(arms, axis=-1)
            found[start : start + PART] = np.linalg.det(arms) / np.maximum(lengths.prod(-1), 1e-12)
        return found

    def tetrahedral(self, volumes: np.ndarray) -> np.ndarray:
        """The mask of centres that are not flat in most frames, shape (S,).

        Args:
            volumes: What `volumes` gave for the frames, shape (F, S).
        """
        return np.asarray(np.median(np.abs(volumes), axis=0) > TETRAHEDRAL)


def require_same_handedness(
    positions: np.ndarray,
    molecule: Molecule,
    reference: np.ndarray,
    name: str | Locate,
) -> None:
    """Raises SelectionError where an atom has the other handedness than in the reference.

    Args:
        positions: Whole frames, shape (F, N, 3), or one, shape (N, 3), in nm.
        molecule: The modelled atoms.
        reference: The structure to compare with, shape (N, 3), in nm: the model's mean structure.
        name: The name of the structure, or a function that names a frame, for the message.
    """
    centres = Stereocentres.of(molecule)
    signs = centres.signs(np.asarray(reference)[None])[0]
    require_handedness(positions, molecule, centres, signs, name)


def require_handedness(
    positions: np.ndarray,
    molecule: Molecule,
    centres: Stereocentres,
    signs: np.ndarray,
    name: str | Locate,
    tolerated: float = 0.0,
) -> None:
    """Raises SelectionError where an atom has another handedness than it should.

    Args:
        positions: Whole frames, shape (F, N, 3), or one, shape (N, 3), in nm.
        molecule: The modelled atoms.
        centres: The atoms to look at.
        signs: Their handedness as `Stereocentres.signs` gives it, shape (S,).
        name: The name of the structure, or a function that names a frame, for the message.
        tolerated: The share of frames up to which there is a warning instead.

    Warns:
        DataWarning: Few of the frames are mirror images.
    """
    frames = np.asarray(positions)
    frames = frames[None] if frames.ndim == 2 else frames
    if len(centres.atoms) == 0 or not (signs != 0).any():
        return
    wrong = centres.signs(frames) * signs == -1
    mirrored = np.flatnonzero(wrong.any(1))
    if len(mirrored) == 0:
        return
    first = int(mirrored[0])
    where = name if isinstance(name, str) else name(first)
    atom = int(centres.atoms[wrong[first].argmax()])
    others = f" (so have {len(mirrored)} of {len(frames)} frames)" if len(frames) > 1 else ""
    message = (
        f"{where}: {molecule.atom_label(atom)} has the opposite handedness to the model's"
        f"{others}; a mirror image, or neighbours in another order: no path leads there; take "
        "structures of the same stereoisomer"
    )
    if len(mirrored) > tolerated * len(frames):
        raise SelectionError(message)
    warnings.warn(message, DataWarning, stacklevel=4)


def require_one_handedness(
    positions: np.ndarray, molecule: Molecule, locate: Locate, tolerated: float = 0.0
) -> None:
    """Raises SelectionError where an atom has one handedness in some frames, another in others.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms.
        locate: A function that names a frame.
        tolerated: The share of frames up to which there is a warning instead.

    Warns:
        DataWarning: Few of the frames are mirror images.
    """
    centres = Stereocentres.of(molecule)
    volumes = centres.volumes(positions)
    signs = np.sign(volumes) * (np.abs(volumes) > CHIRAL_VOLUME) * centres.tetrahedral(volumes)
    left, right = (signs < 0).sum(0), (signs > 0).sum(0)
    mixed = np.flatnonzero((left > 0) & (right > 0))
    if len(mixed) == 0:
        return
    centre = int(mixed[0])
    rare = -1 if left[centre] < right[centre] else 1
    frame = int((signs[:, centre] == rare).argmax())
    count = int((signs[:, centre] == rare).sum())
    message = (
        f"{locate(frame)}: {molecule.atom_label(int(centres.atoms[centre]))} has the opposite "
        f"handedness to that in most frames (so have {count} of {len(signs)} "
        f"frames): mirror images have no common model; train on one stereoisomer, "
        "with atoms in one order"
    )
    if count > tolerated * len(signs):
        raise SelectionError(message)
    warnings.warn(message, DataWarning, stacklevel=3)


def handedness_of(positions: np.ndarray, molecule: Molecule) -> dict[int, int]:
    """The handedness of the atoms that have one in most frames, by their index in the molecule.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms.
    """
    centres = Stereocentres.of(molecule)
    volumes = centres.volumes(positions)
    signs = np.sign(np.median(volumes, axis=0))
    steady = np.flatnonzero(centres.tetrahedral(volumes))
    return {int(centres.atoms[k]): int(signs[k]) for k in steady}


def _symbol(atom: Any) -> str:
    return "" if atom.element is None else str(atom.element.symbol)
