"""Weights of frames from files: NumPy arrays, plain text, CSV tables, COLVAR files of PLUMED.

Masses of atoms are read from such files too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from symplectic_cv.errors import OptionError
from symplectic_cv.files.tables import read_array
from symplectic_cv.units import thermal_energy

FIELDS = "#! FIELDS"
"""How a line with the names of the columns begins in files of PLUMED."""
WEIGHTS = ("weight", "weights", "w")
"""Columns that hold weights, where none is named."""
BIASES = ("rbias", "bias_kj_per_mol", "bias")
"""Endings of the names of columns that hold a bias V in kJ/mol; the weight is then exp(V/kT)."""


@dataclass(frozen=True)
class FrameWeights:
    """The weights of frames, and where they come from.

    Attributes:
        values: One weight per frame, shape (F,), as it was read; not checked.
        source: What was read, for messages.
    """

    values: np.ndarray
    source: str


def read_weights(spec: str | Path, temperature: float = 300.0) -> FrameWeights:
    """Reads one weight per frame.

    Args:
        spec: A file, or FILE:COLUMN for a table. The file is a NumPy array (.npy), text with one
            number per line, a CSV table with a header such as colvar.csv, or a COLVAR file of
            PLUMED. Without a name the column `weight` is taken, otherwise a single column of a
            bias, whose weight is exp(V/kT).
        temperature: The temperature of the data, in K, for a column of a bias.

    Raises:
        OptionError: The file is missing or unreadable, or the column is not there.
    """
    path, column = _split(str(spec))
    if not path.is_file():
        raise OptionError(f"`weights` {path}: no such file")
    if path.suffix == ".npy":
        return FrameWeights(read_array(path, "weights"), str(path))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"`weights` {path}: neither text nor a .npy file: give one number per line, a CSV "
            "table, or a COLVAR file of PLUMED"
        ) from error
    names = _names(lines)
    rows = _rows(lines, path, skip_first=bool(names) and not lines[0].startswith("#"))
    if not names:
        if column is not None:
            raise OptionError(f"`weights` {path}: has no header that names a column {column!r}")
        if rows.shape[1] != 1:
            raise OptionError(
                f"`weights` {path}: has {rows.shape[1]} columns and no header: give one number "
                "per line"
            )
        return FrameWeights(rows[:, 0], str(path))
    if rows.shape[1] != len(names):
        raise OptionError(f"`weights` {path}: has {rows.shape[1]} columns and {len(names)} names")
    column = column or _guess(names, path)
    if column not in names:
        raise OptionError(
            f"`weights` {path}: has no column {column!r}; it has {', '.join(names)}: name one "
            f"as {path}:COLUMN"
        )
    values = rows[:, names.index(column)]
    if not column.endswith(BIASES):
        return FrameWeights(values, f"column {column} of {path}")
    energy = values / thermal_energy(temperature)
    return FrameWeights(
        np.exp(energy - energy.max()), f"exp(V/kT) of the bias in column {column} of {path}"
    )


def read_masses(spec: str) -> np.ndarray:
    """Masses of atoms in Da: one number, or one per atom from a file.

    Args:
        spec: A number, or a .npy file or text with one number per line.

    Raises:
        OptionError: It is neither a number nor a readable file.
    """
    try:
        return np.array(float(spec))
    except ValueError:
        pass
    path = Path(spec)
    if not path.is_file():
        raise OptionError(f"`masses` {spec}: neither a number nor a file")
    try:
        if path.suffix == ".npy":
            return np.asarray(read_array(path, "masses"), dtype=np.float64)
        return np.asarray(np.loadtxt(path, ndmin=1), dtype=np.float64)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise OptionError(f"`masses` {path}: not one number per line ({error})") from error


def _split(spec: str) -> tuple[Path, str | None]:
    """File and column; a file may have a colon in its own name."""
    if Path(spec).is_file() or ":" not in spec:
        return Path(spec), None
    file, column = spec.rsplit(":", 1)
    return Path(file), column


def _names(lines: list[str]) -> list[str]:
    """The names of the columns; none where there is no header."""
    if not lines:
        return []
    first = lines[0]
    if first.startswith(FIELDS):
        return first[len(FIELDS) :].split()
    cells = [cell.strip() for cell in first.lstrip("#").replace(",", " ").split()]
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return cells
    return []


def _rows(lines: list[str], path: Path, skip_first: bool) -> np.ndarray:
    """The numbers of a text, shape (rows, columns)."""
    rows = []
    for number, line in enumerate(lines, 1):
        content = line.split("#", 1)[0].replace(",", " ").split()
        if not content or (number == 1 and skip_first):
            continue
        try:
            rows.append([float(cell) for cell in content])
        except ValueError:
            raise OptionError(f"`weights` {path}: line {number} is not a row of numbers") from None
        if len(rows[-1]) != len(rows[0]):
            raise OptionError(
                f"`weights` {path}: line {number} has {len(rows[-1])} numbers, the first has "
                f"{len(rows[0])}: is the file cut?"
            )
    if not rows:
        raise OptionError(f"`weights` {path}: holds no numbers")
    return np.array(rows)


def _guess(names: list[str], path: Path) -> str:
    """The column of weights, where a user names none."""
    for name in WEIGHTS:
        if name in names:
            return name
    for ending in BIASES:
        found = [name for name in names if name.endswith(ending)]
        if len(found) == 1:
            return found[0]
    raise OptionError(
        f"`weights` {path}: none of the columns {', '.join(names)} is called weight: name one as "
        f"{path}:COLUMN"
    )
