"""Torsion modes for PLUMED: TORSION and CUSTOM lines alone, without a plugin.

PLUMED counts atoms from 1 and measures torsions in rad; the modes are dimensionless.
"""

from __future__ import annotations

from collections.abc import Sequence

from symplectic_cv.models.torsion_model import TorsionModel


def torsion_plumed_input(model: TorsionModel, modes: Sequence[int]) -> str:
    """Lines of a PLUMED input that define modes, labelled mode_0, mode_1, …

    Args:
        model: The modes.
        modes: The modes to define.

    Raises:
        OptionError: A mode does not exist.
    """
    chosen = model.check_modes(modes)
    lines = [
        "# Slow modes of torsions, dimensionless; unit variance in the training data.",
        "# Atoms are those of the system that the model was trained on, counted from 1.",
    ]
    labels = [f"t{place}" for place in range(len(model.bonds))]
    for label, bond in zip(labels, model.bonds, strict=True):
        atoms = ",".join(str(int(model.molecule.indices[k]) + 1) for k in bond.atoms)
        lines.append(f"{label}: TORSION ATOMS={atoms}  # {bond.name}")
    for mode in chosen:
        terms = []
        for place, (label, bond) in enumerate(zip(labels, model.bonds, strict=True)):
            for m in range(1, model.order + 1):
                a, b = model.coefficients[mode, place, m - 1]
                turn = f"{m * bond.fold}*{label}"
                terms.append(f"({a:.10g})*cos({turn})+({b:.10g})*sin({turn})")
        function = "+".join(terms) + f"-({model.constant[mode]:.10g})"
        lines.append(
            f"mode_{mode}: CUSTOM ARG={','.join(labels)} VAR={','.join(labels)} "
            f"FUNC={function} PERIODIC=NO"
        )
    return "\n".join(lines) + "\n"
