"""Peptide and amide bonds that a bias has turned."""

from __future__ import annotations

import numpy as np

from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.torsion_metric import torsion_angles
from symplectic_cv.errors import SelectionError
from symplectic_cv.molecule import Molecule


def turned_amides(
    positions: np.ndarray, reference: np.ndarray, molecule: Molecule
) -> dict[str, int]:
    """The number of frames in which an amide bond is cis where it was trans, or the reverse.

    Args:
        positions: Frames of a biased run, shape (n_frames, n_atoms, 3), in nm.
        reference: Frames before the bias, shape (n_reference, n_atoms, 3), in nm. A bond is trans
            where most of them are.
        molecule: The modelled atoms.

    Returns:
        The bonds that have turned, by name, with their numbers of frames; none where all stay.
    """
    try:
        bonds = [b for b in find_rotatable_bonds(molecule, reference[0]) if b.amide]
    except SelectionError:
        return {}
    if not bonds:
        return {}
    before = np.median(np.cos(torsion_angles(reference, bonds)), axis=0)
    turned = (np.cos(torsion_angles(positions, bonds)) * np.sign(before) < 0.0).sum(0)
    return {bond.name: int(n) for bond, n in zip(bonds, turned, strict=True) if n}
