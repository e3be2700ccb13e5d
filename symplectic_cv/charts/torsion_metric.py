"""Torsions of rotatable bonds, their gradients, and their two exact metrics.

For torsions s_i of atoms with masses m_a at the temperature T,

    G_ij = kT Σ_a ∇_a s_i · ∇_a s_j / m_a            velocities ṡ ~ N(0, G), in 1/ps²;
    M_ij = Σ_a m_a d_ai · d_aj / kT                  momenta p_s ~ N(0, M), in ps²,

with d_ai = u_i × (x_a − x_i) for the atoms beyond bond i, less the rigid motion of their
molecule. M is the mass matrix of the torsions where bonds and angles are held. It is the exact
marginal of phase space in internal coordinates, and M⁻¹ ≤ G.

Sources: A. Blondel and M. Karplus, J. Comput. Chem. 17, 1132 (1996), for the gradients;
E. B. Wilson, J. C. Decius and P. C. Cross, Molecular Vibrations (1955), for G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symplectic_cv.charts.rotatable_bonds import RotatableBond, beyond_bond
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.molecule import Molecule, bonded_neighbours
from symplectic_cv.units import thermal_energy

LINE = 0.02
"""Below this sine of a bond angle three atoms lie on a line, and a torsion has no value."""


@dataclass(frozen=True)
class TorsionHealth:
    """The distance of frames from the singularities of the torsion chart.

    Attributes:
        smallest_sine: The smallest sine of the bond angles beside any torsion.
        bond: The place of that torsion.
        frame: The frame with that sine.
        smallest_mass: The smallest eigenvalue of M over its median; NaN where there are rings.
    """

    smallest_sine: float
    bond: int
    frame: int
    smallest_mass: float


def torsion_angles(positions: np.ndarray, bonds: Sequence[RotatableBond]) -> np.ndarray:
    """Torsions in rad, from −π to π with the IUPAC sign, shape (n_frames, n_bonds), float64.

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds.
    """
    _, g, _, a, b, length = _vectors(positions, bonds)
    sine = (np.cross(b, a) * g).sum(-1)
    return np.arctan2(sine, (a * b).sum(-1) * length)


def torsion_gradients(positions: np.ndarray, bonds: Sequence[RotatableBond]) -> np.ndarray:
    """Gradients of each torsion by its own four atoms, in rad/nm.

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds.

    Returns:
        Shape (n_frames, n_bonds, 4, 3), in the order of each bond's atoms.
    """
    f, g, h, a, b, length = _vectors(positions, bonds)
    a = a / (a * a).sum(-1, keepdims=True)
    b = b / (b * b).sum(-1, keepdims=True)
    length = length[..., None]
    along_f = (f * g).sum(-1, keepdims=True) / length
    along_h = (h * g).sum(-1, keepdims=True) / length
    first, last = -length * a, length * b
    shift = along_f * a - along_h * b
    return np.stack([first, shift - first, -shift - last, last], axis=-2)


def _vectors(positions: np.ndarray, bonds: Sequence[RotatableBond]) -> tuple[np.ndarray, ...]:
    """F, G, H, A, B and |G| of Blondel and Karplus."""
    x = np.asarray(positions, dtype=np.float64)
    atoms = np.array([bond.atoms for bond in bonds])
    i, j, k, m = (x[:, atoms[:, place]] for place in range(4))
    f, g, h = i - j, j - k, m - k
    return f, g, h, np.cross(f, g), np.cross(h, g), np.linalg.norm(g, axis=-1)


def velocity_metric(
    positions: np.ndarray,
    bonds: Sequence[RotatableBond],
    molecule: Molecule,
    temperature: float,
) -> np.ndarray:
    """G, the covariance of the torsions' velocities, shape (n_frames, n_bonds, n_bonds), in 1/ps².

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds.
        molecule: The modelled atoms, for their masses.
        temperature: The temperature in K.
    """
    return _contract(
        torsion_gradients(positions, bonds), bonds, thermal_energy(temperature) / molecule.masses
    )


def _contract(
    gradients: np.ndarray, bonds: Sequence[RotatableBond], weight: np.ndarray
) -> np.ndarray:
    """Σ_a weight_a ∇_a s_i · ∇_a s_j over the atoms that two torsions share."""
    n = len(bonds)
    metric = np.zeros((len(gradients), n, n))
    for i, first in enumerate(bonds):
        for j, second in enumerate(bonds[: i + 1]):
            for k, atom in enumerate(first.atoms):
                if atom in second.atoms:
                    other = gradients[:, j, second.atoms.index(atom)]
                    metric[:, i, j] += weight[atom] * (gradients[:, i, k] * other).sum(-1)
            metric[:, j, i] = metric[:, i, j]
    return metric


def momentum_metric(
    positions: np.ndarray,
    bonds: Sequence[RotatableBond],
    molecule: Molecule,
    temperature: float,
) -> np.ndarray:
    """M, the covariance of the torsions' momenta, shape (n_frames, n_bonds, n_bonds), in ps².

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds, none of them in a ring.
        molecule: The modelled atoms, for their masses and bonds.
        temperature: The temperature in K.

    Raises:
        OptionError: A bond belongs to a ring, which no rigid rotation of one side can turn.
    """
    fields = rigid_rotations(positions, bonds, molecule)
    weighted = fields * (molecule.masses / thermal_energy(temperature))[:, None]
    n_frames, n = fields.shape[:2]
    return np.einsum(
        "fix,fjx->fij", weighted.reshape(n_frames, n, -1), fields.reshape(n_frames, n, -1)
    )


def rigid_rotations(
    positions: np.ndarray, bonds: Sequence[RotatableBond], molecule: Molecule
) -> np.ndarray:
    """Displacements of all atoms per unit of each torsion, bonds and angles held.

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds, none of them in a ring.
        molecule: The modelled atoms.

    Returns:
        Shape (n_frames, n_bonds, n_atoms, 3), in nm/rad, without rigid motion of a molecule.

    Raises:
        OptionError: A bond belongs to a ring.
    """
    ring = next((bond.name for bond in bonds if bond.in_ring), None)
    if ring is not None:
        raise OptionError(
            f"{ring} is a bond of a ring, for which the mass matrix of the torsions is not "
            "defined: use `metric` velocity"
        )
    x = np.asarray(positions, dtype=np.float64)
    neighbours = bonded_neighbours(molecule.n_atoms, molecule.bonds)
    whole = _molecules(neighbours)
    fields = np.zeros((len(x), len(bonds), molecule.n_atoms, 3))
    for place, bond in enumerate(bonds):
        j, k = bond.atoms[1:3]
        axis = x[:, k] - x[:, j]
        axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
        moved = beyond_bond(neighbours, j, k)
        fields[:, place, moved] = np.cross(axis[:, None], x[:, moved] - x[:, [k]])
        own = next(atoms for atoms in whole if j in atoms)
        fields[:, place, own] -= _rigid_part(x[:, own], fields[:, place, own], molecule.masses[own])
    return fields


def _molecules(neighbours: Sequence[Sequence[int]]) -> list[list[int]]:
    left = set(range(len(neighbours)))
    found = []
    while left:
        start = min(left)
        found.append(beyond_bond(neighbours, -1, start))
        left -= set(found[-1])
    return found


def _rigid_part(x: np.ndarray, displacement: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """The rigid motion that carries the momentum of a displacement, (F, N, 3)."""
    total = masses.sum()
    centre = (masses[:, None] * x).sum(1, keepdims=True) / total
    shift = (masses[:, None] * displacement).sum(1, keepdims=True) / total
    arm = x - centre
    spin = (masses[:, None] * np.cross(arm, displacement)).sum(1)
    square = (arm * arm).sum(-1)
    inertia = np.einsum("a,fa,ij->fij", masses, square, np.eye(3))
    inertia -= np.einsum("a,fai,faj->fij", masses, arm, arm)
    turn = np.linalg.solve(inertia, spin[..., None])[..., 0]
    return shift + np.cross(turn[:, None], arm)


def smallest_sines(positions: np.ndarray, bonds: Sequence[RotatableBond]) -> np.ndarray:
    """The smaller sine of the two bond angles of each torsion, shape (n_frames, n_bonds).

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds.
    """
    f, _, h, a, b, length = _vectors(positions, bonds)
    sine_f = np.linalg.norm(a, axis=-1) / (np.linalg.norm(f, axis=-1) * length)
    sine_h = np.linalg.norm(b, axis=-1) / (np.linalg.norm(h, axis=-1) * length)
    return np.minimum(sine_f, sine_h)


def torsion_health(
    positions: np.ndarray,
    bonds: Sequence[RotatableBond],
    molecule: Molecule,
    temperature: float,
) -> TorsionHealth:
    """Checks that every torsion has a value in every frame, and measures the distance to failure.

    Args:
        positions: Whole frames of the modelled atoms, shape (n_frames, n_atoms, 3), in nm.
        bonds: The rotatable bonds.
        molecule: The modelled atoms.
        temperature: The temperature in K.

    Raises:
        FrameError: Three atoms beside a torsion lie on a line in some frame.
    """
    sines = smallest_sines(positions, bonds)
    frame, place = (int(k) for k in np.unravel_index(int(np.argmin(sines)), sines.shape))
    smallest = float(sines[frame, place])
    if not smallest > LINE:
        atoms = ", ".join(molecule.atom_label(atom) for atom in bonds[place].atoms)
        raise FrameError(
            f"frame {frame}: three of the atoms {atoms} lie on a line, so that the torsion "
            f"{bonds[place].name} has no value: leave atoms of linear groups out of the selection "
            "(`atoms`)"
        )
    mass = float("nan")
    if not any(bond.in_ring for bond in bonds):
        chosen = np.linspace(0, len(positions) - 1, min(len(positions), 1000)).astype(int)
        values = np.linalg.eigvalsh(
            momentum_metric(np.asarray(positions)[chosen], bonds, molecule, temperature)
        )
        mass = float(values[:, 0].min() / np.median(values[:, 0]))
    return TorsionHealth(smallest, place, frame, mass)
