"""Systems that OpenMM would hang or crash on are told, with the atom."""

import openmm
import pytest

from openmm_plugin.systems import read_system
from symplectic_cv.errors import TrajectoryError


def _system():
    system = openmm.System()
    for mass in (12.0, 1.0, 1.0, 0.0):
        system.addParticle(mass)
    system.addConstraint(0, 1, 0.1)
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 2, 0.1, 1000.0)
    system.addForce(bond)
    angle = openmm.HarmonicAngleForce()
    angle.addAngle(1, 0, 2, 2.0, 100.0)
    system.addForce(angle)
    hydrogen = openmm.CustomHbondForce("distance(a1,d1)")
    hydrogen.addDonor(0, -1, -1, [])
    system.addForce(hydrogen)
    return openmm.XmlSerializer.serialize(system)


CASES = {
    "bond index": ('p2="2"', 'p2="1000000"', "HarmonicBondForce has a term Bond of atom 1000000"),
    "negative index": ('p2="2"', 'p2="-1"', "has a term Bond of atom -1"),
    "angle index": ('p3="2"', 'p3="100"', "HarmonicAngleForce has a term Angle of atom 100"),
    "huge index": ('p3="2"', f'p3="{"9" * 30}"', "of atom 9999"),
    "nan": ('k="1000"', 'k="nan"', "HarmonicBondForce has a term Bond whose k is NaN"),
    "mass": ('mass="12"', 'mass="nan"', "the mass of atom 0 is nan Da"),
    "negative mass": ('mass="12"', 'mass="-1"', "the mass of atom 0 is -1 Da"),
    "mass 0": ('mass="12"', 'mass="0"', "atoms 0 and 1 holds an atom of mass 0"),
    "itself": ('<Constraint d=".1" p1="0" p2="1"', '<Constraint d=".1" p1="0" p2="0"', "itself"),
    "length": ('<Constraint d=".1"', '<Constraint d="nan"', "has the length nan nm"),
    "constraint index": (
        '<Constraint d=".1" p1="0" p2="1"',
        '<Constraint d=".1" p1="0" p2="9"',
        "atoms 0 and 9: the atoms are 0 to 3",
    ),
}


def test_a_sound_system_passes(tmp_path):
    (tmp_path / "system.xml").write_text(_system())
    assert read_system(tmp_path / "system.xml").getNumForces() == 3


@pytest.mark.parametrize("name", CASES)
def test_a_system_that_cannot_be_simulated_is_told(tmp_path, name):
    old, new, message = CASES[name]
    xml = _system()
    assert old in xml
    (tmp_path / "system.xml").write_text(xml.replace(old, new, 1))
    with pytest.raises(TrajectoryError, match=message):
        read_system(tmp_path / "system.xml")
