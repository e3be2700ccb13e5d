"""Files that are written whole or not at all, and the digests by which they are recognised."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
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
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(aside, "wb", opener=_new_file) as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
            os.fchmod(handle.fileno(), 0o666 & ~process_umask())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _new_file(name: str, flags: int) -> int:
    """Opens a file that must not exist, also not as a symbolic link, for this user alone."""
    return os.open(name, flags | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def process_umask() -> int:
    """The permissions that new files of this process lack."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """A path beside a file, of the same kind, that takes the file's place once it is written.

    Writers that choose the format by the ending of the name can use it. If they raise, the file
    stays as it was. The path lies in a new folder with a random name, which this user alone can
    enter, so that nobody can plant a link in its place.

    Args:
        path: The file to write.
    """
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield aside / path.name
        os.replace(aside / path.name, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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
