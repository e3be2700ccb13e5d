"""The molecule that a command runs: a serialized system, or a PDB with force-field files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from openmm_plugin.running.simulation import write_structure
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, load_system, read_pdb
from symplectic_cv.cli.options import option
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import file_digest

SystemOption = Annotated[Path | None, option("--system", help="system.xml of the molecule.")]
StartOption = Annotated[
    Path | None,
    option("--top", help="PDB to start from (default: topology.pdb beside the system)."),
]
PdbOption = Annotated[
    Path | None,
    option("--pdb", help="In the place of --system: a PDB, with --forcefield."),
]
ForceFieldOption = Annotated[
    list[str] | None,
    option(
        "--forcefield",
        metavar="XML [XML...]",
        help="Force-field files for --pdb, OpenMM's or your own (default: Amber ff99SB-ILDN).",
    ),
]
SolventOption = Annotated[
    Solvent | None, option("--solvent", help="Surroundings, for --pdb (default: vacuum).")
]
TIMESTEP_FS = 2.0


def read_molecule(
    system: Path | None,
    top: Path | None,
    pdb: Path | None,
    forcefield: list[str] | None,
    solvent: Solvent | None,
    temperature: float,
    kept: Path | None = None,
) -> tuple[MolecularSystem, dict[str, Any]]:
    """The molecule that the options name, and what a resumed run must not change about it.

    Args:
        kept: folder of a run that is resumed: its own `system.xml` counts where there is one.

    Raises:
        OptionError: neither or both of --system and --pdb, or options that belong to the other.
        TrajectoryError: a file that is missing or damaged.
    """
    if (system is None) == (pdb is None):
        raise OptionError(
            "name the molecule: either --system system.xml, or --pdb FILE with --forcefield"
        )
    if pdb is None and (forcefield or solvent is not None):
        raise OptionError("--forcefield and --solvent go with --pdb; a system.xml has its own")
    if pdb is not None and top is not None:
        raise OptionError("--top goes with --system; --pdb is the structure to start from")
    if system is not None:
        molecule = load_system(system, top)
        settings: dict[str, Any] = {"system_sha256": file_digest(system)}
    else:
        assert pdb is not None
        chosen = solvent or Solvent.VACUUM
        structure = read_pdb(pdb)
        settings = {
            "pdb_sha256": file_digest(pdb),
            "forcefield": forcefield,
            "solvent": chosen.value,
        }
        if kept is None or not (kept / "system.xml").is_file():
            molecule = build_system(structure, chosen, forcefield, False, temperature)
    if kept is not None and (kept / "system.xml").is_file():
        molecule = load_system(kept / "system.xml")
    return molecule, settings


def keep_structure(molecule: MolecularSystem, folder: Path) -> None:
    """Writes topology.pdb and system.xml, unless the folder has them already."""
    if not (folder / "system.xml").is_file():
        write_structure(molecule, folder)
