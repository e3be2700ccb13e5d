"""Hydrogens that are alike: found from the bonds, exchanged without a change of energy or hand."""

import mdtraj as md
import numpy as np
import torch
from openmm import unit

from openmm_plugin.energies.molecular_energy import MolecularEnergy
from openmm_plugin.systems import Solvent, build_system, built_in_pdb, choose_platform
from symplectic_cv.charts.symmetry import exchange, like_hydrogens
from symplectic_cv.molecule import select_atoms


def _dipeptide():
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)
    topology = md.Topology.from_openmm(molecule.topology)
    positions = molecule.positions.value_in_unit(unit.nanometer)
    return molecule, select_atoms(topology, "all"), torch.tensor(positions, dtype=torch.float64)


def test_the_dipeptide_has_three_methyl_groups():
    _, atoms, _ = _dipeptide()
    groups = like_hydrogens(atoms)
    names = [[atoms.topology.atom(i).element.symbol for i in group] for group in groups]
    assert names == [["H"] * 3] * 3
    assert len({i for group in groups for i in group}) == 9


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
    inside[[i for group in groups for i in group]] = True
    assert not changed[:, ~inside].any()
    # each of the three orders comes in a third of the frames, ± 4 standard errors
    share = changed[:, inside].double().mean()
    assert abs(float(share) - 2 / 3) < 4 * (2 / 9 / (200 * 3)) ** 0.5
    for group in groups:
        a, b, c = (moved[:, i] for i in group)
        before = [frames[:, i] for i in group]
        centre = frames[:, _carrier(atoms, group[0])]
        volume = torch.linalg.det(torch.stack([a - centre, b - centre, c - centre], -1))
        first = torch.linalg.det(torch.stack([y - centre for y in before], -1))
        torch.testing.assert_close(volume, first)


def _carrier(atoms, hydrogen):
    (bond,) = [pair for pair in atoms.bonds if hydrogen in pair]
    return bond[0] if bond[1] == hydrogen else bond[1]
