"""XML files of OpenMM: none of them runs code unless the user says so."""

import contextlib

import openmm
import pytest
from openmm import unit

from openmm_plugin.molecules import read_molecule
from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import Solvent, build_system, built_in_pdb, read_system
from openmm_plugin.trusted_files import FORCES, FUNCTIONS, UntrustedFile, deserialized
from symplectic_cv.errors import OptionError, TrajectoryError


class Opened:
    """A force's function that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")

    def __call__(self, state):
        return 0.0, state.getPositions(asNumpy=True)._value * 0.0


def _hostile(path, nested=False):
    """A system.xml whose PythonForce makes the file `path`, and the class of its root element."""
    system = openmm.System()
    system.addParticle(12.0)
    force = openmm.PythonForce(Opened(path))
    if nested:
        outer = openmm.CustomCVForce("x")
        outer.addCollectiveVariable("x", force)
        force = outer
    system.addForce(force)
    xml = openmm.XmlSerializer.serialize(system)
    path.unlink(missing_ok=True)
    return xml


@pytest.mark.parametrize("nested", [False, True])
def test_a_python_force_is_refused_unless_it_is_trusted(tmp_path, nested):
    made, xml = tmp_path / "made", tmp_path / "system.xml"
    xml.write_text(_hostile(made, nested))
    with pytest.raises(TrajectoryError, match=r"a PythonForce, which can run code.*`trust_system"):
        read_system(xml)
    assert not made.exists()
    with contextlib.suppress(TrajectoryError):  # what `open` returns is no function
        read_system(xml, trust_system=True)
    assert made.exists()


def _disguises(xml):
    force = xml[xml.index("<Force ") : xml.index("</Forces>")]
    clean = xml.replace(force, "")
    yield (
        "another root",
        xml.replace('type="System"', 'type="PythonForce"'),
    )
    yield "another element", xml.replace("<Force ", "<Anything ").replace("</Force>", "</Anything>")
    yield "a reference", xml.replace('type="PythonForce"', 'type="&#80;ythonForce"')
    # the parser of OpenMM ends a comment where the brackets balance
    yield (
        "a comment",
        clean.replace("</System>", f"<!-- > --><Forces>{force}</Forces></System>"),
    )
    yield "a type", xml.replace('<?xml version="1.0" ?>', "<!DOCTYPE System [<!ENTITY a 'b'>]>")


def test_no_disguise_of_a_python_force_passes(tmp_path):
    made = tmp_path / "made"
    for name, text in _disguises(_hostile(made)):
        with pytest.raises(UntrustedFile):
            deserialized(text.encode(), "System")
        assert not made.exists(), name


def test_what_only_openmm_would_read_as_an_element_is_dropped(tmp_path):
    """A comment that OpenMM's parser ends early reaches it no more."""
    made = tmp_path / "made"
    xml = _hostile(made)
    force = xml[xml.index("<Force ") : xml.index("</Forces>")]
    hidden = xml.replace(force, f"<!-- > {force.replace('--', '')} -->")
    assert deserialized(hidden.encode(), "System").getNumForces() == 0
    assert not made.exists()


def test_depth_is_bounded_before_openmm_sees_it():
    text = "<System type='System'>" + "<a>" * 10_000 + "</a>" * 10_000 + "</System>"
    with pytest.raises(UntrustedFile, match="deep"):
        deserialized(text.encode(), "System")


def test_a_state_holds_numbers_alone(tmp_path):
    made = tmp_path / "made"
    with pytest.raises(UntrustedFile, match="holds a System, not a State"):
        deserialized(_hostile(made).encode(), "State")
    text = _hostile(made).replace("System", "State")
    with pytest.raises(UntrustedFile, match="PythonForce"):
        deserialized(text.encode(), "State")
    assert not made.exists()


def test_every_force_of_openmm_but_the_dangerous_one_is_known():
    own = {
        name
        for name, kind in vars(openmm).items()
        if isinstance(kind, type) and issubclass(kind, openmm.Force)
    }
    assert own - {"Force", "PythonForce"} <= FORCES
    functions = {
        name
        for name, kind in vars(openmm).items()
        if isinstance(kind, type) and issubclass(kind, openmm.TabulatedFunction)
    }
    assert functions - {"TabulatedFunction"} == FUNCTIONS


@pytest.mark.parametrize("solvent", [Solvent.IMPLICIT, Solvent.EXPLICIT])
def test_systems_come_back_as_they_were(tmp_path, solvent):
    molecule = build_system(built_in_pdb("alanine-dipeptide"), solvent)
    write_structure(molecule, tmp_path)
    again = read_system(tmp_path / "system.xml")
    xml = openmm.XmlSerializer.serialize
    assert xml(again) == xml(deserialized(xml(molecule.system).encode(), "System", True))
    context = openmm.Context(
        molecule.system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(molecule.positions)
    state = context.getState(positions=True, velocities=True, parameters=True)
    back = deserialized(xml(state).encode(), "State")
    assert xml(back) == xml(state)
    assert back.getPositions()[3].value_in_unit(unit.nanometer) == (
        state.getPositions()[3].value_in_unit(unit.nanometer)
    )


SCRIPTED = """<ForceField>{include}<{tag}>open({made!r}, "w")</{tag}></ForceField>"""


@pytest.mark.parametrize("included", [False, True])
@pytest.mark.parametrize("tag", ["Script", "InitializationScript"])
def test_scripts_of_force_fields_run_only_when_trusted(tmp_path, tag, included):
    made = tmp_path / "made"
    file = tmp_path / "mine.xml"
    file.write_text(SCRIPTED.format(include="", tag=tag, made=str(made)))
    named = file
    if included:
        named = tmp_path / "outer.xml"
        named.write_text('<ForceField><Include file="mine.xml"/></ForceField>')
    what = {"solvent": Solvent.VACUUM, "force_field": ["amber99sbildn.xml", str(named)]}
    pdb = built_in_pdb("alanine-dipeptide")
    with pytest.raises(OptionError, match=r"mine\.xml has a script.*`trust_system=True`"):
        build_system(pdb, **what)
    assert not made.exists()
    build_system(pdb, **what, trust_system=True)
    assert made.exists()


def test_an_attribute_that_openmm_evaluates_is_refused(tmp_path):
    made = tmp_path / "made"
    code = f"open('{made}', 'w') and 1"
    file = tmp_path / "mine.xml"
    file.write_text(f'<ForceField><AmoebaVdwForce useDispersionCorrection="{code}"/></ForceField>')
    with pytest.raises(OptionError, match="has a script"):
        build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM, [str(file)])
    assert not made.exists()


def test_read_molecule_takes_the_word_of_the_user(tmp_path):
    molecule = build_system(built_in_pdb("alanine-dipeptide"), Solvent.VACUUM)
    molecule.system.addForce(openmm.PythonForce(Opened.__call__))
    write_structure(molecule, tmp_path)
    xml = tmp_path / "system.xml"
    with pytest.raises(TrajectoryError, match="PythonForce"):
        read_system(xml)
    found = read_molecule(xml, trust_system=True)
    assert found.system.getNumForces() == molecule.system.getNumForces()
