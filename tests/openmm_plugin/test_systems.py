"""Built-in systems, a user's PDB and force field, serialized systems, platforms."""

import re

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb, load_system, read_pdb
from symplectic_cv.errors import OptionError, TrajectoryError


@pytest.fixture(scope="module")
def pdb():
    return built_in_pdb("alanine-dipeptide")


@pytest.fixture(scope="module")
def vacuum(pdb):
    return build_system(pdb, Solvent.VACUUM)


@pytest.fixture
def folder(vacuum, tmp_path):
    """A folder as `simulate` starts one."""
    write_structure(vacuum, tmp_path)
    return tmp_path


def _energy(molecule):
    context = openmm.Context(
        molecule.system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(molecule.positions)
    energy = context.getState(energy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoules_per_mole)


def _names(system):
    return {type(force).__name__ for force in system.getForces()}


def test_vacuum_and_implicit_are_the_dipeptide_without_a_box(pdb, vacuum):
    implicit = build_system(pdb, Solvent.IMPLICIT)
    for molecule in (vacuum, implicit):
        assert molecule.system.getNumParticles() == molecule.topology.getNumAtoms() == 22
        assert not molecule.periodic
        assert molecule.topology.getPeriodicBoxVectors() is None
        assert molecule.system.getNumConstraints() == 12  # one for each of its hydrogens
        assert "MonteCarloBarostat" not in _names(molecule.system)
    assert "GBSAOBCForce" not in _names(vacuum.system)
    assert "GBSAOBCForce" in _names(implicit.system)
    assert -150.0 < _energy(implicit) - _energy(vacuum) < -20.0  # kJ/mol of solvation


def test_explicit_is_a_box_of_water_under_pressure(pdb):
    molecule = build_system(pdb, Solvent.EXPLICIT, temperature=310.0)
    assert molecule.periodic
    waters = [r for r in molecule.topology.residues() if r.name == "HOH"]
    assert 500 < len(waters) < 1000
    assert molecule.system.getNumParticles() == 22 + 3 * len(waters)
    assert len(molecule.positions) == molecule.system.getNumParticles()
    (barostat,) = (
        force
        for force in molecule.system.getForces()
        if isinstance(force, openmm.MonteCarloBarostat)
    )
    assert barostat.getDefaultTemperature().value_in_unit(unit.kelvin) == 310.0
    assert barostat.getDefaultPressure().value_in_unit(unit.bar) == pytest.approx(1.0)
    (nonbonded,) = (
        force for force in molecule.system.getForces() if isinstance(force, openmm.NonbondedForce)
    )
    assert nonbonded.getNonbondedMethod() == openmm.NonbondedForce.PME
    solute = np.array(molecule.positions[:22].value_in_unit(unit.nanometer))
    box = np.array(molecule.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    assert (np.diag(box) > np.ptp(solute, axis=0) + 1.0).all()
    cutoff = nonbonded.getCutoffDistance().value_in_unit(unit.nanometer)
    assert (np.diag(box) > 2.2 * cutoff).all()  # else the barostat soon makes it too small


def test_flexible_has_no_constraints(pdb):
    assert build_system(pdb, Solvent.VACUUM, flexible=True).system.getNumConstraints() == 0


def test_a_users_force_field_is_used(pdb, vacuum):
    other = build_system(pdb, Solvent.VACUUM, ["amber14-all.xml"])
    assert abs(_energy(other) - _energy(vacuum)) > 1.0


def test_an_unknown_built_in_is_refused():
    with pytest.raises(OptionError, match="'benzene' is not built in"):
        built_in_pdb("benzene")


@pytest.mark.parametrize("names", [["nowhere.xml"], ["tip3p.xml"]])
def test_a_force_field_that_is_missing_or_does_not_fit_is_refused(pdb, names):
    with pytest.raises(OptionError, match=rf"`forcefield` {names[0]} cannot describe"):
        build_system(pdb, Solvent.VACUUM, names)


def test_a_damaged_force_field_is_refused(pdb, tmp_path):
    damaged = tmp_path / "mine.xml"
    damaged.write_text("<ForceField><AtomTypes>")
    with pytest.raises(OptionError, match=r"mine\.xml cannot describe"):
        build_system(pdb, Solvent.VACUUM, [str(damaged)])


def test_a_pdb_that_is_missing_or_damaged_is_refused(tmp_path):
    with pytest.raises(TrajectoryError, match=r"none\.pdb: no such PDB file"):
        read_pdb(tmp_path / "none.pdb")
    (tmp_path / "bad.pdb").write_text("ATOM      1  N   ALA A   1      abc     def     ghi\n")
    with pytest.raises(TrajectoryError, match=r"bad\.pdb: not a readable PDB file"):
        read_pdb(tmp_path / "bad.pdb")
    (tmp_path / "empty.pdb").write_text("")
    with pytest.raises(TrajectoryError, match=r"empty\.pdb"):
        read_pdb(tmp_path / "empty.pdb")


def test_a_written_system_is_read_back(vacuum, folder):
    loaded = load_system(folder / "system.xml")
    assert loaded.topology.getNumAtoms() == 22
    assert [a.name for a in loaded.topology.atoms()] == [a.name for a in vacuum.topology.atoms()]
    assert _energy(loaded) == pytest.approx(_energy(vacuum), abs=0.1)  # PDB holds 1e-4 nm
    elsewhere = folder / "elsewhere.pdb"
    (folder / "topology.pdb").rename(elsewhere)
    assert load_system(folder / "system.xml", elsewhere).topology.getNumAtoms() == 22
    message = r"system\.xml: no topology\.pdb beside it; .*`topology`"
    with pytest.raises(TrajectoryError, match=message):
        load_system(folder / "system.xml")


def test_a_missing_or_damaged_system_is_refused(folder):
    path = folder / "system.xml"
    text = path.read_text()
    with pytest.raises(TrajectoryError, match=r"other\.xml: no such file"):
        load_system(folder / "other.xml")
    for damaged in (text[: len(text) // 2], "", "not XML at all", "<System/>"):
        path.write_text(damaged)
        with pytest.raises(TrajectoryError, match=r"system\.xml: not a readable OpenMM system"):
            load_system(path)
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(TrajectoryError, match=r"system\.xml: not a readable OpenMM system"):
        load_system(path)
    path.write_text(openmm.XmlSerializer.serialize(openmm.VerletIntegrator(0.001)))
    with pytest.raises(TrajectoryError, match="holds a VerletIntegrator"):
        load_system(path)


def test_another_number_of_atoms_is_refused(folder):
    lines = (folder / "topology.pdb").read_text().splitlines(keepends=True)
    dropped = [line for line in lines if not re.match(r"(HETATM|ATOM  ) +22 ", line)]
    assert len(dropped) == len(lines) - 1
    (folder / "topology.pdb").write_text("".join(dropped))
    with pytest.raises(TrajectoryError, match=r"topology\.pdb: has 21 atoms, .*xml has 22"):
        load_system(folder / "system.xml")


def test_the_box_of_the_structure_is_taken(tmp_path, vacuum):
    """`system.xml` has the box it was built with, the structure the one it was simulated in."""
    system = openmm.XmlSerializer.clone(vacuum.system)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    system.setDefaultPeriodicBoxVectors(*(np.eye(3) * 5.0))
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    topology = app.Modeller(vacuum.topology, vacuum.positions).topology
    topology.setPeriodicBoxVectors(np.eye(3) * 4.0 * unit.nanometer)
    with open(tmp_path / "topology.pdb", "w") as handle:
        app.PDBFile.writeFile(topology, vacuum.positions, handle)
    loaded = load_system(tmp_path / "system.xml")
    assert loaded.periodic
    box = loaded.system.getDefaultPeriodicBoxVectors()
    assert box[0][0].value_in_unit(unit.nanometer) == pytest.approx(4.0)
