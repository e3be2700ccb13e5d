"""Hills of a metadynamics run, from which its bias can be computed anywhere.

`hills.csv` has one row per hill: time_ps, the modes at its centre, its width along each mode
and its height in kJ/mol. A hill is height · exp(−Σ_k (s_k − centre_k)² / 2 width_k²).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.errors import OutputError
from symplectic_cv.files.tables import parse_table

CHUNK = 4_000_000
"""Numbers held at once while hills are summed."""
HILLS = "hills.csv"


@dataclass(frozen=True)
class Hills:
    """Gaussian hills in the order in which they were added.

    Attributes:
        time_ps: The times at which the hills were added, shape (H,), in ps.
        centres: The modes at the centres, shape (H, n), dimensionless.
        widths: The widths along each mode, shape (H, n), dimensionless.
        heights: The heights, shape (H,), in kJ/mol.

    Example:
        >>> one = np.ones((1, 1))
        >>> hills = Hills(np.ones(1), 0.0 * one, 0.5 * one, np.array([2.0]))
        >>> hills.at(np.array([[0.0], [0.5]])).round(3).tolist()  # kJ/mol
        [2.0, 1.213]
    """

    time_ps: np.ndarray
    centres: np.ndarray
    widths: np.ndarray
    heights: np.ndarray

    def __len__(self) -> int:
        return len(self.heights)

    def __getitem__(self, rows: slice | np.ndarray) -> Hills:
        return Hills(self.time_ps[rows], self.centres[rows], self.widths[rows], self.heights[rows])

    @property
    def n_modes(self) -> int:
        return self.centres.shape[1]

    def at(self, modes: np.ndarray) -> np.ndarray:
        """The sum of all hills.

        Args:
            modes: The places, shape (F, n), dimensionless.

        Returns:
            The sum at each place, shape (F,), in kJ/mol.
        """
        modes = np.asarray(modes, dtype=np.float64)
        total = np.zeros(len(modes))
        step = max(1, CHUNK // max(1, len(self)))
        for first in range(0, len(modes), step):
            part = modes[first : first + step]
            exponent = np.zeros((len(part), len(self)))
            for k in range(self.n_modes):
                scaled = (part[:, k, None] - self.centres[:, k]) / self.widths[:, k]
                exponent -= 0.5 * scaled**2
            total[first : first + step] = np.exp(exponent) @ self.heights
        return total

    def on_grid(self, grid: BiasGrid) -> np.ndarray:
        """The sum of all hills on a grid, in kJ/mol; the first mode runs along the first axis."""
        total = np.zeros((grid.shape[0], int(np.prod(grid.shape[1:]))))
        step = max(1, CHUNK // (total.size // total.shape[0] + total.shape[0]))
        for first in range(0, len(self), step):
            part = self[first : first + step]
            profiles = [
                np.exp(-0.5 * ((axis - part.centres[:, k, None]) / part.widths[:, k, None]) ** 2)
                for k, axis in enumerate(grid.axes)
            ]
            rest = np.ones((len(part), 1))
            for profile in profiles[1:]:
                rest = (rest[:, :, None] * profile[:, None, :]).reshape(len(part), -1)
            total += (profiles[0] * part.heights[:, None]).T @ rest
        return total.reshape(grid.shape)


def hills_header(names: Sequence[str]) -> list[str]:
    """The columns of hills.csv for modes of these names."""
    return ["time_ps", *names, *(f"width_{name}" for name in names), "height_kj_per_mol"]


def read_hills(path: Path, n_bytes: int | None = None, skip: int = 0) -> Hills:
    """Reads hills.csv, or the rows between two places in it.

    Args:
        path: The table.
        n_bytes: The place at which reading ends, in bytes; it must be the end of a row. The whole
            file is read where None.
        skip: The place at which reading begins, in bytes; it must be the end of a row, or 0.

    Raises:
        OutputError: The file is missing, cut or holds something else.
    """
    try:
        with open(path, "rb") as handle:
            first = handle.readline()
            begin = max(skip, len(first))
            handle.seek(begin)
            content = first + handle.read(-1 if n_bytes is None else max(0, n_bytes - begin))
        if (n_bytes or 0) > begin - len(first) + len(content):
            raise ValueError("its last row is cut")
        text = content.decode()
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: not readable as hills ({error})") from error
    frame = parse_table(text, path, finite=True, kind="hills")
    header = list(frame.columns)
    n = (len(header) - 2) // 2
    if n < 1 or header != hills_header(header[1 : 1 + n]):
        raise OutputError(f"{path}: not readable as hills (not the columns of hills)")
    table = np.ascontiguousarray(frame.to_numpy(np.float64))
    if (table[:, 1 + n : 1 + 2 * n] <= 0).any():
        raise OutputError(f"{path}: not readable as hills (a width that is not positive)")
    return Hills(table[:, 0], table[:, 1 : 1 + n], table[:, 1 + n : 1 + 2 * n], table[:, -1])


def merge(parts: Sequence[Hills]) -> Hills:
    """The hills of several walkers together, in the order of time."""
    joined = Hills(
        np.concatenate([part.time_ps for part in parts]),
        np.concatenate([part.centres for part in parts]),
        np.concatenate([part.widths for part in parts]),
        np.concatenate([part.heights for part in parts]),
    )
    return joined[np.argsort(joined.time_ps, kind="stable")]
