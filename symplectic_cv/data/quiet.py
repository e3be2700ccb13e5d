"""Silence for readers written in C, which print about files that are in order."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_output() -> Iterator[None]:
    """Within this context nothing reaches the standard output of the process."""
    try:
        kept = os.dup(1)
    except OSError:  # there is none
        yield
        return
    c_library = ctypes.CDLL(None) if os.name == "posix" else None
    _flush(c_library)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        _flush(c_library)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush(c_library: ctypes.CDLL | None) -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    if c_library is not None:
        c_library.fflush(None)
