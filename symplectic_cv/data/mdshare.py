"""Alanine dipeptide from the `mdshare` repository, fetched by name.

`mdshare:alanine-dipeptide-3x250ns-heavy-atom-positions.npz` (three runs of 250,000 frames,
heavy atoms, nm) comes without topology or box; both are built in here. Its molecules
jump across the cubic box of 2.3222 nm, which the reader undoes.

Source of the data: F. Nüske et al., J. Chem. Phys. 146, 094104 (2017).
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path

import mdtraj as md

from symplectic_cv.errors import TrajectoryError

PREFIX = "mdshare:"
BOX_LENGTH = 2.3222
"""Edge of the cubic box of the repository's alanine dipeptide runs, nm."""

HEAVY_ATOMS = (
    ("ACE", (("CH3", "C"), ("C", "C"), ("O", "O"))),
    ("ALA", (("N", "N"), ("CA", "C"), ("CB", "C"), ("C", "C"), ("O", "O"))),
    ("NME", (("N", "N"), ("C", "C"))),
)
"""Residues and heavy atoms (name, element) in the order of the repository's files."""

BONDS = ((0, 1), (1, 2), (1, 3), (3, 4), (4, 5), (4, 6), (6, 7), (6, 8), (8, 9))


def heavy_atom_topology() -> md.Topology:
    """Topology of the ten heavy atoms of alanine dipeptide.

    Example:
        >>> heavy_atom_topology().n_atoms
        10
    """
    topology = md.Topology()
    chain = topology.add_chain()
    for number, (residue_name, atoms) in enumerate(HEAVY_ATOMS, start=1):
        residue = topology.add_residue(residue_name, chain, resSeq=number)
        for name, element in atoms:
            topology.add_atom(name, md.element.get_by_symbol(element), residue)
    for first, second in BONDS:
        topology.add_bond(topology.atom(first), topology.atom(second))
    return topology


def fetch(name: str, folder: Path, catalogue: Path | None = None) -> list[Path]:
    """Downloads the files that `mdshare:NAME` names, unless `folder` has it already.

    Args:
        name: The file name or pattern in the catalogue, without the prefix.
        folder: The folder that keeps the files.
        catalogue: The catalogue file of another repository (YAML), for mirrors.

    Raises:
        TrajectoryError: There is no such name or no network, or the download is damaged. No
            partial file is left behind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports pkg_resources, which warns at every import
        import mdshare

    repository = mdshare.default_repository
    if catalogue is not None:
        repository = mdshare.load_repository(str(catalogue))
    known = repository.search(name)
    if not known:
        examples = ", ".join(repository.search("alanine-dipeptide*positions*")[:3])
        raise TrajectoryError(
            f"{PREFIX}{name}: no such file in the mdshare catalogue; try for example {examples}"
        )
    if all((folder / file).exists() for file in known):
        return [folder / file for file in known]
    folder.mkdir(parents=True, exist_ok=True)
    # downloaded aside and moved when complete: a killed download never passes for a file
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as aside:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                found = mdshare.fetch(
                    name, working_directory=aside, repository=repository, show_progress=False
                )
        except (OSError, mdshare.LoadError) as error:
            reason = getattr(error, "message", type(error).__name__)
            raise TrajectoryError(
                f"{PREFIX}{name}: could not be downloaded from {repository.url} "
                f"({reason}); without a network, make your own data with "
                "`openmm_plugin.simulate`"
            ) from error
        complete = [Path(file) for file in ([found] if isinstance(found, str) else found)]
        return [file.replace(folder / file.name) for file in complete]
