"""Output folders: nothing is overwritten, and each run records its settings in its folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symplectic_cv.errors import OutputError, RunWarning
from symplectic_cv.files.atomic import write_atomically

RUN = "run.json"
"""The file of a folder that holds the settings of its run."""


def require_free(folder: str | Path) -> Path:
    """Checks that a new run may be written into a folder. Nothing is made yet.

    Args:
        folder: The folder to write into. It may be missing or empty.

    Returns:
        The folder.

    Raises:
        OutputError: The folder holds files, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give another `folder`")
    if _holds_files(folder):
        raise OutputError(
            f"{folder}: already holds another run: give a new `folder` "
            "(simulations, trainings, samplings and biased runs go on with `resume=True`)"
        )
    return folder


def require_free_file(path: str | Path) -> Path:
    """Checks that a new file may be written.

    Args:
        path: The file to write. It must not exist.

    Returns:
        The path.

    Raises:
        OutputError: The file exists.
    """
    path = Path(path)
    if path.exists():
        raise OutputError(f"{path}: exists already: remove it, or give another `path`")
    return path


def make_folder(folder: str | Path) -> Path:
    """Makes an output folder and its parents where they are missing.

    Args:
        folder: The folder to make.

    Returns:
        The folder.

    Raises:
        OutputError: The folder cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); give another `folder`"
        ) from error
    return folder


def start_run(
    folder: str | Path,
    settings: Mapping[str, Any],
    resume: bool,
    earlier: Mapping[str, Any] | None = None,
) -> bool:
    """Claims an output folder for a run and records the run's settings in run.json.

    Args:
        folder: The folder of the run. It is made where it is missing.
        settings: The settings that must be the same when the run is resumed, as JSON values.
        resume: Whether to continue the run that the folder holds. Where it holds none, a new run
            begins, and a `RunWarning` says so.
        earlier: The values of settings that runs of earlier versions have and did not record.

    Returns:
        Whether the folder held a run that is resumed.

    Raises:
        OutputError: The folder cannot be written or holds another run. With `resume`: the folder
            holds files but no run, or a run with other settings; the message names the first.
    """
    folder = Path(folder)
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
        warnings.warn(
            f"{folder}: holds no run to resume, so that a new one begins", RunWarning, stacklevel=3
        )
        return start_run(folder, settings, resume=False)
    before = {**(earlier or {}), **_read_settings(record)}
    _require_same(folder, before, json.loads(json.dumps(settings)))
    return True


def read_settings(folder: str | Path) -> dict[str, Any] | None:
    """The settings of the run that a folder holds; None where it holds none.

    Args:
        folder: The folder of the run.

    Raises:
        OutputError: The record of the settings is damaged.
    """
    record = Path(folder) / RUN
    return _read_settings(record) if record.is_file() else None


def _holds_files(folder: Path) -> bool:
    """Whether a folder holds anything but a record that a killed run left half-written."""
    if not folder.is_dir():
        return False
    return any(not path.match(f".{RUN}.*.tmp") for path in folder.iterdir())


def _read_settings(record: Path) -> dict[str, Any]:
    """The settings in run.json; raises OutputError where the file is damaged."""
    try:
        settings = json.loads(record.read_text())
        if not isinstance(settings, dict):
            raise ValueError("not a JSON object")
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{record}: damaged ({error}); start anew in another folder") from error
    return settings


def _require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises OutputError for the first setting that differs from the run's own."""
    kinds = before.get("command"), now.get("command")
    if None not in kinds and kinds[0] != kinds[1]:
        raise OutputError(
            f"{folder}: holds a run of `{kinds[0]}`, not of `{kinds[1]}`: name its own folder, or "
            "start anew in another one"
        )
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            raise OutputError(
                f"{folder}: cannot resume, {name} was {before.get(name)!r} and is now "
                f"{now.get(name)!r}: give the same options, or start anew in another folder"
            )
