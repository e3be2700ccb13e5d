"""Torsions, their gradients and metrics: identities in float64 on random branched chains."""

from __future__ import annotations

import numpy as np
import pytest
from ligands import molecule_of

from symplectic_cv.charts.rotatable_bonds import RotatableBond, find_rotatable_bonds
from symplectic_cv.charts.torsion_metric import (
    momentum_metric,
    rigid_rotations,
    smallest_sines,
    torsion_angles,
    torsion_gradients,
    torsion_health,
    velocity_metric,
)
from symplectic_cv.data.torsions import Torsion, compute_torsions
from symplectic_cv.errors import FrameError, OptionError
from symplectic_cv.molecule import Molecule
from symplectic_cv.units import thermal_energy

KELVIN = 310.0
STEP = 1e-6
TREE = [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (5, 6), (6, 7)]
"""A main chain 0 … 4 with a side chain 5, 6, 7 at atom 2."""


@pytest.fixture(scope="module")
def tree() -> Molecule:
    return molecule_of("CNCOCSCF", TREE)


@pytest.fixture(scope="module")
def bonds(tree: Molecule) -> list[RotatableBond]:
    return find_rotatable_bonds(tree, frames(1)[0])


def frames(n_frames: int, seed: int = 3) -> np.ndarray:
    """Random structures of eight atoms about 0.3 nm apart, (n_frames, 8, 3) in nm."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.1, (n_frames, 8, 3)) + np.array([0.1, 0.0, 0.0])
    chain = np.cumsum(steps, axis=1)
    return chain + rng.normal(0.0, 0.03, chain.shape)


def turned(difference: np.ndarray) -> np.ndarray:
    """Differences of angles between −π and π."""
    return np.angle(np.exp(1j * difference))


def test_torsions_are_those_of_mdtraj(tree: Molecule, bonds: list[RotatableBond]) -> None:
    x = frames(20)
    named = [Torsion(bond.name, bond.atoms) for bond in bonds]
    wrong = turned(torsion_angles(x, bonds) - compute_torsions(x, named, tree))
    assert np.abs(wrong).max() < 2e-5  # MDTraj computes in float32


def test_gradients_are_those_of_finite_differences(bonds: list[RotatableBond]) -> None:
    x = frames(5)
    gradients = torsion_gradients(x, bonds)
    for place, bond in enumerate(bonds):
        for k, atom in enumerate(bond.atoms):
            for axis in range(3):
                up, down = x.copy(), x.copy()
                up[:, atom, axis] += STEP
                down[:, atom, axis] -= STEP
                change = turned(torsion_angles(up, bonds) - torsion_angles(down, bonds))
                slope = change[:, place] / (2 * STEP)
                size = np.abs(gradients[:, place]).max()
                assert np.abs(slope - gradients[:, place, k, axis]).max() < 1e-6 * size


def test_a_torsion_has_no_net_force_and_no_torque(bonds: list[RotatableBond]) -> None:
    x = frames(10)
    gradients = torsion_gradients(x, bonds)
    size = np.abs(gradients).max()
    assert np.abs(gradients.sum(2)).max() < 1e-12 * size
    atoms = np.array([bond.atoms for bond in bonds])
    torque = np.cross(x[:, atoms], gradients).sum(2)
    assert np.abs(torque).max() < 1e-12 * size


def test_a_rigid_rotation_changes_its_own_torsion_and_no_bond(
    tree: Molecule, bonds: list[RotatableBond]
) -> None:
    x = frames(6)
    fields = rigid_rotations(x, bonds, tree)
    pairs = np.array(TREE)
    for place in range(len(bonds)):
        up, down = x + STEP * fields[:, place], x - STEP * fields[:, place]
        change = turned(torsion_angles(up, bonds) - torsion_angles(down, bonds)) / (2 * STEP)
        assert np.abs(change - np.eye(len(bonds))[place]).max() < 1e-6
        stretch = lengths(up, pairs) - lengths(down, pairs)
        assert np.abs(stretch / (2 * STEP)).max() < 1e-9


def lengths(x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, pairs[:, 0]] - x[:, pairs[:, 1]], axis=-1)


def test_a_rigid_rotation_carries_no_momentum(tree: Molecule, bonds: list[RotatableBond]) -> None:
    x = frames(6)
    fields = rigid_rotations(x, bonds, tree)
    flow = tree.masses[:, None] * fields
    assert np.abs(flow.sum(2)).max() < 1e-11
    assert np.abs(np.cross(x[:, None], flow).sum(2)).max() < 1e-11


def test_the_metrics_are_the_covariances_of_velocities_and_momenta(
    tree: Molecule, bonds: list[RotatableBond]
) -> None:
    """Within five standard errors of 200,000 draws from Maxwell's distribution, one frame."""
    x, n = frames(1, seed=8), 200_000
    kt = thermal_energy(KELVIN)
    velocities = np.random.default_rng(5).normal(size=(n, tree.n_atoms, 3))
    velocities *= np.sqrt(kt / tree.masses)[:, None]
    atoms = np.array([bond.atoms for bond in bonds])
    rates = np.einsum("tkx,ntkx->nt", torsion_gradients(x, bonds)[0], velocities[:, atoms])
    momenta = np.einsum(
        "tax,a,nax->nt", rigid_rotations(x, bonds, tree)[0], tree.masses / kt, velocities
    )
    for sampled, metric in (
        (rates, velocity_metric(x, bonds, tree, KELVIN)[0]),
        (momenta, momentum_metric(x, bonds, tree, KELVIN)[0]),
    ):
        found = sampled.T @ sampled / n
        variance = np.outer(np.diag(metric), np.diag(metric)) + metric**2
        assert (np.abs(found - metric) < 5.0 * np.sqrt(variance / n)).all()


def test_held_bonds_and_angles_leave_less_velocity(
    tree: Molecule, bonds: list[RotatableBond]
) -> None:
    """M⁻¹ ≤ G, because M⁻¹ is the metric with all other motions projected out."""
    x = frames(30)
    loose = velocity_metric(x, bonds, tree, KELVIN)
    tight = np.linalg.inv(momentum_metric(x, bonds, tree, KELVIN))
    least = np.linalg.eigvalsh(loose - tight)[:, 0]
    assert (least > -1e-9 * np.abs(loose).max()).all()


def test_the_metrics_do_not_change_when_the_molecule_moves(
    tree: Molecule, bonds: list[RotatableBond]
) -> None:
    x = frames(4)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = x @ turn.T + [1.0, -2.0, 0.5]
    for metric in (velocity_metric, momentum_metric):
        here, there = (metric(y, bonds, tree, KELVIN) for y in (x, moved))
        assert np.abs(here - there).max() < 1e-8 * np.abs(here).max()


def test_a_bond_of_a_ring_has_velocities_and_no_rigid_rotation() -> None:
    ring = molecule_of("CCCCC", [(k, (k + 1) % 5) for k in range(5)])
    x = frames(3)[:, :5]
    bonds = find_rotatable_bonds(ring, x[0])
    assert (np.linalg.eigvalsh(velocity_metric(x, bonds, ring, KELVIN))[:, -1] > 0.0).all()
    with pytest.raises(OptionError, match="bond of a ring"):
        momentum_metric(x, bonds, ring, KELVIN)


def test_health_names_the_worst_torsion(tree: Molecule, bonds: list[RotatableBond]) -> None:
    x = frames(40)
    health = torsion_health(x, bonds, tree, KELVIN)
    sines = smallest_sines(x, bonds)
    assert health.smallest_sine == sines.min() == sines[health.frame, health.bond]
    assert 0.0 < health.smallest_mass <= 1.0


def test_atoms_on_a_line_are_named(tree: Molecule, bonds: list[RotatableBond]) -> None:
    x = frames(5)
    x[3, 1] = 0.5 * (x[3, 0] + x[3, 2])
    with pytest.raises(FrameError, match=r"frame 3: .*LIG0-N1 \(atom 2\).* lie on a line"):
        torsion_health(x, bonds, tree, KELVIN)
