"""Torsions: which ones a model has, their values, and what users may get wrong."""

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.data.torsions import Torsion, backbone_pairs, compute_torsions, find_torsions
from symplectic_cv.errors import OptionError
from symplectic_cv.molecule import Molecule, select_atoms


@pytest.fixture
def tripeptide():
    """Backbone and CB of three alanines, numbered from 5."""
    topology = md.Topology()
    chain = topology.add_chain()
    before = None
    for number in (5, 6, 7):
        residue = topology.add_residue("ALA", chain, resSeq=number)
        n, ca, c, o, cb = (
            topology.add_atom(name, md.element.get_by_symbol(name[0]), residue)
            for name in ("N", "CA", "C", "O", "CB")
        )
        for pair in ((n, ca), (ca, c), (c, o), (ca, cb)):
            topology.add_bond(*pair)
        if before is not None:
            topology.add_bond(before, n)
        before = c
    return topology


def test_the_dipeptide_has_phi_and_psi(molecule):
    phi, psi = find_torsions(molecule)
    assert (phi.name, phi.atoms) == ("phi", (1, 3, 4, 6))
    assert (psi.name, psi.atoms) == ("psi", (3, 4, 6, 8))
    assert backbone_pairs([phi, psi]) == [(0, 1)]


def test_several_residues_are_told_apart(tripeptide):
    torsions = find_torsions(select_atoms(tripeptide, None))
    names = [torsion.name for torsion in torsions]
    assert names == ["phi_ALA6", "phi_ALA7", "psi_ALA5", "psi_ALA6"]
    assert backbone_pairs(torsions) == [(0, 3)]


def test_residues_that_a_selection_parts_have_no_torsion_between_them(tripeptide):
    assert find_torsions(select_atoms(tripeptide, "resSeq 5 or resSeq 7")) == []


def test_a_model_without_backbone_has_none(molecule):
    assert find_torsions(_without_alanine_carbonyl(molecule)) == []


def test_names_and_atom_numbers(tripeptide):
    molecule = select_atoms(tripeptide, "not name O")
    torsions = find_torsions(molecule, ["omega", "bend=1,2,3,6"])
    assert [torsion.name for torsion in torsions] == ["omega_ALA5", "omega_ALA6", "bend"]
    # atom 6 is the N of the second residue, the fifth of the modelled atoms
    assert torsions[2].atoms == (0, 1, 2, 4)


def test_values_are_those_of_the_definition(molecule):
    angles = np.radians([-170.0, -60.0, 0.0, 45.0, 179.0])
    positions = np.zeros((len(angles), 10, 3))
    positions[:, 0] = [0.1, 0.0, 0.0]
    positions[:, 2] = [0.0, 0.0, 0.15]
    # seen along the axis, a positive torsion turns the far bond clockwise: y < 0 with z away
    positions[:, 3, 0], positions[:, 3, 1] = 0.1 * np.cos(angles), 0.1 * np.sin(angles)
    positions[:, 3, 2] = 0.15
    torsion = Torsion("test", (0, 1, 2, 3))
    found = compute_torsions(positions, [torsion], molecule)[:, 0]
    np.testing.assert_allclose(np.angle(np.exp(1j * (found - angles))), 0.0, atol=1e-5)


def test_values_do_not_depend_on_place_and_orientation(molecule, dipeptide, wobble):
    torsions = find_torsions(molecule)
    still = compute_torsions(dipeptide[None], torsions, molecule)
    turned = compute_torsions(wobble(5, size=0.0), torsions, molecule)
    np.testing.assert_allclose(turned, np.repeat(still, 5, 0), atol=1e-4)
    assert compute_torsions(wobble(5), [], molecule).shape == (5, 0)


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        (["theta"], r"theta: unknown; known are phi psi"),
        (["chi1"], r"chi1: no residue has all four"),
        (["a=2,4,5"], r"needs four different atoms, this names 3"),
        (["a=2,4,5,5"], r"needs four different atoms, this names 3"),
        (["a=2,4,5,CA"], r"not a list of atom numbers"),
        (["a=0,4,5,7"], r"no atom 0; .* 1 to 10"),
        (["a=2,4,5,11"], r"no atom 11"),
        (["=2,4,5,7"], r"no name"),
        (["phi", "phi"], r"phi_ALA2 is defined twice"),
        (["a=2,4,5,7", "a=4,5,7,9"], r"a is defined twice"),
    ],
)
def test_a_wrong_definition_is_told_in_one_line(molecule, definitions, message):
    with pytest.raises(OptionError, match=message) as error:
        find_torsions(molecule, definitions)
    assert "\n" not in str(error.value)


def test_an_atom_outside_of_the_model_is_named(molecule):
    with pytest.raises(OptionError, match="atom 7 is not among the model's atoms"):
        find_torsions(_without_alanine_carbonyl(molecule), ["a=2,4,5,7"])


def _without_alanine_carbonyl(molecule):
    kept = np.array([0, 1, 2, 3, 4, 5])
    return Molecule(molecule.topology.subset(kept), molecule.masses[kept], kept, 10)
