"""Processes of this machine that run simulations, and end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""A plain fork would copy OpenMM in the middle of its work."""


def die_with_parent() -> None:
    """Ends this process when the one that started it is gone, and leaves Ctrl-C to that one.

    An orphan would go on for hours and keep the folder from a resumed run. It is ended as by a
    kill: checkpoints are made for that.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
