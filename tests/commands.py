"""Commands as a user runs them: here, or in a process of their own that may be killed."""

from __future__ import annotations

import csv
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
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


SMALL = ["--steps", "12", "--layers", "2", "--hidden", "8", "--batch", "64"]
"""A training that takes a second."""
N_ATOMS, N_HEAVY, N_MODES, N_FRAMES = 22, 10, 24, 400
"""What the `simulated` folder holds, and a model of its heavy atoms."""


def table_rows(path: Path) -> list[list[str]]:
    """A CSV file as lists of cells, its header first."""
    with open(path, newline="") as handle:
        return list(csv.reader(handle))


def numbers(rows: list[list[str]]) -> np.ndarray:
    """Cells as finite numbers, (rows, columns)."""
    table = np.array([[float(cell) for cell in row] for row in rows])
    assert np.isfinite(table).all()
    return table


def users_of(model: Path, simulated: Path) -> dict[str, list[object]]:
    """The commands that read a model folder, each with the arguments it needs."""
    trajectory = simulated / "trajectory.xtc"
    return {
        "analyze": ["analyze", model, trajectory],
        "export": ["export", model],
        "metadynamics": ["metadynamics", model, "--system", simulated / "system.xml"],
        "path": ["path", model, "--start", f"{trajectory}:0", "--end", f"{trajectory}:9"],
    }
