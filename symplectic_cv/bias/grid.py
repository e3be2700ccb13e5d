"""The grid that a bias lives on: one even axis per mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symplectic_cv.errors import OptionError

POINTS_PER_WIDTH = {1: 2.5, 2: 2.5, 3: 1.25}
"""Grid points per hill width, by the number of modes. The largest error of the cubic spline between
them is 2.4e-4 of a hill at 2.5, and 6.5e-3 at 1.25. Three modes have 1.25, because a finer grid
would be too large."""
MOST_POINTS = 1_000_000
"""The largest number of points of the grid of all modes together."""


@dataclass(frozen=True)
class BiasGrid:
    """An even grid over the modes; the first mode runs along the first axis of its arrays.

    Attributes:
        low, high: The ends of the grid along each mode.
        points: The number of points along each mode, both ends included.

    Example:
        >>> grid = BiasGrid.for_widths(-6.0, 6.0, [0.25, 0.5])
        >>> grid.shape
        (121, 61)
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    points: tuple[int, ...]

    @classmethod
    def for_widths(
        cls,
        low: float | Sequence[float],
        high: float | Sequence[float],
        widths: Sequence[float],
    ) -> BiasGrid:
        """The grid from low to high along each mode that is fine enough for these hills.

        Args:
            low: The lower end along every mode, or along each.
            high: The upper end along every mode, or along each.
            widths: The width of a hill along each mode.

        Raises:
            OptionError: The grid would be too large.
        """
        n = len(widths)
        density = POINTS_PER_WIDTH[n]
        lows = tuple(float(end) for end in np.broadcast_to(low, n))
        highs = tuple(float(end) for end in np.broadcast_to(high, n))
        # the last digits of a quotient must not decide on one more point
        points = tuple(
            int(np.ceil(density * (last - first) / width - 1e-9)) + 1
            for first, last, width in zip(lows, highs, widths, strict=True)
        )
        if np.prod([float(number) for number in points]) > MOST_POINTS:
            raise OptionError(
                f"a grid of {' x '.join(map(str, points))} points for hills of width "
                f"{', '.join(f'{width:g}' for width in widths)} over [{min(lows):g}, "
                f"{max(highs):g}] is too large: give a larger `width`, a smaller `range`, or fewer "
                "`modes`"
            )
        return cls(lows, highs, points)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.points

    @property
    def axes(self) -> list[np.ndarray]:
        """Values of each mode on the grid, (points[k],) each."""
        ends = zip(self.low, self.high, self.points, strict=True)
        return [np.linspace(low, high, number) for low, high, number in ends]

    def clamp(self, modes: np.ndarray) -> np.ndarray:
        """Modes, shape (…, n), moved to the edge of the grid where they lie beyond it."""
        return np.clip(modes, self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        return {"low": list(self.low), "high": list(self.high), "points": list(self.points)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> BiasGrid:
        return cls(
            tuple(float(value) for value in record["low"]),
            tuple(float(value) for value in record["high"]),
            tuple(int(value) for value in record["points"]),
        )
