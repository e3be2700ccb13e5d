"""Choices of a fit in torsions."""

from __future__ import annotations

from enum import Enum


class TorsionMetric(str, Enum):
    """Which motion of the torsions counts in a frequency.

    VELOCITY: G, with bonds and angles free to move along; the default.
    MOMENTUM: The inverse of M, with bonds and angles held.
    """

    VELOCITY = "velocity"
    MOMENTUM = "momentum"
