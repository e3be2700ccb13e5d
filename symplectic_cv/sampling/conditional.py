"""Structures at given values of some modes: from collective variables back to structures.

The latent density is a product, so that with some scaled modes u_k = ω_k Q_k held the others
stay independent standard normal: no search is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.models.latent_draws import draw_latent_structures
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64

FARTHEST = 8.0
"""No mode is held further out than this, in standard deviations."""

_FIXED = re.compile(r"\s*mode[\s_]*(\d+)\s*=\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


def parse_fixed(given: Sequence[str], model: NeuralCanonicalTransformation) -> dict[int, float]:
    """Modes and their dimensionless values from texts such as `mode 0 = 1.2`.

    Raises:
        OptionError: another form, a mode that does not exist or is named twice, or a value
            where the model knows nothing.
    """
    fixed: dict[int, float] = {}
    for text in given:
        match = _FIXED.fullmatch(text)
        try:
            assert match is not None
            mode, value = int(match[1]), float(match[2])
        except (AssertionError, ValueError):
            raise OptionError(
                f"--fix {text!r} is not of the form 'mode 0 = 1.2' (a mode and its value, in "
                "standard deviations)"
            ) from None
        model.check_modes([mode], "fix")
        if mode in fixed:
            raise OptionError(f"--fix names mode {mode} twice")
        if not abs(value) <= FARTHEST:
            raise OptionError(
                f"--fix {text!r}: modes have unit variance, so that a model knows nothing beyond "
                f"±{FARTHEST:g}"
            )
        fixed[mode] = value
    return fixed


def conditional_latent(
    model: NeuralCanonicalTransformation, fixed: Mapping[int, float], n_samples: int, seed: int
) -> Tensor:
    """u (n_samples, n) with some modes held and the others N(0, 1).

    Latent points of no structure (an angle over π, a torsion beyond its cut) are drawn again.

    Raises:
        SamplingError: next to no point with these values is a structure.
    """
    return draw_latent_structures(in_float64(model), n_samples, seed, fixed)
