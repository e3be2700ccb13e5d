"""What every command prints with: progress bars, notes, tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from symplectic_cv.cli.errors import translated

console = Console(highlight=False, soft_wrap=True, emoji=False)
error_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def note(message: str) -> None:
    """A line about what happens."""
    console.print(translated(message), markup=False)


def warn(message: str) -> None:
    """A line the user should not miss, on stderr."""
    error_console.print(f"warning: {translated(message)}", style="yellow", markup=False)


class Bar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: float) -> None:
        self._progress.advance(self._task, amount)

    def to(self, completed: float, status: str = "") -> None:
        self._progress.update(self._task, completed=completed, status=status)


@contextmanager
def progress_bar(title: str, total: float | None, unit: str) -> Iterator[Bar]:
    """A progress bar for work that may take more than two seconds.

    Args:
        title: what is being done.
        total: how much there is to do; None where unknown.
        unit: of `total`, shown behind the count.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=error_console) as progress:
        yield Bar(progress, progress.add_task(title, total=total, status=""))
