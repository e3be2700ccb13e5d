"""The molecule that a command runs: a serialized system, or a PDB with force-field files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from openmm_plugin.molecules import read_molecule
from openmm_plugin.systems import MolecularSystem, Solvent
from symplectic_cv.cli.options import option
from symplectic_cv.models.torsion_folder import load_modes

SystemOption = Annotated[Path | None, option("--system", help="The system.xml of the molecule.")]
StartOption = Annotated[
    Path | None,
    option("--top", help="PDB file to start from. Default: topology.pdb beside --system."),
]
PdbOption = Annotated[
    Path | None,
    option(
        "--pdb",
        help="PDB file of the molecule, instead of --system; needs --forcefield where Amber "
        "ff99SB-ILDN does not fit.",
    ),
]
ForceFieldOption = Annotated[
    list[str] | None,
    option(
        "--forcefield",
        metavar="XML [XML...]",
        help="Force-field files for --pdb, from OpenMM or your own. Default: Amber ff99SB-ILDN.",
    ),
]
SolventOption = Annotated[
    Solvent | None,
    option("--solvent", help="Solvent around the molecule of --pdb. Default: vacuum."),
]


def molecule_of_options(
    system: Path | None,
    top: Path | None,
    pdb: Path | None,
    forcefield: list[str] | None,
    solvent: Solvent | None,
    temperature: float | None,
    model: Path,
    kept: Path | None = None,
    trust_system: bool = False,
) -> MolecularSystem:
    """The molecule that --system or --pdb names, at --temperature or else that of the model."""
    kelvin = 300.0 if temperature is None else temperature
    if pdb is not None and temperature is None:
        kelvin = load_modes(model).temperature
    return read_molecule(system, top, pdb, forcefield, solvent, kelvin, kept, trust_system)
