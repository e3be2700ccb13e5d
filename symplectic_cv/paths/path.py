"""Paths between two structures, given as arrays or as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import mdtraj as md
import numpy as np

from symplectic_cv.data.handedness import require_same_handedness
from symplectic_cv.data.structures import read_structure
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import OptionError
from symplectic_cv.models.modes import MolecularModes
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_folder import open_modes
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.paths.interpolation import (
    cartesian_path,
    spherical_path,
    straight_latent_path,
)
from symplectic_cv.paths.latent_path import LatentPath
from symplectic_cv.paths.strings import refine_path

Structure: TypeAlias = np.ndarray | TrajectoryData | md.Trajectory | str | Path
"""A structure of the modelled atoms: whole positions, shape (n_atoms, 3) in nm, one frame of
`read_trajectories` or MDTraj, or a file: PDB or TRAJ:FRAME."""


@dataclass(frozen=True)
class ComparedPaths:
    """A latent path, and other paths between the same structures.

    Attributes:
        path: The latent path, refined where that was asked for.
        straight: The straight line between the superposed structures.
        straight_latent: The straight line in the latent space.
        unrefined: The latent path before its refinement; None where it was not refined.
    """

    path: LatentPath
    straight: LatentPath
    straight_latent: LatentPath
    unrefined: LatentPath | None = None

    @property
    def others(self) -> dict[str, LatentPath]:
        """The other paths by name, as figures show them."""
        named = {
            "straight line": self.straight,
            "straight in the latent space": self.straight_latent,
        }
        return named if self.unrefined is None else named | {"not refined": self.unrefined}


def latent_path(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    start: Structure,
    end: Structure,
    points: int = 40,
    modes: Sequence[int] | None = None,
    refine: bool = False,
    top: str | Path | None = None,
) -> LatentPath:
    """A path between two structures along the shell where the probability of a model is.

    The scaled modes are interpolated spherically, not through the unlikely inside of their sphere.

    Args:
        model: A model, or its folder.
        start: The structure at the start: positions of the modelled atoms, shape (n_atoms, 3) in
            nm; one frame from MDTraj or `read_trajectories`; or a file, which is a PDB of one
            structure, or TRAJ:FRAME with a frame counted from 0, such as "traj.xtc:12".
        end: The structure at the end, likewise.
        points: The number of structures, both ends included, at least 2.
        modes: The modes that move on their sphere, while the others move straight; all where None.
        refine: Whether the path is moved to the most likely one nearby.
        top: The topology of trajectory files; the one beside the file where None.

    Returns:
        The path, with `latent`, `positions`, `log_likelihood`, `angles`, and `save(folder)`.

    Raises:
        OptionError: Fewer than two points, or a mode that does not exist.
        TrajectoryError: A missing or damaged file.
        SelectionError: Other atoms than the model's, or the mirror image of its molecule.
        FrameError: A point is no structure, or a torsion is undefined there.

    Example::

        path = sc.latent_path("model", "folded.pdb", "traj.xtc:12", points=20)
        path.save("path")
    """
    network, torsions = _opened(model)
    first, last = (read_end(network, given, top, name) for given, name in _ends(start, end))
    path = _between(network, first, last, points, modes, refine)[0]
    return _with_modes(path, torsions).check()


def compare_paths(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    start: Structure,
    end: Structure,
    points: int = 40,
    modes: Sequence[int] | None = None,
    refine: bool = False,
    top: str | Path | None = None,
) -> ComparedPaths:
    """The latent path between two structures, and the straight lines in space and latent space.

    Args:
        model: A model, or its folder.
        start: The structure at the start, as for `latent_path`.
        end: The structure at the end, as for `latent_path`.
        points: The number of structures of each path.
        modes: The modes that move on their sphere; all where None.
        refine: Whether the latent path is moved to the most likely one nearby.
        top: The topology of trajectory files; the one beside the file where None.

    Raises:
        UserError: As for `latent_path`.
    """
    network, torsions = _opened(model)
    first, last = (read_end(network, given, top, name) for given, name in _ends(start, end))
    path, unrefined = _between(network, first, last, points, modes, refine)
    ends = path.latent[0], path.latent[-1]
    return ComparedPaths(
        path=_with_modes(path, torsions).check(),
        straight=cartesian_path(network, first, last, points),
        straight_latent=straight_latent_path(network, *ends, points),
        unrefined=unrefined,
    )


def read_end(
    model: NeuralCanonicalTransformation,
    structure: Structure,
    top: str | Path | None = None,
    name: str = "start",
) -> np.ndarray:
    """A structure of the modelled atoms, shape (n_atoms, 3), in nm, in float64.

    Args:
        model: The model.
        structure: Whole positions, shape (n_atoms, 3) in nm; one frame from MDTraj or
            `read_trajectories`; or a file: PDB or TRAJ:FRAME.
        top: The topology of a trajectory file; the one beside it where None.
        name: The parameter that holds the structure, for messages about an array.

    Raises:
        OptionError: An array of another shape, or several frames.
        TrajectoryError: A missing or damaged file.
        SelectionError: Other atoms than the model's, or the mirror image of its molecule.
    """
    if isinstance(structure, (str, Path)):
        name = str(structure)
        positions = read_structure(name, model.molecule, top)
    else:
        if isinstance(structure, (TrajectoryData, md.Trajectory)):
            if structure.n_frames != 1:
                raise OptionError(
                    f"`{name}` has {structure.n_frames} frames: give one, such as trajectory[0] of "
                    "MDTraj or data.positions[0]"
                )
            structure = model.positions_of(structure)[0]
        positions = np.asarray(structure, dtype=np.float64)
        if positions.shape != (model.molecule.n_atoms, 3):
            raise OptionError(
                f"`{name}` must have shape ({model.molecule.n_atoms}, 3), the positions of the "
                f"modelled atoms in nm; got {positions.shape}"
            )
        name = f"`{name}`"
    reference = model.frame.reference.cpu().numpy()
    require_same_handedness(positions, model.molecule, reference, name)
    return positions


def _opened(
    model: MolecularModes | str | Path,
) -> tuple[NeuralCanonicalTransformation, TorsionModel | None]:
    """The density of a model, and the model itself where its modes are those of torsions."""
    opened = open_modes(model)
    if isinstance(opened, TorsionModel):
        return opened.require_density(), opened
    return opened, None


def _with_modes(path: LatentPath, torsions: TorsionModel | None) -> LatentPath:
    return path if torsions is None else replace(path, modes=torsions.modes(path.positions))


def _ends(start: Structure, end: Structure) -> list[tuple[Structure, str]]:
    return [(start, "start"), (end, "end")]


def _between(
    model: NeuralCanonicalTransformation,
    start: np.ndarray,
    end: np.ndarray,
    points: int,
    modes: Sequence[int] | None,
    refine: bool,
) -> tuple[LatentPath, LatentPath | None]:
    """The latent path, and what it was before a refinement."""
    path = spherical_path(model, start, end, points, modes)
    return (refine_path(model, path), path) if refine else (path, None)
