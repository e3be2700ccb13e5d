"""CSV tables: written whole, read back with errors that name the file and the row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symplectic_cv.errors import OptionError, OutputError, UserError
from symplectic_cv.files.atomic import write_atomically


def write_table(
    path: str | Path,
    table: pd.DataFrame | Mapping[str, Any],
    float_format: str | Mapping[str, str] = "%.8g",
) -> None:
    """Writes a CSV table with one header line. The file is written whole or not at all.

    Missing and undefined numbers are written as `nan`. Columns of integers and of text are
    written as they are.

    Args:
        path: The file to write.
        table: The columns by name, all of one length, in the order in which they are written.
        float_format: The printf format of the floating-point columns, or one for each such
            column by name.

    Raises:
        KeyError: A floating-point column has no format.
        ValueError: The columns differ in length.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "modes.csv"
        ...     write_table(file, {"mode": [0, 1], "omega": [2.5, 10 / 3]}, "%.4g")
        ...     print(file.read_text(), end="")
        mode,omega
        0,2.5
        1,3.333
    """
    frame = pd.DataFrame(table)
    if not isinstance(float_format, str):
        floating = frame.select_dtypes("floating").columns
        # one column at a time: pandas itself takes one format for all of them
        formatted = {
            name: [
                "nan" if np.isnan(value) else float_format[name] % value
                for value in frame[name].to_numpy()
            ]
            for name in floating
        }
        frame = frame.assign(**formatted)
        float_format = "%.8g"
    text = frame.to_csv(index=False, float_format=float_format, na_rep="nan", lineterminator="\n")
    write_atomically(Path(path), text.encode())


def read_table(
    path: str | Path,
    columns: Sequence[str] = (),
    *,
    text: Sequence[str] = (),
    finite: bool | Sequence[str] = False,
    kind: str = "a table",
    remedy: str = "",
    complete: bool = True,
    error: type[UserError] = OutputError,
) -> pd.DataFrame:
    """Reads a CSV table with one header line; numbers come back with all their digits.

    Args:
        path: The file to read.
        columns: The columns that the table must have; it may have others.
        text: The columns that hold text, and those that may be empty. All others hold numbers:
            columns of whole numbers come as int64, the rest as float64.
        finite: The columns in which every number must be finite; True stands for all.
        kind: What the table is, for the error message, such as "a table of hills".
        remedy: What a user can do about a damaged table, for the end of the error message.
        complete: Whether the file must end in a newline. A run that was killed leaves half a row.
        error: The class of the errors that are raised.

    Raises:
        UserError: The file is missing, cut or empty, lacks a column, or has a cell that is not a
            number. The class of the error is `error`.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not text"
        raise error(_message(path, kind, reason, remedy)) from problem
    return parse_table(
        content,
        path,
        columns,
        text=text,
        finite=finite,
        kind=kind,
        remedy=remedy,
        complete=complete,
        error=error,
    )


def parse_table(
    content: str,
    source: str | Path,
    columns: Sequence[str] = (),
    *,
    text: Sequence[str] = (),
    finite: bool | Sequence[str] = False,
    kind: str = "a table",
    remedy: str = "",
    complete: bool = True,
    error: type[UserError] = OutputError,
) -> pd.DataFrame:
    """The table in a text that was read from a file; see `read_table`.

    Args:
        content: The header line and the rows.
        source: The file that the text comes from, for the error message.
        columns: The columns that the table must have.
        text: The columns that hold text.
        finite: The columns in which every number must be finite; True stands for all.
        kind: What the table is, for the error message.
        remedy: What a user can do about a damaged table.
        complete: Whether the text must end in a newline.
        error: The class of the errors that are raised.

    Raises:
        UserError: As for `read_table`.
    """
    try:
        if complete and not content.endswith("\n"):
            raise ValueError("its last row is cut")
        header = _check_shape(content)
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(f"no column {missing[0]}")
        table = pd.read_csv(
            io.StringIO(content),
            dtype=dict.fromkeys(set(text) & set(header), str),
            keep_default_na=False,
            na_values={name: ["nan", "NaN"] for name in header if name not in text},
            float_precision="round_trip",
            index_col=False,
            skip_blank_lines=False,
        )
        numbers = [name for name in header if name not in text]
        if len(table) == 0:
            return table.astype(dict.fromkeys(numbers, np.float64))
        for name in numbers:
            must_be_finite = finite if isinstance(finite, bool) else name in finite
            _check_numbers(table[name], must_be_finite)
    except ValueError as problem:
        raise error(_message(source, kind, problem, remedy)) from problem
    return table


def _message(source: str | Path, kind: str, problem: object, remedy: str) -> str:
    text = f"{source}: not readable as {kind} ({problem})"
    return f"{text}; {remedy}" if remedy else text


def _check_shape(content: str) -> list[str]:
    """The header of a table; raises ValueError unless every row is as long as it."""
    if '"' in content:
        lengths = [len(row) for row in csv.reader(io.StringIO(content))]
    else:
        lengths = [line.count(",") + 1 for line in content.splitlines()]
    header = next(csv.reader(io.StringIO(content)), [])
    if not header:
        raise ValueError("it is empty")
    if len(set(header)) < len(header):
        raise ValueError("two columns of one name")
    for row, length in enumerate(lengths, 1):
        if length != len(header):
            raise ValueError(
                f"rows of another length than the header: row {row} has {length} cells, the "
                f"header {len(header)}"
            )
    return header


def _check_numbers(column: pd.Series, finite: bool) -> None:
    """Raises ValueError for a column that does not hold numbers; row 1 is the header."""
    if column.dtype.kind not in "iuf":
        numbers = pd.to_numeric(column.astype(str), errors="coerce")
        row = int(numbers.isna().to_numpy().argmax())
        raise ValueError(f"{column.name} in row {row + 2} is not a number: {column.iloc[row]!r}")
    if finite:
        wrong = ~np.isfinite(column.to_numpy())
        if wrong.any():
            raise ValueError(f"{column.name} in row {int(wrong.argmax()) + 2} is not finite")


def read_array(path: str | Path, kind: str) -> np.ndarray:
    """An array of a .npy file; pickled objects are never loaded.

    Args:
        path: The file.
        kind: What the file should hold, for the message, such as "weights".

    Raises:
        OptionError: The file is missing, or not a readable array.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise OptionError(f"{path}: not a readable .npy file of {kind} ({error})") from error
