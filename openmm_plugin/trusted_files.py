"""XML files of OpenMM, checked before OpenMM makes objects of them.

A serialized `PythonForce` holds a pickle, a `TorchForce` a compiled program, and the `<Script>` of
a force field is Python. Such files run code when they are read, so that a file with anything but
forces that are known to hold numbers and formulas alone is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openmm

from openmm_plugin.system_checks import check_terms

FORCES = frozenset(
    [
        "AmoebaGeneralizedKirkwoodForce",
        "AmoebaMultipoleForce",
        "AmoebaTorsionTorsionForce",
        "AmoebaVdwForce",
        "AmoebaWcaDispersionForce",
        "AndersenThermostat",
        "ATMForce",
        "CMAPTorsionForce",
        "CMMotionRemover",
        "ConstantPotentialForce",
        "CustomAngleForce",
        "CustomBondForce",
        "CustomCentroidBondForce",
        "CustomCompoundBondForce",
        "CustomCVForce",
        "CustomExternalForce",
        "CustomGBForce",
        "CustomHbondForce",
        "CustomManyParticleForce",
        "CustomNonbondedForce",
        "CustomTorsionForce",
        "CustomVolumeForce",
        "DrudeForce",
        "GayBerneForce",
        "GBSAOBCForce",
        "HarmonicAngleForce",
        "HarmonicBondForce",
        "HippoNonbondedForce",
        "LCPOForce",
        "MonteCarloAnisotropicBarostat",
        "MonteCarloBarostat",
        "MonteCarloFlexibleBarostat",
        "MonteCarloMembraneBarostat",
        "NonbondedForce",
        "OrientationRestraintForce",
        "PeriodicTorsionForce",
        "RBTorsionForce",
        "RGForce",
        "RMSDForce",
        "RPMDMonteCarloBarostat",
        "SymplecticCVFlowBiasForce",
        "SymplecticCVFlowForce",
    ]
)
"""Forces that hold numbers and formulas, but no program."""
NESTING = {"ATMForce", "CustomCVForce"}
"""Those of them that hold other forces."""
FUNCTIONS = frozenset(
    f"{kind}{dimension}DFunction" for kind in ("Continuous", "Discrete") for dimension in (1, 2, 3)
)
DEEPEST = 64
"""Levels of elements within one another; a system of nested CustomCVForces has a few dozen."""
SCRIPTS = ("Script", "InitializationScript")
"""Elements of a force field whose text OpenMM runs as Python."""

EVALUATED, PLAIN = "useDispersionCorrection", ("true", "false", "0", "1")


class UntrustedFile(Exception):
    """A reason why a file must not be opened: the end of a sentence that begins with the file."""


class _Checked(ElementTree.TreeBuilder):
    """Builds the tree of a document; refuses document types and hostile depths as they come."""

    depth = 0

    def doctype(self, *_: Any) -> None:
        raise UntrustedFile("has a document type, which no file of OpenMM has")

    def start(self, tag: str, attributes: dict[str, str]) -> ElementTree.Element:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UntrustedFile(f"has elements more than {DEEPEST} deep in one another")
        return super().start(tag, attributes)

    def end(self, tag: str) -> ElementTree.Element:
        self.depth -= 1
        return super().end(tag)


def _parsed(content: bytes) -> ElementTree.Element:
    """The root of an XML document.

    Raises:
        UntrustedFile: See `_Checked`.
        ElementTree.ParseError: It is not XML.
    """
    parser = ElementTree.XMLParser(target=_Checked())
    parser.feed(content)
    return parser.close()


def deserialized(content: bytes, kind: str, trusted: bool = False) -> Any:
    """The OpenMM object of an XML document, which runs no code unless it is trusted.

    Args:
        content: The document.
        kind: The root element that it must have: `System` or `State`.
        trusted: Whether OpenMM may make forces of any type, those that run code too.

    Raises:
        UntrustedFile: The document holds another kind of object, or a force that can run code.
        ElementTree.ParseError: It is not XML.
        Exception: OpenMM cannot make the object.
    """
    if trusted:
        return openmm.XmlSerializer.deserialize(content.decode())
    root = _parsed(content)
    if root.tag != kind or root.get("type", kind) != kind:
        raise UntrustedFile(f"holds a {root.get('type', root.tag)}, not a {kind}")
    for element in root.iter():
        named = element.get("type")
        if element is root or (named is None and element.tag != "Force"):
            continue
        if kind != "System" or named not in FORCES | FUNCTIONS:
            what = "a force without a type" if named is None else f"a {named[:60]}"
            raise UntrustedFile(f"holds {what}, which can run code or is unknown here")
    check_terms(root)
    # written anew: OpenMM's own parser reads comments and references in another way than this one
    return openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))


def runs_code(system: openmm.System) -> bool:
    """Whether a system has forces that can run code, or that are unknown here."""
    kinds = {type(force).__name__ for force in system.getForces()}
    if kinds <= FORCES - NESTING:
        return False
    try:
        deserialized(openmm.XmlSerializer.serialize(system).encode(), "System")
    except UntrustedFile:
        return True
    return False


def check_force_field(names: Sequence[str]) -> None:
    """Raises UntrustedFile where a force field of the user, or one that it includes, has scripts.

    Args:
        names: The files as OpenMM's `ForceField` takes them. Those that come with OpenMM, and files
            that are missing or unreadable, are left to OpenMM.
    """
    waiting = [str(name) for name in names]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        path = Path(name)
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        try:
            root = _parsed(path.read_bytes())
        except UntrustedFile as found:
            raise UntrustedFile(f"{path} {found}") from None
        except (ElementTree.ParseError, OSError, ValueError):
            continue
        for element in root.iter():
            # OpenMM also evaluates one attribute as Python
            evaluated = element.get(EVALUATED, "0").strip()
            if element.tag in SCRIPTS or evaluated.lower() not in PLAIN:
                raise UntrustedFile(f"{path} has a script, which is Python code")
        for included in root.findall("Include"):
            other = included.get("file", "")
            joined = os.path.join(path.parent, other)
            waiting.append(joined if os.path.isfile(joined) else other)
