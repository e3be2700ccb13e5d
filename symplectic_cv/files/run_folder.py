"""Output folders: never a silent overwrite, and a record of the run inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from symplectic_cv.errors import OutputError
from symplectic_cv.files.atomic import write_atomically

RUN = "run.json"


def require_free(folder: Path) -> Path:
    """The folder itself, if a new run may be written into it; nothing is made yet.

    Raises:
        OutputError: it holds files, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder with -o/--output")
    if _holds_files(folder):
        raise OutputError(
            f"{folder}: already holds another run: name a new folder with -o/--output "
            "(simulations, trainings, samplings and biased runs go on with --resume)"
        )
    return folder


def _holds_files(folder: Path) -> bool:
    """Whether there is anything but the record that a kill left half-written."""
    if not folder.is_dir():
        return False
    return any(not path.match(f".{RUN}.*.tmp") for path in folder.iterdir())


def make_folder(folder: Path) -> None:
    """Makes an output folder; raises OutputError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); name another with -o"
        ) from error


def require_free_file(path: Path) -> Path:
    """The path itself, if a new file may be written there.

    Raises:
        OutputError: the file exists.
    """
    if path.exists():
        raise OutputError(f"{path}: exists already: remove it or name another with -o/--output")
    return path


def start_run(folder: Path, settings: dict[str, Any], resume: bool) -> bool:
    """Claims an output folder for a run and records its settings in run.json.

    Args:
        folder: made where missing.
        settings: what must not change between a run and its resumption (JSON).
        resume: go on with the run that the folder holds.

    Returns:
        Whether a run is resumed.

    Raises:
        OutputError: the folder cannot be written, holds another run, or (with `resume`)
            none, or one with other settings, which are named.
    """
    record = folder / RUN
    if not resume:
        require_free(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(record, (json.dumps(settings, indent=1) + "\n").encode())
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
        return False
    if not record.is_file():
        if _holds_files(folder):
            raise OutputError(f"{folder}: holds no {RUN}, so there is no run to resume")
        return start_run(folder, settings, resume=False)
    try:
        before = json.loads(record.read_text())
        if not isinstance(before, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise OutputError(f"{record}: damaged ({error}); start anew in another folder") from error
    settings = json.loads(json.dumps(settings))
    for key in sorted(set(before) | set(settings)):
        if before.get(key) != settings.get(key):
            raise OutputError(
                f"{folder}: cannot resume, {key} was {before.get(key)!r} and is now "
                f"{settings.get(key)!r}: give the same options, or start anew in another folder"
            )
    return True
