"""One process at a time writes into the folder of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from symplectic_cv.errors import OutputError

LOCK = ".lock"


@contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """Makes this process the only writer of a folder while the context lasts.

    The operating system releases the lock when the process ends, also when it is killed.

    Args:
        folder: The folder of a run. The file `.lock` in it carries the lock.

    Raises:
        OutputError: Another process is writing into the folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, sole_writer(folder):
        ...     print("alone")
        alone
    """
    lock = filelock.FileLock(Path(folder) / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise OutputError(
            f"{folder}: another process is running this very run; wait for it, or end it"
        ) from error
    try:
        yield
    finally:
        lock.release()
