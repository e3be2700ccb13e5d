"""Hills that walkers share: each writes files of its own and reads those of the others.

OpenMM's `biasDir` gives a process a new random number at each start and shows a bias before it
is in a checkpoint: a walker that is killed and resumed would meet its own old file as another
walker's and count its hills twice. Here a walker publishes how far its `hills.csv` is covered by
its last checkpoint, and its checkpoint holds how much of each other's table it has taken in. So
a hill that anyone has seen is never taken back, and no hill is lost or counted twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from symplectic_cv.bias.hills import HILLS, Hills, merge, read_hills
from symplectic_cv.files.atomic import write_atomically

PUBLISHED = "published.json"
OPES_FOLDER = "kernels"


def walker_folder(parent: Path, walker: int) -> Path:
    """Folder of a walker, counted from 1."""
    return parent / f"walker-{walker}"


def published(folder: Path) -> dict[str, int]:
    """`step`, `total` and `bytes` that a walker has published; zeros before the first time."""
    try:
        content = json.loads((folder / PUBLISHED).read_text())
        return {key: int(content[key]) for key in ("step", "total", "bytes")}
    except FileNotFoundError:
        return {"step": 0, "total": 0, "bytes": 0}


class SharedHills:
    """The exchange of hills between one walker and the others.

    Args:
        parent: The folder of the walkers' folders.
        walker: The number of the walker, from 1.
        walkers: The number of walkers.

    Attributes:
        seen: The number of bytes of each other walker's `hills.csv` that are part of the bias, by
            the walker's number.
    """

    def __init__(self, parent: Path, walker: int, walkers: int) -> None:
        self.parent = parent
        self.walker = walker
        self.others = [number for number in range(1, walkers + 1) if number != walker]
        self.seen: dict[str, int] = {str(number): 0 for number in self.others}

    @property
    def folder(self) -> Path:
        """The folder in which OPES walkers keep their kernels, each in its own files."""
        return self.parent / OPES_FOLDER

    def collect(self) -> Hills | None:
        """Hills that the others have published since the last time; None where there are none."""
        fresh: list[Hills] = []
        for number in self.others:
            path = walker_folder(self.parent, number) / HILLS
            size = published(path.parent)["bytes"]
            before = self.seen[str(number)]
            if size > before:
                fresh.append(read_hills(path, size, before))
                self.seen[str(number)] = size
        return merge(fresh) if fresh else None

    def seen_hills(self, seen: dict[str, int]) -> Sequence[Hills]:
        """All hills of the others up to the places that a checkpoint holds."""
        parts = [(walker_folder(self.parent, int(number)), size) for number, size in seen.items()]
        return [read_hills(folder / HILLS, size) for folder, size in parts if size > 0]

    def publish(self, step: int, total: int, size: int) -> None:
        """Shows the hills up to a size of `hills.csv`, which a checkpoint covers."""
        content = json.dumps({"step": step, "total": total, "bytes": size})
        write_atomically(
            walker_folder(self.parent, self.walker) / PUBLISHED, (content + "\n").encode()
        )
