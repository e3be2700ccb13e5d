"""Structures at given values of some modes: from collective variables back to structures.

The latent density is a product, so that with some scaled modes u_k = ω_k Q_k held the others
stay independent standard normal: no search is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from symplectic_cv.errors import OptionError, SamplingError
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64

FARTHEST = 8.0
"""No mode is held further out than this, in standard deviations."""

ROUNDS = 20
"""So many times as many points as are wanted are tried."""

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


@torch.no_grad()
def conditional_latent(
    model: NeuralCanonicalTransformation, fixed: Mapping[int, float], n_samples: int, seed: int
) -> Tensor:
    """u (n_samples, n) with some modes held and the others N(0, 1).

    Latent points of no structure (an angle over π, a torsion beyond its cut) are drawn again.

    Raises:
        SamplingError: next to no point with these values is a structure.
    """
    generator = torch.Generator().manual_seed(seed)
    exact = in_float64(model)
    kept: list[Tensor] = []
    left = n_samples
    for _ in range(ROUNDS):
        u = torch.randn(n_samples, model.dimension, generator=generator, dtype=torch.float64)
        for mode, value in fixed.items():
            u[:, mode] = value
        real = torch.isfinite(exact.flow.inverse(u / exact.omega)[1])
        kept.append(u[real][:left])
        left -= len(kept[-1])
        if left == 0:
            return torch.cat(kept)
    held = ", ".join(f"mode {mode} = {value:g}" for mode, value in fixed.items())
    raise SamplingError(
        f"--fix: only {n_samples - left} of {ROUNDS * n_samples} latent points with {held} are "
        "structures: take values nearer to 0"
    )
