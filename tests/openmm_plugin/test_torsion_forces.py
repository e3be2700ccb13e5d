"""Torsion modes through OpenMM: values, forces without net force or torque, biased runs."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_plugin.biasing.native_engine import MODE
from openmm_plugin.forces import evaluate, mode_forces
from openmm_plugin.native_library import evaluations
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from openmm_plugin.torsion_forces import torsion_mode_forces
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.errors import OptionError, SelectionError
from symplectic_cv.exporting.export import export
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


@pytest.fixture(scope="module")
def cv(model: TorsionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cv")
    export(model, [2, 0, 1], folder)
    return folder / "cv.json"


def energies_and_forces(
    forces: list[openmm.Force], system: MolecularSystem, x: np.ndarray, box: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Each force in a group of its own, alone in a system: energies (n,) and forces (n, N, 3)."""
    alone = openmm.System()
    for k in range(system.system.getNumParticles()):
        alone.addParticle(system.system.getParticleMass(k))
    if box is not None:
        alone.setDefaultPeriodicBoxVectors(*box)
    for group, force in enumerate(forces):
        copied = openmm.XmlSerializer.clone(force)
        copied.setForceGroup(group)
        alone.addForce(copied)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(alone, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    energies, found = [], []
    for group in range(len(forces)):
        state = context.getState(energy=True, forces=True, groups={group})
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole))
        kj_per_nm = unit.kilojoules_per_mole / unit.nanometer
        found.append(state.getForces(asNumpy=True).value_in_unit(kj_per_nm))
    return np.array(energies), np.array(found)


BOX = np.array([[3.2, 0.0, 0.0], [0.7, 3.0, 0.0], [-1.0, 0.9, 2.9]])


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("backend", ["native", "python", "torchforce"])
def test_every_backend_gives_the_numbers_of_openmms_own_forces(
    tetra_alanine: MolecularSystem, cv: Path, backend: str, boxed: bool
) -> None:
    system, box = openmm.XmlSerializer.clone(tetra_alanine.system), None
    if boxed:
        box = BOX
        bonds = openmm.HarmonicBondForce()
        bonds.setUsesPeriodicBoundaryConditions(True)
        system.addForce(bonds)
    own = mode_forces(cv, system, "openmm")
    assert [type(force) for force in own] == [openmm.CustomTorsionForce] * 3
    forces = mode_forces(cv, system, backend)
    assert all(force.usesPeriodicBoundaryConditions() == boxed for force in forces)
    for seed in range(3):
        x = scattered(tetra_alanine, seed)
        if boxed:  # a molecule in pieces
            x = x + np.random.default_rng(seed).integers(-2, 3, size=x.shape) @ BOX
        values, slopes = energies_and_forces(forces, tetra_alanine, x, box)
        expected, right = energies_and_forces(own, tetra_alanine, x, box)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(slopes, right, rtol=0, atol=1e-9 * np.abs(right).max())


def test_the_modes_of_one_system_share_one_evaluation(
    tetra_alanine: MolecularSystem, cv: Path
) -> None:
    forces = mode_forces(cv, tetra_alanine.system, "native")
    before = evaluations(forces[0])
    x = scattered(tetra_alanine, 4)
    energies_and_forces(forces, tetra_alanine, x, None)
    assert evaluations(forces[0]) == before + 1


def test_native_forces_are_for_the_cpu(tetra_alanine: MolecularSystem, cv: Path) -> None:
    """And nowhere else, unless a user asks for them: a GPU has OpenMM's own forces."""
    system = tetra_alanine.system
    for platform, backend in (("CPU", MODE), ("Reference", MODE), ("CUDA", None), (None, None)):
        force = mode_forces(cv, system, platform=platform)[0]
        kind = ElementTree.fromstring(openmm.XmlSerializer.serialize(force)).get("type")
        assert kind == (backend or "CustomTorsionForce")
    beside = mode_forces(cv.with_suffix(".pt"), system, "native")[0]
    assert openmm.XmlSerializer.serialize(beside) == openmm.XmlSerializer.serialize(
        mode_forces(cv, system, "native")[0]
    )
    with pytest.raises(OptionError, match=r"got 'gpu' \(openmm is for"):
        mode_forces(cv, system, "gpu")


def test_three_atoms_on_a_line_stop_a_native_force(
    tetra_alanine: MolecularSystem, model: TorsionModel, cv: Path
) -> None:
    x = scattered(tetra_alanine, 1)
    first, second, third, _ = (model.molecule.indices[k] for k in model.bonds[2].atoms)
    x[third] = 2.0 * x[second] - x[first]
    forces = mode_forces(cv, tetra_alanine.system, "native")
    with pytest.raises(openmm.OpenMMException, match="three atoms of a torsion lie on one line"):
        energies_and_forces(forces, tetra_alanine, x, None)
