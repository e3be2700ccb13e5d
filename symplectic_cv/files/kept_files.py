"""The files that a run depends on, recognised by their SHA-256 when the run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from symplectic_cv.errors import OutputError
from symplectic_cv.files.atomic import file_digest, write_atomically

FILES = "files.json"
"""The file of a run's folder with the SHA-256 of each file that the run depends on."""


def keep_digests(folder: str | Path, names: Iterable[str]) -> None:
    """Records the SHA-256 of files in the folder of a run; where it is recorded, checks it.

    Runs of earlier versions have no record. It is made when such a run goes on.

    Args:
        folder: The folder of the run.
        names: The names of the files; those that are missing are left out of a new record.

    Raises:
        OutputError: A file differs from the record, or is missing; or the record is damaged.
    """
    folder = Path(folder)
    if (folder / FILES).is_file():
        check_digests(folder)
        return
    found = {name: file_digest(folder / name) for name in names if (folder / name).is_file()}
    write_atomically(folder / FILES, (json.dumps(found, indent=1) + "\n").encode())


def check_digests(folder: str | Path) -> None:
    """Checks the files of a run against their record; a folder without a record passes.

    Args:
        folder: The folder of the run.

    Raises:
        OutputError: A file differs from the record, or is missing; or the record is damaged.
    """
    record = Path(folder) / FILES
    if not record.is_file():
        return
    try:
        known = json.loads(record.read_text())
        if not all(isinstance(digest, str) for digest in known.values()):
            raise ValueError("not names with digests")
    except (ValueError, AttributeError, RecursionError) as error:
        raise OutputError(f"{record}: damaged ({error}); start anew in another folder") from error
    for name, digest in known.items():
        path = record.parent / name
        if not path.is_file():
            raise OutputError(
                f"{path}: is missing, and the run depends on it: put it back, or start anew in "
                "another folder"
            )
        if file_digest(path) != digest:
            raise OutputError(
                f"{path}: was altered since the run began (its SHA-256 differs): put the file of "
                "the run back, or start anew in another folder"
            )
