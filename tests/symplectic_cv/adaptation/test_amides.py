"""Peptide bonds that a bias has turned are counted."""

from __future__ import annotations

import numpy as np

from symplectic_cv.adaptation.amides import turned_amides
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.torsion_metric import rigid_rotations, torsion_angles


def test_a_peptide_bond_that_turned_to_cis_is_named(dipeptide, molecule) -> None:
    bonds = find_rotatable_bonds(molecule, dipeptide)
    amide = next(bond for bond in bonds if bond.amide)
    frame = dipeptide.copy()
    for _ in range(400):  # 180 degrees in small steps along the rigid rotation of that bond
        frame = frame + np.pi / 400 * rigid_rotations(frame[None], [amide], molecule)[0, 0]
    turned = np.cos(torsion_angles(np.stack([dipeptide, frame]), [amide]))[:, 0]
    assert turned[0] * turned[1] < -0.5
    frames = np.stack([dipeptide, frame, frame, dipeptide])
    start = np.stack([dipeptide] * 3)
    assert turned_amides(frames, start, molecule) == {amide.name: 2}
    assert turned_amides(start, start, molecule) == {}


def test_molecules_without_amides_have_none_to_turn(molecule, dipeptide) -> None:
    from ligands import molecule_of

    ring = molecule_of("CC", [(0, 1)])
    assert turned_amides(np.zeros((2, 2, 3)), np.zeros((1, 2, 3)), ring) == {}
    chain = molecule_of("CCCC", [(0, 1), (1, 2), (2, 3)])
    shape = np.random.default_rng(0).normal(size=(3, 4, 3))
    assert turned_amides(shape, shape, chain) == {}
