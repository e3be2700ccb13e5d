"""Torsion modes through OpenMM: values, forces without net force or torque, biased runs."""

from __future__ import annotations

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_plugin.forces import evaluate
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from openmm_plugin.torsion_forces import torsion_mode_forces
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.errors import OptionError, SelectionError
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import select_atoms

STEP = 1e-6


@pytest.fixture(scope="module")
def tetra_alanine() -> MolecularSystem:
    return build_system(built_in_pdb("tetra-alanine"), Solvent.VACUUM)


@pytest.fixture(scope="module")
def model(tetra_alanine: MolecularSystem) -> TorsionModel:
    """Three modes with random coefficients of order 2; the carboxylate has fold 2."""
    molecule = select_atoms(md.Topology.from_openmm(tetra_alanine.topology), None)
    x = np.array(tetra_alanine.positions.value_in_unit(unit.nanometer))[molecule.indices]
    bonds = tuple(find_rotatable_bonds(molecule, x))
    rng = np.random.default_rng(3)
    return TorsionModel(
        molecule=molecule,
        temperature=300.0,
        bonds=bonds,
        order=2,
        coefficients=rng.normal(size=(3, len(bonds), 2, 2)),
        constant=rng.normal(size=3),
        omega=np.array([1.0, 2.0, 3.0]),
        omega_error=np.full(3, np.nan),
        omega_held_out=np.full(3, np.nan),
        steepness=np.ones(3),
    )


def scattered(system: MolecularSystem, seed: int) -> np.ndarray:
    x = np.array(system.positions.value_in_unit(unit.nanometer))
    return x + np.random.default_rng(seed).normal(0.0, 0.02, x.shape)


def test_values_are_those_of_the_model(tetra_alanine: MolecularSystem, model: TorsionModel) -> None:
    forces = torsion_mode_forces(model, tetra_alanine.system)
    for seed in range(5):
        x = scattered(tetra_alanine, seed)
        values = evaluate(forces, len(x), x)
        expected = model.modes(x[None, model.molecule.indices])[0]
        assert np.abs(values - expected).max() < 1e-9


def test_chosen_modes_keep_their_order(tetra_alanine: MolecularSystem, model: TorsionModel) -> None:
    x = scattered(tetra_alanine, 7)
    forces = torsion_mode_forces(model, tetra_alanine.system, [2, 0])
    expected = model.modes(x[None, model.molecule.indices], [2, 0])[0]
    assert np.abs(evaluate(forces, len(x), x) - expected).max() < 1e-9
    with pytest.raises(OptionError, match="3 modes"):
        torsion_mode_forces(model, tetra_alanine.system, [3])


def test_forces_are_finite_differences_without_net_force_or_torque(
    tetra_alanine: MolecularSystem, model: TorsionModel
) -> None:
    system = openmm.System()
    for k in range(tetra_alanine.system.getNumParticles()):
        system.addParticle(tetra_alanine.system.getParticleMass(k))
    (force,) = torsion_mode_forces(model, system, [1])
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    x = scattered(tetra_alanine, 1)
    context.setPositions(x)
    found = context.getState(forces=True).getForces(asNumpy=True)
    forces = np.array(found.value_in_unit(unit.kilojoules_per_mole / unit.nanometer))
    size = np.abs(forces).max()
    assert np.abs(forces.sum(0)).max() < 1e-10 * size
    assert np.abs(np.cross(x, forces).sum(0)).max() < 1e-10 * size
    for atom in model.bonds[3].atoms:
        place = model.molecule.indices[atom]
        for axis in range(3):
            ends = []
            for sign in (1.0, -1.0):
                moved = x[None, model.molecule.indices].copy()
                moved[0, atom, axis] += sign * STEP
                ends.append(model.modes(moved, [1])[0, 0])
            slope = (ends[0] - ends[1]) / (2 * STEP)
            assert abs(slope + forces[place, axis]) < 1e-5 * size


def test_a_plain_openmm_reads_the_serialized_force(
    tetra_alanine: MolecularSystem, model: TorsionModel
) -> None:
    (force,) = torsion_mode_forces(model, tetra_alanine.system, [0])
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))
    assert isinstance(again, openmm.CustomTorsionForce)
    x = scattered(tetra_alanine, 2)
    assert evaluate([again], len(x), x) == pytest.approx(evaluate([force], len(x), x), abs=1e-12)


def test_it_is_biased_by_openmm_itself(tetra_alanine: MolecularSystem, model: TorsionModel) -> None:
    system = openmm.XmlSerializer.clone(tetra_alanine.system)
    (force,) = torsion_mode_forces(model, system, [0])
    low, high = -model.bound[0] - model.constant[0], model.bound[0] - model.constant[0]
    variable = app.BiasVariable(force, low, high, 0.3, gridWidth=101)
    meta = app.Metadynamics(system, [variable], 300.0, 10.0, 1.0, 10)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001)
    simulation = app.Simulation(tetra_alanine.topology, system, integrator)
    simulation.context.setPositions(tetra_alanine.positions)
    simulation.minimizeEnergy()
    meta.step(simulation, 50)
    least = meta.getFreeEnergy().min()
    assert least.value_in_unit(unit.kilojoules_per_mole) < 0.0


def test_atoms_of_another_system_are_refused(model: TorsionModel) -> None:
    other = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    with pytest.raises(SelectionError, match=r"only 22 atoms|Da"):
        torsion_mode_forces(model, other.system)
