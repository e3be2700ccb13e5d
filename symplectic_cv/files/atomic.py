"""Files that are written whole or not at all, and the digests by which they are recognised."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes a file whole or not at all, and waits until the disk has it.

    Args:
        path: The file to write. A file of this name is replaced.
        content: What the file holds afterwards.

    Raises:
        OSError: The file cannot be written. A file of this name stays as it was.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """A path beside a file, of the same kind, that takes the file's place once it is written.

    Writers that choose the format by the ending of the name can use it. If they raise, the file
    stays as it was.

    Args:
        path: The file to write.
    """
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def file_digest(path: Path | None) -> str | None:
    """The SHA-256 digest of a file, by which a resumed run recognises the file.

    Args:
        path: The file, or None.

    Returns:
        The digest as 64 hexadecimal digits; None where the path is None.

    Raises:
        OSError: The file cannot be read.
    """
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
