"""The choice of the chart for the bias of a molecule."""

from __future__ import annotations

import numpy as np

from symplectic_cv.charts.rotatable_bonds import RotatableBond, find_rotatable_bonds
from symplectic_cv.errors import SelectionError
from symplectic_cv.flows.options import Chart
from symplectic_cv.molecule import Molecule

FEWEST_BONDS = 2
"""Free rotatable bonds from which on modes of torsions are the better choice."""

MOST_BONDS = 3
"""Free rotatable bonds up to which modes in the Eckart frame describe a molecule well."""


def free_bonds(molecule: Molecule, reference: np.ndarray) -> list[RotatableBond]:
    """The rotatable bonds outside rings that are no peptide or amide bonds.

    Args:
        molecule: The modelled atoms.
        reference: A typical structure, shape (n_atoms, 3), in nm.
    """
    try:
        bonds = find_rotatable_bonds(molecule, reference)
    except SelectionError:
        return []
    return [bond for bond in bonds if not bond.amide and not bond.in_ring]


def suited_chart(molecule: Molecule, reference: np.ndarray) -> Chart:
    """The chart whose modes are the better ones to bias.

    Torsions where two or more bonds turn freely. In the Eckart frame modes of a flexible molecule
    become steep when it folds. Rings and rigid molecules have no torsions that describe them, and
    the Eckart frame suits them well.

    Args:
        molecule: The modelled atoms.
        reference: A typical structure, shape (n_atoms, 3), in nm.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> molecule = select_atoms(heavy_atom_topology(), None)
        >>> suited_chart(molecule, np.random.default_rng(0).normal(size=(10, 3))).value
        'torsion'
    """
    many = len(free_bonds(molecule, reference)) >= FEWEST_BONDS
    return Chart.TORSION if many else Chart.CARTESIAN


def torsion_advice(molecule: Molecule, reference: np.ndarray, near_limit: bool) -> str | None:
    """One line on why the torsion chart is the better choice; None where it is not.

    Args:
        molecule: The modelled atoms.
        reference: A typical structure, shape (n_atoms, 3), in nm.
        near_limit: Whether frames come near the limit of the Eckart frame.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> from symplectic_cv.molecule import select_atoms
        >>> molecule = select_atoms(heavy_atom_topology(), None)
        >>> shape = np.random.default_rng(0).normal(size=(10, 3))
        >>> torsion_advice(molecule, shape, False) is None
        True
        >>> print(torsion_advice(molecule, shape, True)[:38])
        `chart='torsion'` is the better choice
    """
    free = len(free_bonds(molecule, reference))
    if free > MOST_BONDS:
        reason = f"{free} bonds turn freely, and modes of all atoms mix their slow motions"
    elif near_limit and free > 0:
        reason = (
            "the molecule folds up until its frame nears a limit, where modes of all atoms bend"
        )
    else:
        return None
    return f"`chart='torsion'` is the better choice for collective variables here: {reason}"
