"""Printing of the commands: lines, warnings and progress bars."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

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
from symplectic_cv.errors import RunWarning

console = Console(highlight=False, soft_wrap=True, emoji=False)
error_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def note(message: str) -> None:
    """Prints a line about the work. Parameters in backticks are shown as flags."""
    console.print(translated(message), markup=False)


def warn(message: str) -> None:
    """Prints a warning on stderr. Parameters in backticks are shown as flags."""
    error_console.print(f"warning: {translated(message)}", style="yellow", markup=False)


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Within this context a `RunWarning` of the library is printed as a warning of the command."""
    with warnings.catch_warnings():
        plain = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, RunWarning):
                warn(str(message))
            else:
                plain(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.simplefilter("always", RunWarning)
        yield


class Bar:
    """A progress bar that is shown."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, amount: float) -> None:
        """Adds to the amount of work that is done."""
        self._progress.advance(self._task, amount)

    def expect(self, total: float, status: str = "") -> None:
        """Sets the amount of work there is, and a word on what is being done."""
        self._progress.update(self._task, total=total, status=status)

    def to(self, completed: float, status: str = "") -> None:
        """Sets the amount of work that is done, and the text after the bar."""
        self._progress.update(self._task, completed=completed, status=status)


@contextmanager
def progress_bar(title: str, total: float | None, unit: str) -> Iterator[Bar]:
    """Shows a progress bar while the context lasts.

    Args:
        title: The text before the bar, which says what is done.
        total: The amount of work; None where it is unknown.
        unit: The unit of the amount, shown after it.
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
