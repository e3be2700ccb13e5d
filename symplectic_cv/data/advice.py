"""The number of frames that a selection needs, and selections that need fewer."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mdtraj as md
import numpy as np

from symplectic_cv.data.bond_lengths import molecules_of
from symplectic_cv.data.frame_counts import count_frames
from symplectic_cv.data.mdtraj_files import suffix_of
from symplectic_cv.data.quiet import quiet_output
from symplectic_cv.data.split import VALIDATION_SHARE
from symplectic_cv.errors import FrameError
from symplectic_cv.molecule import Molecule

SAFE = 200
"""Frames per coordinate from which the default settings are safe."""
FEWEST_ATOMS = 3
SINGLE = (".rst7", ".ncrst", ".inpcrd", ".restrt", ".mol2")
"""Formats of one structure."""


def count_of_files(files: Sequence[str | Path]) -> int | None:
    """The number of frames in trajectory files, without reading them; None where it is unknown.

    Args:
        files: The files.
    """
    total = 0
    for file in map(Path, files):
        if not file.is_file():
            return None
        try:
            counted = count_frames(file)
            if counted is not None and counted.whole > 0 and not counted.missing:
                total += counted.whole
            elif suffix_of(file) in (".pdb", ".pdb.gz"):
                total += _count_models(file)
            elif suffix_of(file) in SINGLE:
                total += 1
            elif counted is None and suffix_of(file) in (".nc", ".h5"):
                with quiet_output(), md.open(str(file)) as handle:
                    total += len(handle)
            else:
                return None
        except (OSError, ValueError, KeyError, RuntimeError):  # reading it will tell
            return None
    return total


def _count_models(file: Path) -> int:
    """The number of models in a PDB file; 1 where it names none."""
    read = gzip.open if suffix_of(file).endswith(".gz") else open
    with read(file, "rb") as lines:
        return max(1, sum(line.startswith(b"MODEL ") for line in lines))


def require_enough_frames(n_frames: int, molecule: Molecule, training: int | None = None) -> None:
    """Raises FrameError where there are no more training frames than coordinates.

    Args:
        n_frames: The number of all frames.
        molecule: The modelled atoms.
        training: The number of frames that train; nine tenths of all where None.
    """
    dimension = 3 * molecule.n_atoms - 6
    learned = round((1.0 - VALIDATION_SHARE) * n_frames) if training is None else training
    if learned > dimension:
        return
    least = int(np.ceil((dimension + 1) / (1.0 - VALIDATION_SHARE)))
    ways = other_selections(molecule)
    fitting = _part_of_chain(molecule, learned)
    if fitting:
        ways = [*ways[:2], fitting]
    others = f", or choose fewer `atoms`: {'; '.join(ways)}" if ways else ", or fewer `atoms`"
    raise FrameError(
        f"{n_frames} frames ({learned} training frames) cannot determine {dimension} internal "
        f"coordinates of {molecule.n_atoms} atoms (3N - 6): give at least {least} frames, better "
        f"{SAFE * dimension} or more{others}"
    )


def _part_of_chain(molecule: Molecule, learned: int) -> str:
    """A selection of the Cα atoms of as many residues as so many training frames can carry."""
    residues = [
        atom.residue.index
        for atom in molecule.topology.atoms
        if atom.name == "CA" and atom.residue.is_protein
    ]
    count = min(len(residues), (learned + 5) // 3)
    if count < FEWEST_ATOMS + 1 or count == molecule.n_atoms:
        return ""
    return (
        f"'name CA and resid {residues[0]} to {residues[count - 1]}' ({3 * count - 6} coordinates)"
    )


def other_selections(molecule: Molecule) -> list[str]:
    """Selections of fewer of the modelled atoms, each with its number of coordinates."""
    topology = molecule.topology
    found: dict[str, int] = {}
    alike = repeated_molecule(topology)
    if alike is not None:
        found[f"resid {alike[1]}"] = alike[2]
    alphas = sum(atom.name == "CA" and atom.residue.is_protein for atom in topology.atoms)
    found["name CA"] = alphas
    for residue in topology.residues:
        if not (residue.is_protein or residue.is_nucleic or residue.is_water):
            found.setdefault(f"resname {residue.name}", residue.n_atoms)
    if topology.n_chains > 1:
        found["chainid 0"] = next(topology.chains).n_atoms
    backbone = sum(atom.name in ("N", "CA", "C") for atom in topology.atoms)
    found["name N CA C"] = backbone
    return [
        f"'{selection}' ({3 * count - 6} coordinates)"
        for selection, count in list(found.items())
        if FEWEST_ATOMS <= count < molecule.n_atoms
    ][:4]


def repeated_molecule(topology: md.Topology) -> tuple[int, int, int] | None:
    """A molecule of one residue that the modelled atoms hold several times.

    Returns:
        The number of copies, the index of the residue of the first, and its number of atoms; None
        where no molecule occurs twice.
    """
    labels = molecules_of(topology)
    residues = [
        residue
        for residue in topology.residues
        if residue.n_atoms and len({labels[atom.index] for atom in residue.atoms}) == 1
    ]
    alone = Counter(labels[next(residue.atoms).index] for residue in residues)
    single = [residue for residue in residues if alone[labels[next(residue.atoms).index]] == 1]
    kinds = Counter((residue.name, residue.n_atoms) for residue in single)
    if not kinds:
        return None
    (name, n_atoms), copies = kinds.most_common(1)[0]
    if copies < 2:
        return None
    first = next(residue for residue in single if residue.name == name)
    return copies, int(first.index), int(n_atoms)
