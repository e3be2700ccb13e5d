"""Systems to simulate: built-in molecules, a user's PDB with force-field files, or XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import openmm
from openmm import app, unit

from openmm_plugin.system_checks import check_system
from openmm_plugin.trusted_files import UntrustedFile, check_force_field, deserialized
from symplectic_cv.errors import OptionError, TrajectoryError, UserError

BUILT_IN = {
    "alanine-dipeptide": "alanine-dipeptide.pdb",
    "tetra-alanine": "tetra-alanine.pdb",  # with charged ends
}
PADDING = 1.4
"""Water between the images of the solute, nm. Boxes are at least twice as wide, which leaves the
barostat room above the two cutoffs (2 nm) that a box must hold."""


IF_TRUSTED = "runs only with `trust_system=True`, which you give where you trust its author"


class Solvent(str, Enum):
    VACUUM = "vacuum"
    IMPLICIT = "implicit"
    EXPLICIT = "explicit"


FORCE_FIELDS = {
    Solvent.VACUUM: ("amber99sbildn.xml",),
    Solvent.IMPLICIT: ("amber99sbildn.xml", "amber99_obc.xml"),
    Solvent.EXPLICIT: ("amber99sbildn.xml", "tip3p.xml"),
}
"""Amber ff99SB-ILDN; with OBC implicit solvent; with TIP3P water."""


@dataclass
class MolecularSystem:
    """An OpenMM system with its topology and a structure to start from.

    Attributes:
        system: The OpenMM system.
        topology: The topology of its atoms.
        positions: The structure to start from, shape (n_atoms, 3), with unit.
        source: The digests and settings by which a resumed run recognises the molecule.
    """

    system: openmm.System
    topology: app.Topology
    positions: unit.Quantity
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def periodic(self) -> bool:
        return bool(self.system.usesPeriodicBoundaryConditions())


def read_pdb(path: Path) -> app.PDBFile:
    """A PDB file; raises TrajectoryError where it is missing or unreadable."""
    if not path.is_file():
        raise TrajectoryError(f"{path}: no such PDB file")
    try:
        return app.PDBFile(str(path))
    except Exception as error:  # OpenMM's parser raises errors of many types
        raise TrajectoryError(f"{path}: not a readable PDB file ({error})") from error


def built_in_pdb(name: str) -> app.PDBFile:
    """The structure of a built-in molecule; raises OptionError for an unknown name."""
    if name not in BUILT_IN:
        raise OptionError(
            f"the molecule {name!r} is not built in; there is {', '.join(BUILT_IN)}, "
            "or give your own with `pdb` and `forcefield`"
        )
    with as_file(files("openmm_plugin") / "structures" / BUILT_IN[name]) as path:
        return app.PDBFile(str(path))


def build_system(
    pdb: app.PDBFile,
    solvent: Solvent,
    force_field: Sequence[str] | None = None,
    flexible: bool = False,
    temperature: float = 300.0,
    trust_system: bool = False,
) -> MolecularSystem:
    """A system ready to simulate.

    Args:
        pdb: The topology and positions; explicit solvent is added around them unless they have a
            periodic box already.
        solvent: The surroundings: vacuum and implicit solvent have no cutoff, explicit solvent has
            PME and a Monte Carlo barostat at 1 bar.
        force_field: XML files of OpenMM or the user's; Amber ff99SB-ILDN where None.
        flexible: Whether bonds to hydrogen have no constraints (time step at most 1 fs).
        temperature: The temperature of the barostat, in K.
        trust_system: Whether scripts in the user's force-field files may run.

    Raises:
        OptionError: The force field does not know the molecule, or has a script.
    """
    names = list(force_field or FORCE_FIELDS[solvent])
    if not trust_system:
        try:
            check_force_field(names)
        except UntrustedFile as found:
            raise OptionError(f"`forcefield`: {found}; it {IF_TRUSTED}") from None
    try:
        field = app.ForceField(*names)
        model = app.Modeller(pdb.topology, pdb.positions)
        has_box = pdb.topology.getPeriodicBoxVectors() is not None
        if solvent is Solvent.EXPLICIT and not has_box:
            model.addSolvent(field, padding=PADDING * unit.nanometer)
        if solvent is not Solvent.EXPLICIT:
            model.topology.setPeriodicBoxVectors(None)
        system = field.createSystem(
            model.topology,
            nonbondedMethod=app.PME if solvent is Solvent.EXPLICIT else app.NoCutoff,
            constraints=None if flexible else app.HBonds,
            rigidWater=not flexible,
        )
    except UserError:
        raise
    except Exception as error:  # force fields raise ValueError, KeyError, OSError, …
        raise OptionError(
            f"`forcefield` {' '.join(names)} cannot describe this molecule: {error}"
        ) from error
    if solvent is Solvent.EXPLICIT:
        system.addForce(openmm.MonteCarloBarostat(1.0 * unit.bar, temperature * unit.kelvin))
    return MolecularSystem(system, model.topology, model.positions)


def read_system(xml: Path, trust_system: bool = False) -> openmm.System:
    """A serialized system.

    Args:
        xml: The path of a system.xml.
        trust_system: Whether forces that can run code are made too: `PythonForce`, `TorchForce`,
            and types that are unknown here.

    Raises:
        TrajectoryError: The file is missing or damaged, or holds such a force.
    """
    if str(xml) in BUILT_IN:
        raise TrajectoryError(
            f"{xml}: is a built-in molecule, not a file: give what `openmm_plugin.build_molecule` "
            "makes of it"
        )
    if not xml.is_file():
        raise TrajectoryError(
            f"{xml}: no such file (`system`; `openmm_plugin.simulate` writes one)"
        )
    try:
        system = deserialized(xml.read_bytes(), "System", trust_system)
        if not isinstance(system, openmm.System):
            raise TypeError(f"holds a {type(system).__name__}")
        check_system(system)
    except UntrustedFile as found:
        raise TrajectoryError(f"{xml}: {found}; it {IF_TRUSTED}") from None
    except Exception as error:
        raise TrajectoryError(f"{xml}: not a readable OpenMM system ({error})") from error
    return system


def system_alone(system: openmm.System | MolecularSystem | str | Path) -> openmm.System:
    """An OpenMM system without its structure.

    Args:
        system: The system, a `MolecularSystem`, or the path of a system.xml.

    Raises:
        OptionError: The value is none of these.
        TrajectoryError: The file is missing or damaged.
    """
    if isinstance(system, MolecularSystem):
        return system.system
    if isinstance(system, openmm.System):
        return system
    if isinstance(system, (str, Path)):
        return read_system(Path(system))
    raise OptionError(
        "`system` must be an openmm.System, a MolecularSystem or the path of a system.xml; got "
        f"{type(system).__name__}"
    )


def load_system(
    xml: str | Path, pdb: str | Path | None = None, trust_system: bool = False
) -> MolecularSystem:
    """A serialized system with the structure beside it.

    Args:
        xml: `system.xml`, as `simulate` writes it.
        pdb: The atoms and a structure to start from; `topology.pdb` beside it where None.
        trust_system: Whether forces that can run code are made too; give it where you trust the
            author of the file.

    Raises:
        TrajectoryError: A file that is missing or damaged, another number of atoms, or a force
            that can run code.
    """
    xml = Path(xml)
    system = read_system(xml, trust_system)
    if pdb is None:
        pdb = xml.with_name("topology.pdb")
        if not pdb.is_file():
            raise TrajectoryError(
                f"{xml}: no topology.pdb beside it; name the PDB of its atoms with `topology`"
            )
    structure = read_pdb(Path(pdb))
    if structure.topology.getNumAtoms() != system.getNumParticles():
        raise TrajectoryError(
            f"{pdb}: has {structure.topology.getNumAtoms()} atoms, {xml} has "
            f"{system.getNumParticles()}: name the PDB of the same atoms with `topology`"
        )
    if system.usesPeriodicBoundaryConditions():
        vectors = structure.topology.getPeriodicBoxVectors()
        if vectors is not None:
            system.setDefaultPeriodicBoxVectors(*vectors)
        else:  # trajectories are written with a box only where the topology has one
            structure.topology.setPeriodicBoxVectors(system.getDefaultPeriodicBoxVectors())
    return MolecularSystem(system, structure.topology, structure.positions)
