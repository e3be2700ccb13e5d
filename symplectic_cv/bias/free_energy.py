"""The free energy of a biased run in its own modes, as `free_energy.npz` holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from symplectic_cv.errors import OutputError

SURFACE = "free_energy.npz"


@dataclass(frozen=True)
class FreeEnergy:
    """A free energy on the grid of the biased modes; the first mode runs along the first axis.

    Attributes:
        names: The names of the modes, such as `mode_0`.
        axes: The values of each mode on the grid, dimensionless, (points[k],) each.
        values: The free energy in kJ/mol, least value 0: of metadynamics from the bias, of OPES
            from the weights of the frames.
        reweighted: The free energy from the weights of the frames in kJ/mol, least value 0,
            infinite where no frame came near.
        error: The standard error of `reweighted` in kJ/mol, infinite where too few frames came.
        bias: The last bias in kJ/mol.
    """

    names: list[str]
    axes: list[np.ndarray]
    values: np.ndarray
    reweighted: np.ndarray
    error: np.ndarray
    bias: np.ndarray

    @classmethod
    def read(cls, folder: str | Path, names: Sequence[str]) -> FreeEnergy:
        """Reads the free energy of a run.

        Args:
            folder: The folder of the run.
            names: The names of its modes.

        Raises:
            OutputError: Free_energy.npz is missing, which the end of a run writes, or damaged.
        """
        keys = ["free_energy", "reweighted", "error", "bias"]
        arrays = read_surface(folder, [*names, *keys])
        axes = [arrays[name] for name in names]
        return cls(list(names), axes, *(arrays[key] for key in keys))


def read_surface(folder: str | Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of free_energy.npz by name; raises OutputError where it is missing or damaged."""
    path = Path(folder) / SURFACE
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise OutputError(
            f"{path}: missing or damaged ({error}); a run that is resumed (`resume`) writes it anew"
        ) from error
