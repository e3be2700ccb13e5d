"""Selections, masses and the description of a molecule in JSON."""

import json

import mdtraj as md
import numpy as np
import pytest

from symplectic_cv.errors import ModelError, SelectionError
from symplectic_cv.molecule import Molecule, select_atoms


@pytest.fixture
def solvated(topology):
    """An ion, the heavy dipeptide with one hydrogen and a virtual site, two waters."""
    whole = md.Topology()
    whole.add_atom("Na+", md.element.sodium, whole.add_residue("NA", whole.add_chain()))
    whole = whole.join(topology)
    alanine = next(r for r in whole.residues if r.name == "ALA")
    whole.add_atom("H", md.element.hydrogen, alanine)
    whole.add_atom("M", md.element.virtual, alanine)
    for _ in range(2):
        residue = whole.add_residue("HOH", whole.add_chain())
        for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
            whole.add_atom(name, md.element.get_by_symbol(element), residue)
    return whole


def test_the_default_is_the_heavy_atoms_of_the_solute(solvated, topology):
    chosen = select_atoms(solvated, None)
    assert chosen.n_system_atoms == 19
    labels = [(atom.residue.name, atom.name) for atom in chosen.topology.atoms]
    expected = {(atom.residue.name, atom.name) for atom in topology.atoms}
    assert len(labels) == chosen.n_atoms == 10
    assert set(labels) == expected
    for place, label in zip(chosen.indices, labels, strict=True):
        atom = solvated.atom(int(place))
        assert (atom.residue.name, atom.name) == label


def test_masses_are_those_of_the_elements_in_dalton(topology):
    chosen = select_atoms(topology, "name CH3 O N")
    assert chosen.masses.dtype == np.float64
    by_symbol = {"C": 12.011, "O": 15.999, "N": 14.007}
    symbols = [atom.element.symbol for atom in chosen.topology.atoms]
    np.testing.assert_allclose(chosen.masses, [by_symbol[s] for s in symbols], atol=2e-3)


def test_a_selection_picks_bonds_among_its_atoms(solvated):
    chosen = select_atoms(solvated, "resname ALA and element != H and element != VS")
    names = [atom.name for atom in chosen.topology.atoms]
    assert names == ["N", "CA", "CB", "C", "O"]
    bonds = {frozenset((b.atom1.name, b.atom2.name)) for b in chosen.topology.bonds}
    assert bonds == {frozenset(b) for b in (("N", "CA"), ("CA", "CB"), ("CA", "C"), ("C", "O"))}


def test_an_atom_is_labelled_as_a_user_counts(solvated):
    chosen = select_atoms(solvated, None)
    k = [atom.name for atom in chosen.topology.atoms].index("CA")
    assert chosen.atom_label(k) == f"ALA2-CA (atom {chosen.indices[k] + 1})"


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("name ===", "is not an MDTraj selection.*an example"),
        ("resname NONE", "has 0 atoms"),
        ("name CA CB", "has 2 atoms.*at least 3"),
        ("resname ALA", "M.* has no mass"),
    ],
)
def test_selections_that_carry_no_model_are_refused(solvated, selection, message):
    with pytest.raises(SelectionError, match=message) as error:
        select_atoms(solvated, selection)
    assert "`atoms`" in str(error.value)


def test_a_system_of_water_alone_has_no_solute():
    water = md.Topology()
    residue = water.add_residue("HOH", water.add_chain())
    for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
        water.add_atom(name, md.element.get_by_symbol(element), residue)
    with pytest.raises(SelectionError, match=r"heavy atoms of the solute.* has 0 atoms"):
        select_atoms(water, None)


def test_json_keeps_everything(solvated):
    before = select_atoms(solvated, None)
    after = Molecule.from_json(json.loads(json.dumps(before.to_json())))
    assert after.topology == before.topology
    assert [r.resSeq for r in after.topology.residues] == [
        r.resSeq for r in before.topology.residues
    ]
    assert after.topology.n_bonds == before.topology.n_bonds == 9
    assert np.array_equal(after.masses, before.masses)
    assert np.array_equal(after.indices, before.indices)
    assert after.n_system_atoms == before.n_system_atoms
    assert after.to_json() == before.to_json()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("atoms"),
        lambda data: data.pop("bonds"),
        lambda data: data.pop("n_system_atoms"),
        lambda data: data["atoms"][3].pop("mass_da"),
        lambda data: data["atoms"][3].update(element="Xx"),
        lambda data: data["atoms"][3].update(mass_da="heavy"),
        lambda data: data["bonds"].append([0, 99]),
        lambda data: data.update(atoms=None),
    ],
)
def test_json_that_is_incomplete_is_refused(molecule, damage):
    data = json.loads(json.dumps(molecule.to_json()))
    damage(data)
    with pytest.raises(ModelError, match="incomplete"):
        Molecule.from_json(data)
