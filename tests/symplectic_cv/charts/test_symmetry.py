"""Hydrogens that are alike: found from the bonds, exchanged without a change of energy or hand."""

import mdtraj as md
import numpy as np
import torch
from ligands import molecule_of
from openmm import unit

from openmm_plugin.energies.molecular_energy import MolecularEnergy
from openmm_plugin.platforms import choose_platform
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.symmetry import equivalent_turns, exchange, like_hydrogens
from symplectic_cv.molecule import select_atoms


def _dipeptide():
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)
    topology = md.Topology.from_openmm(molecule.topology)
    positions = molecule.positions.value_in_unit(unit.nanometer)
    return molecule, select_atoms(topology, "all"), torch.tensor(positions, dtype=torch.float64)


def test_the_dipeptide_has_three_methyl_groups():
    _, atoms, _ = _dipeptide()
    groups = like_hydrogens(atoms)
    names = [[atoms.topology.atom(i).element.symbol for i in group] for (group,) in groups]
    assert names == [["H"] * 3] * 3
    assert len({i for (group,) in groups for i in group}) == 9


def test_exchanged_hydrogens_keep_the_energy_and_the_hand():
    molecule, atoms, x = _dipeptide()
    groups = like_hydrogens(atoms)
    jitter = 0.003 * torch.randn(200, *x.shape, generator=torch.Generator().manual_seed(0)).double()
    frames = x + jitter
    moved = exchange(frames, groups, torch.Generator().manual_seed(1))
    energy = MolecularEnergy(molecule.system, choose_platform("Reference", 22))
    np.testing.assert_allclose(energy(moved), energy(frames), rtol=0, atol=1e-9)
    changed = (moved != frames).any(-1)
    inside = torch.zeros(22, dtype=torch.bool)
    inside[[i for (group,) in groups for i in group]] = True
    assert not changed[:, ~inside].any()
    # each of the three orders comes in a third of the frames, ± 4 standard errors
    share = changed[:, inside].double().mean()
    assert abs(float(share) - 2 / 3) < 4 * (2 / 9 / (200 * 3)) ** 0.5
    for (group,) in groups:
        a, b, c = (moved[:, i] for i in group)
        before = [frames[:, i] for i in group]
        centre = frames[:, _carrier(atoms, group[0])]
        volume = torch.linalg.det(torch.stack([a - centre, b - centre, c - centre], -1))
        first = torch.linalg.det(torch.stack([y - centre for y in before], -1))
        torch.testing.assert_close(volume, first)


def _carrier(atoms, hydrogen):
    (bond,) = [pair for pair in atoms.bonds if hydrogen in pair]
    return bond[0] if bond[1] == hydrogen else bond[1]


def turns_of(ligand, shape):
    return equivalent_turns(ligand, find_rotatable_bonds(ligand, shape), shape)


def test_the_oxygens_of_a_carboxylate_change_places():
    acetate = molecule_of("CCCOO", [(0, 1), (1, 2), (2, 3), (2, 4)])
    flat = np.array([[0, 0, 0.1], [0, 0, 0], [0.14, 0, 0], [0.2, 0.1, 0], [0.2, -0.1, 0]])
    assert turns_of(acetate, flat) == [((3, 4),)]
    tetrahedral = flat + 0.08 * np.array([[0, 0, 0]] * 3 + [[0, 0, 1]] * 2)
    assert turns_of(acetate, tetrahedral) == []


def test_both_sides_of_a_phenyl_ring_change_places_with_their_hydrogens():
    """Ethylbenzene with ring hydrogens: 8–12 on ring atoms 3–7; the para carbon 5 stays."""
    ring = [2, 3, 4, 5, 6, 7]
    bonds = [(0, 1), (1, 2), *zip(ring, [*ring[1:], 2], strict=True)]
    bonds += list(zip(ring[1:], range(8, 13), strict=True))
    ligand = molecule_of("CCCCCCCCHHHHH", bonds)
    angles = np.radians(60.0 * np.arange(6))
    flat = np.zeros((13, 3))
    flat[ring] = 0.14 * np.c_[-np.cos(angles), np.sin(angles), np.zeros(6)]
    flat[8:13] = 1.8 * flat[ring[1:]]
    flat[1], flat[0] = [-0.29, 0, 0], [-0.33, 0.05, 0.13]
    (cycles,) = turns_of(ligand, flat)
    assert set(cycles) == {(3, 7), (4, 6), (8, 12), (9, 11)}
    moved = exchange(
        torch.from_numpy(flat).expand(64, 13, 3), [cycles], torch.Generator().manual_seed(0)
    )
    mirrored = torch.from_numpy(flat * [1.0, -1.0, 1.0])
    turned = (moved[:, 3] != moved[0, 3]).any(-1) | (moved[:, 3] == mirrored[3]).all(-1)
    assert 0 < int(turned.sum()) < 64
    # the ring as a set of points with elements is the same
    for frame in moved:
        assert sorted(map(tuple, frame[2:8].tolist())) == sorted(map(tuple, flat[2:8].tolist()))
        torch.testing.assert_close(frame[5], torch.from_numpy(flat[5]))


def test_three_methyl_groups_turn_together_and_keep_their_hands():
    """tert-Butyl with all hydrogens on a C–O: each methyl takes its own hydrogens along."""
    bonds = [(0, 1), (1, 2), (2, 3), (2, 4), (2, 5)]
    bonds += [(methyl, 6 + 3 * k + h) for k, methyl in enumerate((3, 4, 5)) for h in range(3)]
    ligand = molecule_of("COCCCC" + "H" * 9, bonds)
    rng = np.random.default_rng(1)
    shape = rng.normal(scale=0.02, size=(15, 3))
    shape[0] += [-0.2, 0.13, 0]
    shape[1] += [-0.14, 0, 0]
    for k in range(3):
        a = 2 * np.pi * k / 3
        arm = np.array([0.05, 0.14 * np.cos(a), 0.14 * np.sin(a)])
        shape[3 + k] += arm
        out = arm / np.linalg.norm(arm)
        side = np.cross(out, [1.0, 0, 0])
        side /= np.linalg.norm(side)
        for h in range(3):
            # the same hand for each, whatever the numbers of the hydrogens
            b = 2 * np.pi * (h if k != 1 else -h) / 3
            shape[6 + 3 * k + h] += (
                arm + 0.04 * out + 0.1 * (np.cos(b) * side + np.sin(b) * np.cross(out, side))
            )
    (cycles,) = turns_of(ligand, shape)
    assert (3, 4, 5) in cycles
    assert sorted(i for cycle in cycles for i in cycle) == list(range(3, 15))
    image = {i: cycle[(n + 1) % 3] for cycle in cycles for n, i in enumerate(cycle)}
    for k in range(3):
        hydrogens = [6 + 3 * k + h for h in range(3)]
        volumes = []
        for carbon, three in ((3 + k, hydrogens), (image[3 + k], [image[h] for h in hydrogens])):
            volumes.append(np.linalg.det(shape[three] - shape[carbon]))
        assert volumes[0] * volumes[1] > 0.0


def test_different_groups_do_not_change_places():
    """A carboxylic acid with its hydrogen: the two oxygens are not alike."""
    acid = molecule_of("CCCOOH", [(0, 1), (1, 2), (2, 3), (2, 4), (4, 5)])
    flat = np.array(
        [[0, 0, 0.1], [0, 0, 0], [0.14, 0, 0], [0.2, 0.1, 0], [0.2, -0.1, 0], [0.3, -0.1, 0]]
    )
    assert turns_of(acid, flat) == []
