"""Regions in torsions and distances, between which free energies are compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symplectic_cv.data.descriptors import Column
from symplectic_cv.errors import OptionError

_REGION = re.compile(r"([\w'+-]+)=(.+)")


@dataclass(frozen=True)
class Region:
    """A box along one or several descriptors.

    Attributes:
        name: The name of the region.
        ends: The low and the high end along each descriptor, in degrees for torsions and in nm
            for distances.
    """

    name: str
    ends: dict[str, tuple[float, float]]

    def holds(self, columns: Sequence[Column]) -> np.ndarray:
        """Mask of the frames inside, (F,).

        A torsion's interval whose low end exceeds its high end runs across ±180 degrees.

        Args:
            columns: The descriptors of F frames; those that the region does not name are ignored.
        """
        inside = np.ones(len(columns[0].values), dtype=bool)
        for column in columns:
            if column.name in self.ends:
                low, high = self.ends[column.name]
                shown = np.degrees(column.values) if column.unit == "rad" else column.values
                above, below = shown >= low, shown <= high
                inside &= (above & below) if low <= high else (above | below)
        return inside


def parse_regions(definitions: Sequence[str]) -> list[Region]:
    """Regions from texts such as `NAME=phi:-150:0,psi:0:180`.

    Args:
        definitions: One text for each region, in degrees for torsions and nm for distances.

    Raises:
        OptionError: A text that is not a region, a name used twice, or one region alone.

    Example:
        >>> parse_regions(["near=ends:0.5:0.7", "far=ends:0.7:2"])[0]
        Region(name='near', ends={'ends': (0.5, 0.7)})
    """
    found: list[Region] = []
    for definition in definitions:
        match = _REGION.fullmatch(definition)
        ends: dict[str, tuple[float, float]] = {}
        try:
            if match is None:
                raise ValueError
            for part in match[2].split(","):
                name, low, high = part.split(":")
                ends[name] = (float(low), float(high))
                if not np.isfinite(ends[name]).all():
                    raise ValueError
        except ValueError as error:
            raise OptionError(
                f"`regions` {definition}: not a region; an example: C7eq=phi:-150:0"
            ) from error
        if match[1] in (region.name for region in found):
            raise OptionError(f"`regions`: {match[1]} is defined twice")
        found.append(Region(match[1], ends))
    if len(found) == 1:
        raise OptionError("`regions` takes two or more: free energies are relative to the first")
    return found
