"""Coordinates that a file format has rounded, found in the numbers themselves.

XTC and GRO files round to 0.001 nm, PDB files to 0.0001 nm, and a file that was converted from one
of them stays rounded. A bond is a stiff spring: rounding to 0.001 nm changes the energy of a
molecule of twenty atoms by several kJ/mol.
"""

from __future__ import annotations

import numpy as np

STEPS = (1e-2, 1e-3, 1e-4)
"""The steps that formats round to, in nm, the coarsest first."""
TOLERANCE = 0.05
"""The largest distance from a multiple of the step, in steps; single precision blurs by less."""
FEWEST = 12
"""Fewer coordinates than this can be multiples of a step by chance."""


def rounding_of(positions: np.ndarray) -> float:
    """The step that all coordinates are multiples of, in nm; 0 where they are not rounded.

    Args:
        positions: Positions as they were read, shape (F, N, 3), in nm.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(5, 10, 3))
        >>> rounding_of(x.round(3)), rounding_of(x)
        (0.001, 0.0)
    """
    x = np.asarray(positions, dtype=np.float64)[:10].ravel()
    x = x[np.isfinite(x) & (x != 0.0)]
    if len(x) < FEWEST:
        return 0.0
    for step in STEPS:
        parts = x / step
        # numbers in single precision have a relative error of 6e-8
        blur = TOLERANCE + 1e-7 * np.abs(parts)
        if (np.abs(parts - np.round(parts)) < np.minimum(blur, 0.2)).all():
            return step
    return 0.0
