"""Torsion modes in the file that the native core reads.

The core computes them in float64 by the formulas of `symplectic_cv.models.torsion_model`.
`docs/native.md` describes every tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symplectic_cv.exporting.native_format import signed_file
from symplectic_cv.models.torsion_model import TorsionModel

KIND = "torsions"
"""What the metadata call files of torsion modes."""


def torsion_core_bytes(
    model: TorsionModel, modes: Sequence[int], numbers: Sequence[int] | None = None
) -> bytes:
    """The file of the chosen modes; the same modes give the same bytes.

    Args:
        model: The modes.
        modes: The modes to write, in this order; 0 is the slowest.
        numbers: What the file calls them, where `model` is a part of a larger one; `modes` where
            None.

    Raises:
        OptionError: A mode does not exist.
    """
    chosen = model.check_modes(modes)
    return signed_file(
        torsion_core_tensors(model, chosen),
        modes=chosen if numbers is None else numbers,
        omega=model.omega[chosen],
        temperature=model.temperature,
        molecule=model.molecule,
        kind=KIND,
    )


def torsion_core_tensors(model: TorsionModel, modes: Sequence[int]) -> dict[str, np.ndarray]:
    """The tensors of the file, by name."""
    chosen = list(modes)
    tensors = {
        "atoms": np.asarray(model.molecule.indices, dtype=np.int64),
        "torsions": np.array([bond.atoms for bond in model.bonds], dtype=np.int64),
        "folds": np.array(model.folds, dtype=np.int64),
        "coefficients": np.asarray(model.coefficients[chosen], dtype=np.float64),
        "constant": np.asarray(model.constant[chosen], dtype=np.float64),
    }
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
