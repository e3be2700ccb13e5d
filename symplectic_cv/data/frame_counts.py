"""The number of whole frames in binary trajectory files, read from their own headers.

A simulation that is killed leaves a file that ends in the middle of a frame. Readers then raise an
error, or read what is not there.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

XTC_MAGIC, TRR_MAGIC = 1995, 1993
FEW_ATOMS = 9
"""Frames of XTC with at most this many atoms are not compressed."""


LINES_AROUND = {".xyz": (2, 0), ".lammpstrj": (9, 3)}
"""Lines of a frame besides those of its atoms, and the line that holds their number, from 0."""


@dataclass(frozen=True)
class FrameCount:
    """The frames of a file.

    Attributes:
        whole: The number of whole frames from the beginning on.
        missing: What is missing, as the end of a sentence; empty where nothing is.
        damaged: Whether the file goes on after them with something that is no frame.
    """

    whole: int
    missing: str = ""
    damaged: bool = False


def count_frames(path: Path) -> FrameCount | None:
    """Counts the whole frames of an XTC, TRR, DCD, XYZ or LAMMPS file; None for other formats.

    Args:
        path: The file.
    """
    suffix = path.suffix.lower()
    if suffix == ".dcd":
        return _count_dcd(path)
    if suffix in LINES_AROUND:
        return _count_text(path, *LINES_AROUND[suffix])
    sizes = {".xtc": _xtc_frame, ".trr": _trr_frame}
    if suffix not in sizes:
        return None
    total, count, place = os.path.getsize(path), 0, 0
    with open(path, "rb") as file:
        while place < total:
            file.seek(place)
            try:
                size = sizes[suffix](file)
            except struct.error:  # the header itself is cut
                size = total + 1
            if size is None:
                return FrameCount(count, f"after byte {place} come no frames", damaged=True)
            if place + size > total:
                there = total - place
                return FrameCount(count, f"frame {count} is cut ({there} bytes of it are there)")
            place += size
            count += 1
    return FrameCount(count)


def _xtc_frame(file: BinaryIO) -> int | None:
    """The size of the XTC frame that begins here, in bytes; None where none does."""
    magic, n_atoms = struct.unpack(">2i", file.read(8))
    if magic != XTC_MAGIC or n_atoms <= 0:
        return None
    if n_atoms <= FEW_ATOMS:
        return 56 + 12 * n_atoms
    file.seek(80, os.SEEK_CUR)
    size = struct.unpack(">i", file.read(4))[0]
    return 92 + (size + 3) // 4 * 4 if size > 0 else None


def _trr_frame(file: BinaryIO) -> int | None:
    """The size of the TRR frame that begins here, in bytes; None where none does."""
    magic, _, length = struct.unpack(">3i", file.read(12))
    if magic != TRR_MAGIC or not 0 < length < 64:
        return None
    padded = (length + 3) // 4 * 4
    file.seek(padded, os.SEEK_CUR)
    sizes = struct.unpack(">13i", file.read(52))
    parts, n_atoms = sizes[:10], sizes[10]
    if n_atoms <= 0 or min(parts) < 0:
        return None
    vectors = next((part for part in (sizes[7], sizes[8], sizes[9]) if part), 0)
    double = vectors == 24 * n_atoms or (not vectors and sizes[2] == 72)
    return 12 + padded + 52 + (16 if double else 8) + sum(parts)


def _count_text(path: Path, around: int, place: int) -> FrameCount:
    """Counts the frames of a text file by its lines; a line without an end is cut."""
    with open(path, "rb") as file:
        head = [file.readline() for _ in range(place + 1)]
        try:
            size = int(head[-1]) + around
        except ValueError:
            return FrameCount(-1)  # another layout: the reader knows
        file.seek(0)
        lines, tail = 0, b""
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            tail = (tail + block)[-1000:]
    whole, rest = divmod(lines, size)
    if rest == size - 1 and _is_whole(tail):  # the last line of a file needs no end
        return FrameCount(whole + 1)
    if rest:
        return FrameCount(whole, f"frame {whole} is cut ({rest} of its {size} lines are there)")
    return FrameCount(whole)


def _is_whole(tail: bytes) -> bool:
    """Whether the last line of a text, which has no end, has as many digits as the one before."""
    before, last = tail.split(b"\n")[-2:]
    if len(before.split()) != len(last.split()) or not last:
        return False
    digits = [line.split()[-1].partition(b".")[2] for line in (before, last)]
    return len(digits[0]) == len(digits[1])


def _count_dcd(path: Path) -> FrameCount:
    """Counts the frames of a DCD file by its size; its header may promise others."""
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(100)
        if len(head) < 96 or b"CORD" not in head[4:12]:
            return FrameCount(0, "it has no complete header of a DCD file", damaged=len(head) > 0)
        wide = head[:4] in (struct.pack("<i", 0), struct.pack(">i", 0))
        if wide or head[:4] not in (struct.pack("<i", 84), struct.pack(">i", 84)):
            return FrameCount(-1)  # record marks of 64 bits: the reader knows
        order = "<" if head[:4] == struct.pack("<i", 84) else ">"
        announced = struct.unpack(order + "i", head[8:12])[0]
        fixed = struct.unpack(order + "i", head[40:44])[0]
        charmm = struct.unpack(order + "i", head[84:88])[0] != 0
        box, fourth = struct.unpack(order + "2i", head[48:56]) if charmm else (0, 0)
        comments = struct.unpack(order + "i", head[92:96])[0]
        file.seek(104 + comments - 4)
        try:
            mark, n_atoms = struct.unpack(order + "2i", file.read(8))
        except struct.error:
            return FrameCount(0, "it has no complete header of a DCD file", damaged=True)
        if mark != 4 or n_atoms <= 0 or fixed != 0:
            return FrameCount(-1)  # fixed atoms make frames of two sizes
    size = (56 if box else 0) + (3 + (1 if fourth == 1 else 0)) * (8 + 4 * n_atoms)
    whole, rest = divmod(total - (112 + comments), size)
    if total < 112 + comments:
        return FrameCount(0, "it has no complete header of a DCD file", damaged=True)
    if rest:
        return FrameCount(whole, f"frame {whole} is cut ({rest} bytes of it are there)")
    if announced > whole:
        return FrameCount(whole, f"its header announces {announced} frames")
    return FrameCount(whole)
