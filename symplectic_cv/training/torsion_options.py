"""Choices of a fit in torsions."""

from __future__ import annotations

from enum import Enum


class TorsionMetric(str, Enum):
    """The kinds of metrics by which the frequency of a mode of torsions is measured.

    VELOCITY: G, with bonds and angles free to move along; the default.
    MOMENTUM: The inverse of M, with bonds and angles held.
    """

    VELOCITY = "velocity"
    MOMENTUM = "momentum"
