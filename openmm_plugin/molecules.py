"""The molecule of a run: an OpenMM system with its structure, or a PDB with force-field files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import mdtraj as md
import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import (
    BUILT_IN,
    MolecularSystem,
    Solvent,
    build_system,
    built_in_pdb,
    load_system,
    read_pdb,
    read_system,
)
from openmm_plugin.trusted_files import runs_code
from symplectic_cv.checks import choose
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import file_digest

SYSTEM = "system.xml"

Topology: TypeAlias = app.Topology | md.Topology | str | Path
"""A topology of OpenMM or MDTraj, or the path of a PDB."""


def as_molecule(
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
    positions: unit.Quantity | np.ndarray | None = None,
) -> MolecularSystem:
    """The molecule that the arguments `system`, `topology` and `positions` of a run describe.

    Args:
        system: An `openmm.System`, or the path of a system.xml. A `MolecularSystem` is returned as
            it is.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB.
            With a system.xml it may be left out: topology.pdb beside it is read then.
        positions: The structure to start from, shape (n_atoms, 3), a quantity or numbers in nm.
            It may be left out where `topology` is a PDB.

    Raises:
        OptionError: The topology or the positions are missing, or have another number of atoms.
        TrajectoryError: A file is missing or damaged.
    """
    topology = _openmm_topology(topology)
    if isinstance(system, MolecularSystem):
        if topology is not None or positions is not None:
            raise OptionError(
                "`topology` and `positions` are part of a MolecularSystem: leave them out"
            )
        source = system.source or {"system_sha256": _digest(system.system)}
        return replace(system, source=source)
    if not isinstance(system, (openmm.System, str, Path)):
        raise OptionError(
            "`system` must be an openmm.System, a MolecularSystem or the path of a system.xml; got "
            f"{type(system).__name__}"
        )
    if not isinstance(system, openmm.System) and not isinstance(topology, app.Topology):
        molecule = load_system(system, topology)
        if positions is not None:
            molecule.positions = _in_nm(positions)
    else:
        if topology is None:
            raise OptionError("`topology` is missing: an openmm.System does not name its atoms")
        if not isinstance(topology, app.Topology):
            structure = read_pdb(Path(topology))
            topology = structure.topology
            positions = structure.positions if positions is None else positions
        if positions is None:
            raise OptionError("`positions` are missing: give the structure to start from")
        loaded = system if isinstance(system, openmm.System) else read_system(Path(system))
        molecule = MolecularSystem(loaded, topology, _in_nm(positions))
    if isinstance(system, openmm.System):
        molecule.source = {"system_sha256": _digest(system)}
    else:
        molecule.source = {"system_sha256": file_digest(Path(system))}
    _check_atoms(molecule)
    return molecule


def _openmm_topology(topology: Any) -> app.Topology | str | Path | None:
    """A topology of OpenMM, or the path of a PDB."""
    if isinstance(topology, md.Topology):
        return topology.to_openmm()
    if topology is None or isinstance(topology, (app.Topology, str, Path)):
        return topology
    raise OptionError(
        "`topology` must be a topology of OpenMM or MDTraj, or the path of a PDB; got "
        f"{type(topology).__name__}"
    )


def _digest(system: openmm.System) -> str:
    """The SHA-256 of its system.xml."""
    return hashlib.sha256(openmm.XmlSerializer.serialize(system).encode()).hexdigest()


def _in_nm(positions: unit.Quantity | np.ndarray) -> unit.Quantity:
    if unit.is_quantity(positions):
        return positions
    try:
        return np.asarray(positions, dtype=np.float64) * unit.nanometer
    except (TypeError, ValueError):
        raise OptionError(
            "`positions` must be numbers in nm, shape (n_atoms, 3), or a quantity; "
            f"got {type(positions).__name__}"
        ) from None


def _check_atoms(molecule: MolecularSystem) -> None:
    """Raises OptionError unless system, topology and positions have the same atoms."""
    n_atoms = molecule.system.getNumParticles()
    named, placed = molecule.topology.getNumAtoms(), len(molecule.positions)
    if not n_atoms == named == placed:
        raise OptionError(
            f"the system has {n_atoms} atoms, `topology` has {named} and `positions` has {placed}: "
            "give those of the same molecule"
        )
    lengths = np.array(molecule.positions.value_in_unit(unit.nanometer))
    lost = np.flatnonzero(~np.isfinite(lengths).all(-1))
    if len(lost):
        raise OptionError(
            f"`positions` of atom {lost[0] + 1} are NaN or infinite: give another structure"
        )


def build_molecule(
    name: str | None = None,
    pdb: str | Path | None = None,
    forcefield: Sequence[str] | None = None,
    solvent: Solvent | str = Solvent.IMPLICIT,
    flexible: bool = False,
    temperature: float = 300.0,
    trust_system: bool = False,
) -> MolecularSystem:
    """A built-in molecule, or one's own from a PDB, with a force field and its surroundings.

    Args:
        name: The name of a built-in molecule: "alanine-dipeptide" or "tetra-alanine".
        pdb: The path of a PDB, in place of `name`.
        forcefield: Force-field files, OpenMM's or your own; Amber ff99SB-ILDN where None.
        solvent: The surroundings: "vacuum", "implicit" (OBC) or "explicit" (TIP3P water at 1 bar).
        flexible: Whether bonds to hydrogen have no constraints.
        temperature: The temperature of the barostat of an explicit solvent, in K.
        trust_system: Whether scripts in your own force-field files may run.

    Raises:
        OptionError: Neither or both of `name` and `pdb`, an unknown name, or a force field that
            does not describe the molecule.
        TrajectoryError: The PDB is missing or damaged.

    Example:
        >>> build_molecule("alanine-dipeptide").topology.getNumAtoms()
        22
    """
    if (name is None) == (pdb is None):
        raise OptionError(
            f"name either a built-in molecule ({', '.join(BUILT_IN)}) or your own with `pdb`"
        )
    structure = built_in_pdb(str(name)) if pdb is None else read_pdb(Path(pdb))
    chosen = choose(Solvent, solvent, "solvent")
    names = None if forcefield is None else list(forcefield)
    molecule = build_system(structure, chosen, names, flexible, temperature, trust_system)
    molecule.source = {
        "system": str(pdb or name),
        "solvent": chosen.value,
        "forcefield": names,
        "flexible": flexible,
    }
    return molecule


def read_molecule(
    system: str | Path | None = None,
    top: str | Path | None = None,
    pdb: str | Path | None = None,
    forcefield: Sequence[str] | None = None,
    solvent: Solvent | str | None = None,
    temperature: float = 300.0,
    kept: str | Path | None = None,
    trust_system: bool = False,
) -> MolecularSystem:
    """The molecule of a system.xml, or of a PDB with force-field files.

    Args:
        system: The path of a system.xml.
        top: The PDB to start from, for `system`; topology.pdb beside it where None.
        pdb: The path of a PDB, in place of `system`.
        forcefield: Force-field files for `pdb`, OpenMM's or your own; Amber ff99SB-ILDN where None.
        solvent: The surroundings for `pdb`: "vacuum" (where None), "implicit" or "explicit".
        temperature: The temperature of the barostat of an explicit solvent, in K.
        kept: The folder of a run that is resumed; its system.xml is read where it has one.
        trust_system: Whether `system` may have forces, and `forcefield` scripts, that run code. A
            run with such a `system` is resumed with that file, whose SHA-256 it keeps.

    Raises:
        OptionError: Neither or both of `system` and `pdb`, or options that belong to the other.
        TrajectoryError: A file is missing or damaged.
    """
    if (system is None) == (pdb is None):
        raise OptionError(
            "name the molecule: either `system=system.xml`, or `pdb` with `forcefield`"
        )
    if pdb is None and (forcefield or solvent is not None):
        raise OptionError("`forcefield` and `solvent` go with `pdb`; a system.xml has its own")
    if pdb is not None and top is not None:
        raise OptionError("`top` goes with `system`; `pdb` is the structure to start from")
    before = None if kept is None else Path(kept) / SYSTEM
    if before is not None and not before.is_file():
        before = None
    if system is not None:
        molecule = load_system(system, top, trust_system)
        source: dict[str, Any] = {"system_sha256": file_digest(Path(system))}
    else:
        assert pdb is not None
        chosen = Solvent.VACUUM if solvent is None else choose(Solvent, solvent, "solvent")
        structure = read_pdb(Path(pdb))
        names = None if forcefield is None else list(forcefield)
        source = {
            "pdb_sha256": file_digest(Path(pdb)),
            "forcefield": names,
            "solvent": chosen.value,
        }
        if before is None:
            molecule = build_system(structure, chosen, names, False, temperature, trust_system)
    if before is not None and not (trust_system and system is not None):
        molecule = load_system(before)
    molecule.source = source
    return molecule


def keep_structure(molecule: MolecularSystem, folder: Path) -> None:
    """Writes topology.pdb and system.xml, unless the folder has them already."""
    if not (folder / SYSTEM).is_file():
        write_structure(molecule, folder)


def kept_molecule(folder: Path, molecule: MolecularSystem) -> MolecularSystem:
    """The molecule of a run's own system.xml and topology.pdb, as a resumed run reads them.

    Args:
        folder: The folder of the run.
        molecule: The molecule that the user gave. Forces that can run code are made where the
            user gave these very forces.

    Raises:
        TrajectoryError: A file is missing or damaged, or holds other forces that can run code.
    """
    trusted = runs_code(molecule.system) and (
        (folder / SYSTEM).read_text() == openmm.XmlSerializer.serialize(molecule.system)
    )
    return load_system(folder / SYSTEM, trust_system=trusted)
