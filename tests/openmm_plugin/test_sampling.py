"""`openmm_plugin.sample`: samples of a molecule from Python, and what they hold."""

import mdtraj as md
import numpy as np
import pytest
import torch

import openmm_plugin
import symplectic_cv as sc
from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb
from symplectic_cv.errors import OptionError
from symplectic_cv.files.tables import read_table
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.sampling.sample import SamplingComplete
from symplectic_cv.training.variational import VariationalOptions, prepare_variational

SMALL = VariationalOptions(flow=FlowOptions(layers=2, hidden=8), steps=4)


@pytest.fixture(scope="module")
def molecule(tmp_path_factory):
    """A flexible dipeptide, and a folder with its harmonic model."""
    folder = tmp_path_factory.mktemp("sampling")
    built = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, flexible=True)
    write_structure(built, folder)
    hamiltonian = openmm_plugin.MolecularHamiltonian(built, 300.0)
    save_model(folder / "model", prepare_variational(hamiltonian, SMALL).model)
    return folder


def test_samples_and_their_files(molecule, tmp_path):
    samples = openmm_plugin.sample(
        molecule / "model", molecule / "system.xml", 64, "importance", folder=tmp_path / "out"
    )
    assert samples.positions.shape == (64, 22, 3)
    assert samples.weights.mean() == pytest.approx(1.0)
    model = sc.load_model(molecule / "model").double()
    with torch.no_grad():
        again = model.log_likelihood(torch.from_numpy(samples.positions)).numpy()
    np.testing.assert_allclose(samples.log_likelihood, again, atol=1e-6)
    samples.save(tmp_path / "out")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"run.json", "samples.dcd", "topology.pdb", "samples.csv", "summary.json"}
    table = read_table(tmp_path / "out" / "samples.csv")
    np.testing.assert_allclose(table["energy"], samples.energy, rtol=1e-7)
    trajectory = md.load(str(tmp_path / "out/samples.dcd"), top=str(tmp_path / "out/topology.pdb"))
    np.testing.assert_allclose(trajectory.xyz, samples.positions, atol=6e-4)
    with pytest.raises(SamplingComplete):
        openmm_plugin.sample(
            molecule / "model",
            molecule / "system.xml",
            64,
            "importance",
            folder=tmp_path / "out",
            resume=True,
        )


def test_a_model_object_and_a_system_object_give_the_same(molecule):
    arguments = {"n": 32, "method": "importance", "seed": 3}
    one = openmm_plugin.sample(molecule / "model", molecule / "system.xml", **arguments)
    model = sc.load_model(molecule / "model")
    system = openmm_plugin.load_system(molecule / "system.xml")
    other = openmm_plugin.sample(model, system, **arguments)
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.energy, other.energy)


def test_a_bare_system_needs_a_topology_and_no_structure(molecule):
    model = sc.load_model(molecule / "model")
    loaded = openmm_plugin.load_system(molecule / "system.xml")
    one = openmm_plugin.sample(model, molecule / "system.xml", 8, "importance")
    for topology in (loaded.topology, md.Topology.from_openmm(loaded.topology)):
        other = openmm_plugin.sample(model, loaded.system, 8, "importance", topology=topology)
        np.testing.assert_array_equal(one.energy, other.energy)
    with pytest.raises(OptionError, match="`topology` must be a topology of OpenMM or MDTraj"):
        openmm_plugin.sample(model, loaded.system, 8, "importance", topology=22)


def test_an_analytic_model_belongs_to_sample_hamiltonian(molecule):
    model = prepare_variational(DoubleWell(), SMALL).model
    with pytest.raises(OptionError, match="not of a molecule"):
        openmm_plugin.sample(model, molecule / "system.xml", 200)
    samples = sc.sample_hamiltonian(model, 200, DoubleWell(), "importance")
    q = samples.coordinates[:, 0]
    np.testing.assert_allclose(samples.energy, 2.0 * (q * q - 1.0) ** 2, rtol=1e-9)
    with pytest.raises(OptionError, match=r"`method` must be independence, .* or rejection"):
        sc.sample_hamiltonian(model, 200, DoubleWell(), "gibbs")


def test_structures_at_a_value_of_a_mode(molecule):
    found = sc.conditional_structures(molecule / "model", {0: 1.2}, 5)
    assert found.positions.shape == (5, 22, 3)
    assert (found.latent[:, 0] == 1.2).all()
