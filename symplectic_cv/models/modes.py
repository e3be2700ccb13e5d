"""Modes of a molecule: numbers from 0, the slowest first, and their values in frames."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import mdtraj as md
import numpy as np
from torch import Tensor

from symplectic_cv.data.handedness import Locate, Stereocentres, require_handedness
from symplectic_cv.data.identity import place_atoms
from symplectic_cv.data.trajectories import TrajectoryData, remedy_for
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.molecule import Molecule

if TYPE_CHECKING:
    import pandas as pd

Frames: TypeAlias = TrajectoryData | md.Trajectory | np.ndarray | Tensor
"""Frames of a molecule: from `read_trajectories` or MDTraj, or whole positions in nm."""

OWN_MIRRORED = 0.1
"""The share of mirror images that arrays may hold: a model's own samples can have a few."""


def check_modes(modes: Sequence[int] | int, dimension: int, name: str = "modes") -> list[int]:
    """The modes as a list of ints.

    Args:
        modes: The modes, or one mode, as a user names them; 0 is the slowest.
        dimension: The number of modes that the model has, or will have.
        name: The parameter that names them, for messages.

    Raises:
        OptionError: No mode is named, one does not exist or is no whole number, or one is named
            twice.
    """
    try:
        modes = [operator.index(mode) for mode in np.atleast_1d(np.asarray(modes)).tolist()]
    except (TypeError, ValueError):
        raise OptionError(
            f"`{name}` must be whole numbers, for example 0 or [0, 1]; got {modes!r}"
        ) from None
    if len(modes) == 0:
        raise OptionError(f"`{name}` is empty: name at least one mode, for example 0")
    for mode in modes:
        if not 0 <= mode < dimension:
            raise OptionError(
                f"`{name}` {mode}: the model has {dimension} modes, "
                f"numbered 0 (slowest) to {dimension - 1}"
            )
    if len(set(modes)) != len(modes):
        raise OptionError(f"`{name}` names a mode twice: {' '.join(map(str, modes))}")
    return modes


def listed(which: Sequence[int] | int | None) -> Sequence[int] | None:
    """Modes as a sequence, where one may stand alone."""
    return [int(which)] if isinstance(which, (int, np.integer)) else which


def locator(data: Frames) -> Callable[[int], str]:
    """A function that names a frame of data in messages."""
    return data.locate if isinstance(data, TrajectoryData) else "frame {}".format


def require_mapped(values: np.ndarray, data: Frames) -> None:
    """Raises FrameError, naming the frame, unless all that a model gave is finite.

    Args:
        values: The results of the model for the frames, shape (n_frames, …).
        data: The frames.
    """
    lost = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(-1))
    if len(lost):
        frame = int(lost[0])
        raise FrameError(
            f"{locator(data)(frame)}: the model maps it to infinity, so it is far from all that "
            "the model was trained on: are these the same molecule and atoms?"
        )


class MolecularModes(ABC):
    """The base of all models of a molecule: values of its modes as arrays and as tables.

    Attributes:
        molecule: The modelled atoms.
    """

    molecule: Molecule

    @property
    @abstractmethod
    def dimension(self) -> int:
        """The number of modes."""

    @property
    @abstractmethod
    def handedness(self) -> dict[int, int]:
        """The handedness, −1 or 1, of atoms of the training frames, by their index."""

    @abstractmethod
    def modes(self, data: Frames, which: Sequence[int] | int | None = None) -> np.ndarray:
        """Values of modes in frames, dimensionless, shape (n_frames, n_modes), float64."""

    @abstractmethod
    def extrapolation(self, data: Frames) -> np.ndarray:
        """The distance of frames beyond the training frames, shape (n_frames,)."""

    def check_modes(self, modes: Sequence[int] | int, name: str = "modes") -> list[int]:
        """The modes as a list of ints; raises OptionError for one that does not exist."""
        return check_modes(modes, self.dimension, name)

    def modes_frame(
        self, data: TrajectoryData | md.Trajectory, which: Sequence[int] | int | None = None
    ) -> pd.DataFrame:
        """Values of modes as a table.

        Args:
            data: Frames from `read_trajectories` or MDTraj.
            which: The modes, 0 is the slowest; all of them where None.

        Returns:
            One row per frame with the columns `frame` (its number in its file, from 0), `time_ps`
            (NaN where the file has no times), `file`, and `mode_k` (dimensionless) for each mode.

        Raises:
            OptionError, SelectionError, FrameError: See `modes`.
        """
        import pandas as pd

        if isinstance(data, md.Trajectory):
            data = self.read_frames(data)
        values = self.modes(data, which)
        if not isinstance(data, TrajectoryData):
            raise OptionError(
                "`data` has no files and times: give what `read_trajectories` or MDTraj reads, or "
                "use `modes` for an array"
            )
        times = np.full(data.n_frames, np.nan) if data.times_ps is None else data.times_ps
        columns: dict[str, Any] = {
            "frame": np.concatenate([np.arange(length) for length in data.lengths]),
            "time_ps": times,
            "file": np.repeat(data.names, data.lengths),
        }
        numbers = listed(which) or range(self.dimension)
        columns |= {f"mode_{k}": values[:, place] for place, k in enumerate(numbers)}
        return pd.DataFrame(columns)

    def positions_of(self, data: Frames) -> np.ndarray:
        """Positions of the modelled atoms in frames, checked, shape (n_frames, n_atoms, 3), in nm.

        Raises:
            OptionError: The positions have another shape.
            SelectionError: The data are of other atoms than the model's, or of mirror images.
            FrameError: Coordinates are NaN or infinite.
        """
        if isinstance(data, md.Trajectory):
            data = self.read_frames(data)
        if isinstance(data, TrajectoryData):
            if data.molecule is self.molecule:
                positions = data.positions
            else:
                places = place_atoms(self.molecule, data.molecule.topology, data.names[0])
                positions = data.positions[:, places]
            self.require_handedness(positions, data.locate)
            return positions
        if isinstance(data, (str, Path)) or hasattr(data, "universe"):
            raise OptionError(
                f"`data` must be frames or positions; got {type(data).__name__}: {remedy_for(data)}"
            )
        values = data.detach().cpu().numpy() if isinstance(data, Tensor) else np.asarray(data)
        molecule = self.molecule
        if values.ndim == 3 and values.shape[1:] == (molecule.n_system_atoms, 3) != (
            molecule.n_atoms,
            3,
        ):
            raise OptionError(
                f"`data` has all {molecule.n_system_atoms} atoms of the system; give the "
                f"{molecule.n_atoms} of the model, whole: data[:, model.molecule.indices]"
            )
        if values.ndim not in (2, 3) or values.shape[-2:] != (self.molecule.n_atoms, 3):
            raise OptionError(
                f"`data` has shape {values.shape}; give "
                f"(n_frames, {self.molecule.n_atoms}, 3) in nm"
            )
        values = values[None] if values.ndim == 2 else values
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(-1))
        if len(bad):
            raise FrameError(
                f"`data`: frame {bad[0]} has NaN or infinite coordinates: leave it out"
            )
        self.require_handedness(values, lambda frame: f"`data`: frame {frame}", OWN_MIRRORED)
        return values

    def read_frames(self, trajectory: md.Trajectory) -> TrajectoryData:
        """The model's atoms in the frames of an MDTraj trajectory, whole and checked.

        Args:
            trajectory: Frames of the whole system, or of the modelled atoms alone.

        Raises:
            SelectionError, TrajectoryError: The frames are of other atoms, or cannot be made whole.
        """
        places = place_atoms(self.molecule, trajectory.topology, "trajectory")
        return TrajectoryData.of_molecule(trajectory, self.molecule, places)

    def require_handedness(
        self, positions: np.ndarray, name: str | Locate, tolerated: float = 0.0
    ) -> None:
        """Raises SelectionError for structures that are mirror images of what the model knows.

        Args:
            positions: Whole positions of the modelled atoms, shape (F, N, 3) or (N, 3), in nm.
            name: The name of the structure, or a function that names a frame, for the message.
            tolerated: The share of frames up to which there is a warning instead.
        """
        known = self.handedness
        centres = Stereocentres.of(self.molecule)
        signs = np.array([known.get(int(atom), 0) for atom in centres.atoms], dtype=np.int8)
        require_handedness(positions, self.molecule, centres, signs, name, tolerated)
