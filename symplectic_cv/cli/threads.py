"""The number of threads that torch computes with, for one command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

import torch

P = ParamSpec("P")


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Lets torch compute with a number of threads while the context lasts.

    Args:
        threads: The number of threads, at least 1.

    Example:
        >>> before = torch.get_num_threads()
        >>> with torch_threads(1):
        ...     torch.get_num_threads()
        1
        >>> torch.get_num_threads() == before
        True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_threads(command: Callable[P, None]) -> Callable[P, None]:
    """Runs a command with as many threads as its parameter `threads` says."""
    default = inspect.signature(command).parameters["threads"].default

    @functools.wraps(command)
    def limited(*positional: P.args, **named: P.kwargs) -> None:
        threads = named.get("threads", default)
        assert isinstance(threads, int)
        with torch_threads(threads):
            command(*positional, **named)

    return limited
