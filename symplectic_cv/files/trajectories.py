"""The formats in which trajectories are written, and what each keeps of the numbers."""

from __future__ import annotations

import os
import struct
from enum import Enum
from pathlib import Path

HEADER_COUNTS = ((8, 12), (20, 24))
"""Bytes of a DCD header that change with each frame: the number of frames, and the last step."""


class TrajectoryFormat(str, Enum):
    """A format for trajectories that are written.

    DCD keeps single precision. XTC takes a third of the space and rounds coordinates to 0.001 nm,
    which changes the energy of a molecule of twenty atoms by kJ/mol.
    """

    DCD = "dcd"
    XTC = "xtc"


def trajectory_in(folder: str | Path, stem: str = "trajectory") -> Path:
    """The trajectory in a folder: the DCD file where there is one, else the XTC file.

    Args:
        folder: The folder of a run.
        stem: The name of the file without its ending.
    """
    lossless = Path(folder) / f"{stem}.dcd"
    return lossless if lossless.is_file() else lossless.with_suffix(".xtc")


def without_counts(block: bytes, offset: int) -> bytes:
    """Part of a DCD file with zeros for what changes in its header.

    Args:
        block: Consecutive bytes of the file.
        offset: The place of the first of them in the file.
    """
    changed = bytearray(block)
    for first, last in HEADER_COUNTS:
        for place in range(max(first - offset, 0), min(last - offset, len(block))):
            changed[place] = 0
    return bytes(changed)


def recount_dcd(path: Path) -> int:
    """Writes the number of frames that are there into the header of a DCD file of OpenMM.

    Args:
        path: The file, which ends with a whole frame.

    Returns:
        The number of frames.
    """
    with open(path, "r+b") as file:
        header = file.read(100)
        first, interval = struct.unpack("<2i", header[12:20])
        boxed = struct.unpack("<i", header[48:52])[0]
        comments = struct.unpack("<i", header[92:96])[0]
        file.seek(104 + comments)
        n_atoms = struct.unpack("<i", file.read(4))[0]
        begin = 112 + comments
        size = (56 if boxed else 0) + 3 * (8 + 4 * n_atoms)
        count = (os.path.getsize(path) - begin) // size
        for (place, _), value in zip(
            HEADER_COUNTS, (count, first + max(count - 1, 0) * interval), strict=True
        ):
            file.seek(place)
            file.write(struct.pack("<i", value))
    return count
