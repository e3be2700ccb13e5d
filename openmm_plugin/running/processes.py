"""Processes of this machine that run simulations, and end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any

START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""A plain fork would copy OpenMM in the middle of its work."""


_HIDING = threading.Lock()
"""Held while `__main__` is hidden, because threads start processes at the same time."""


class WorkerDied(Exception):
    """A process ended before its call had; the message says how."""


def die_with_parent() -> None:
    """Ends this process when the one that started it is gone, and leaves Ctrl-C to that one.

    An orphan would run for hours and keep the folder from a resumed run. It is ended as by a
    kill: checkpoints are made for that.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class WorkerProcesses:
    """Runs each call in a process of its own; `submit` gives a future, as Dask's client does.

    The processes do not import the script that made this object, so that a script needs no
    `if __name__ == "__main__":`. A function that is submitted must be one of an importable module.

    A call whose process dies raises `WorkerDied`, and may be submitted again. Leaving the context
    ends all processes.

    Args:
        count: The number of processes that run at the same time.
        preload: The module that the server of the processes imports once for all of them.
    """

    def __init__(self, count: int, preload: str) -> None:
        self._context: Any = multiprocessing.get_context(START_METHOD)
        if START_METHOD == "forkserver":
            self._context.set_forkserver_preload([preload])
        self._waiting = ThreadPoolExecutor(count)
        self._processes: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Calls a function in a process of its own; function and arguments are pickled."""
        return self._waiting.submit(self._call, function, arguments)

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(theirs, function, arguments), daemon=True
        )
        with self._lock:
            if self._closed:
                raise WorkerDied("it was not started")
            with _without_main():
                process.start()
            self._processes.add(process)
        theirs.close()
        try:
            result, error = ours.recv()
        except (EOFError, OSError):  # the process ended without a word
            process.join()
            raise WorkerDied(f"exit status {process.exitcode}") from None
        finally:
            process.join()
            with self._lock:
                self._processes.discard(process)
        if error is not None:
            raise error
        return result

    def __enter__(self) -> WorkerProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.terminate()
        self._waiting.shutdown(cancel_futures=True)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hides the running script from multiprocessing, which would run it again in each process.

    multiprocessing reads the name and the file of `__main__` while a process is started.
    """
    with _HIDING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _work(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The body of a process, which sends the result or the error of the call through the pipe."""
    die_with_parent()
    result, problem = None, None
    try:
        result = function(*arguments)
    except Exception as error:
        problem = error
    pipe.send((result, problem))
