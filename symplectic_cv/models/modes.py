"""Modes as a user names them: numbers from 0, the slowest first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symplectic_cv.errors import OptionError


def check_modes(modes: Sequence[int], dimension: int, name: str = "modes") -> list[int]:
    """The modes as a list of ints.

    Args:
        modes: The modes as a user names them; 0 is the slowest.
        dimension: The number of modes that the model has, or will have.
        name: The parameter that names them, for messages.

    Raises:
        OptionError: No mode is named, one does not exist, or one is named twice.
    """
    if len(modes) == 0:
        raise OptionError(f"`{name}` is empty: name at least one mode, for example 0")
    for mode in modes:
        if not 0 <= mode < dimension:
            raise OptionError(
                f"`{name}` {mode}: the model has {dimension} modes, "
                f"numbered 0 (slowest) to {dimension - 1}"
            )
    if len(set(modes)) != len(modes):
        raise OptionError(f"`{name}` names a mode twice: {' '.join(map(str, modes))}")
    return [int(mode) for mode in modes]


def listed(which: Sequence[int] | int | None) -> Sequence[int] | None:
    """Modes as a sequence, where one may stand alone."""
    return [int(which)] if isinstance(which, (int, np.integer)) else which
