"""Commands as a user runs them: here, or in a process of their own that may be killed."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from symplectic_cv.cli.main import main

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([f"symplectic_cv.cli.{name}" for name in ("adapt", "umbrella")])


def run(*arguments: object) -> None:
    """A command that has to end well."""
    with pytest.raises(SystemExit) as info:
        main([str(argument) for argument in arguments])
    assert info.value.code == 0, arguments


def begin(*arguments: object) -> BaseProcess:
    """A command in a process of its own, which is ready in no time."""
    words = [str(argument) for argument in arguments]
    process = processes.Process(target=_with_one_thread, args=(words,))
    process.start()
    return process


def _with_one_thread(words: list[str]) -> None:
    torch.set_num_threads(1)
    main(words)


def wait_for(ready: Callable[[], bool], process: BaseProcess, seconds: float = 120.0) -> bool:
    """Whether something became true before the process ended, and in time."""
    until = time.monotonic() + seconds
    while process.is_alive() and time.monotonic() < until:
        if ready():
            return True
        time.sleep(0.002)
    return False


def kill(process: BaseProcess) -> bool:
    """SIGKILL; whether there was still a process to kill."""
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def content(folder: Path) -> dict[Path, bytes]:
    """All files in a folder and below."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
