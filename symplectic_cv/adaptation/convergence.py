"""The change of the free energies of an adaptive loop from round to round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symplectic_cv.bias.surfaces import BinnedSurface

LIMIT = 20.0
"""Free energy above the minimum, kJ/mol, up to which profiles are compared: 8 kT at 300 K. Higher
bins carry no weight in averages, and they hold few frames."""
TOLERANCE = 1.0
"""Default largest change of the profiles of a loop that has converged, kJ/mol."""


def profile_change(before: Sequence[BinnedSurface], after: Sequence[BinnedSurface]) -> float:
    """The largest change among profiles along the same descriptors, in kJ/mol.

    The change of a profile is the root mean square over the bins below `LIMIT`, less the mean
    change, because a constant has no meaning. A bin that was empty before counts with `LIMIT`.

    Args:
        before: The profiles from all rounds but the last.
        after: The profiles from all rounds.

    Example:
        >>> def profile(*values):
        ...     f, n = np.array(values), len(values)
        ...     return BinnedSurface(["x"], [np.arange(n)], f, np.zeros(n), np.ones(n))
        >>> profile_change([profile(0.0, 3.0, 9.0)], [profile(0.0, 3.0, 9.0)])
        0.0
        >>> profile_change([profile(0.0, 3.0)], [profile(0.0, 5.0)])
        1.0
    """
    changes = [0.0]
    for old, new in zip(before, after, strict=True):
        low = new.free_energy < LIMIT
        known = low & np.isfinite(old.free_energy)
        change = np.full(new.free_energy.shape, LIMIT)
        change[known] = new.free_energy[known] - old.free_energy[known]
        change[known] -= change[known].mean() if known.any() else 0.0
        changes.append(float(np.sqrt((change[low] ** 2).mean())))
    return max(changes)
