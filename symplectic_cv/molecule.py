"""The atoms that a model describes: their names, masses and places in the whole system."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mdtraj as md
import numpy as np

from symplectic_cv.errors import ModelError, SelectionError

NO_ATOMS = ("H", "VS")
"""Elements that the default selection leaves out."""
BEAD = "BB"
"""The name of the backbone beads of Martini, of which MDTraj makes boron."""
SOLUTE_HEAVY_ATOMS = "heavy atoms of the solute"
"""The default selection: no hydrogens, virtual sites, water or single-atom residues (ions)."""


@dataclass(frozen=True)
class Molecule:
    """The modelled atoms.

    Attributes:
        topology: The MDTraj topology of the modelled atoms alone.
        masses: The masses of the atoms, shape (N,), in Da.
        indices: The indices of these atoms among all atoms of the simulated system, shape (N,).
        n_system_atoms: The number of atoms in the files that the model was trained on.
        hydrogens: How many hydrogens each atom is bonded to in the whole system, modelled or not,
            shape (N,); those among the modelled atoms are counted where it is left out.
    """

    topology: md.Topology
    masses: np.ndarray = field(repr=False)
    indices: np.ndarray = field(repr=False)
    n_system_atoms: int
    hydrogens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    def __post_init__(self) -> None:
        if len(self.hydrogens) == 0:
            object.__setattr__(self, "hydrogens", bonded_hydrogens(self.topology))

    @property
    def n_atoms(self) -> int:
        return len(self.masses)

    @property
    def bonds(self) -> list[tuple[int, int]]:
        """Pairs of modelled atoms that are bonded."""
        return [(bond.atom1.index, bond.atom2.index) for bond in self.topology.bonds]

    def atom_label(self, index: int) -> str:
        """Atom `index` of the model as a user would name it: `ALA2-CA (atom 9)`."""
        return f"{self.topology.atom(index)} (atom {int(self.indices[index]) + 1})"

    def to_json(self) -> dict[str, Any]:
        atoms = [
            {
                "name": atom.name,
                "element": atom.element.symbol,
                "residue": atom.residue.name,
                "residue_number": atom.residue.resSeq,
                "residue_index": atom.residue.index,
                "chain": atom.residue.chain.index,
                "mass_da": float(mass),
                "system_index": int(index),
                "hydrogens": int(hydrogens),
            }
            for atom, mass, index, hydrogens in zip(
                self.topology.atoms, self.masses, self.indices, self.hydrogens, strict=True
            )
        ]
        bonds = [list(bond) for bond in self.bonds]
        return {"n_system_atoms": self.n_system_atoms, "atoms": atoms, "bonds": bonds}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Molecule:
        """Raises ModelError where the description is incomplete."""
        try:
            topology = md.Topology()
            chains: dict[int, Any] = {}
            residues: dict[int, Any] = {}
            for atom in data["atoms"]:
                if atom["chain"] not in chains:
                    chains[atom["chain"]] = topology.add_chain()
                if atom["residue_index"] not in residues:
                    residues[atom["residue_index"]] = topology.add_residue(
                        atom["residue"], chains[atom["chain"]], resSeq=atom["residue_number"]
                    )
                topology.add_atom(
                    atom["name"],
                    md.element.get_by_symbol(atom["element"]),
                    residues[atom["residue_index"]],
                )
            for first, second in data["bonds"]:
                topology.add_bond(topology.atom(first), topology.atom(second))
            # models of earlier versions do not know the hydrogens outside of their atoms
            known = all("hydrogens" in atom for atom in data["atoms"])
            return cls(
                topology=topology,
                hydrogens=(
                    np.array([atom["hydrogens"] for atom in data["atoms"]], dtype=np.int64)
                    if known
                    else bonded_hydrogens(topology)
                ),
                masses=np.array([atom["mass_da"] for atom in data["atoms"]], dtype=np.float64),
                indices=np.array([atom["system_index"] for atom in data["atoms"]], dtype=np.int64),
                n_system_atoms=int(data["n_system_atoms"]),
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ModelError(f"the molecule in config.json is incomplete: {error!r}") from error


def bonded_hydrogens(topology: md.Topology) -> np.ndarray:
    """The number of hydrogens that each atom of a topology is bonded to, shape (n_atoms,).

    Args:
        topology: The topology, with its bonds.
    """
    counts = np.zeros(topology.n_atoms, dtype=np.int64)
    for bond in topology.bonds:
        for one, other in ((bond.atom1, bond.atom2), (bond.atom2, bond.atom1)):
            if other.element is not None and other.element.symbol == "H":
                counts[one.index] += 1
    return counts


def bonded_neighbours(n_atoms: int, bonds: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The neighbours of each atom, in the order of the bonds.

    Args:
        n_atoms: The number of atoms.
        bonds: The pairs of bonded atoms, as places from 0.

    Example:
        >>> bonded_neighbours(4, [(0, 1), (1, 2)])
        [[1], [0, 2], [1], []]
    """
    neighbours: list[list[int]] = [[] for _ in range(n_atoms)]
    for i, j in bonds:
        neighbours[i].append(j)
        neighbours[j].append(i)
    return neighbours


def select_atoms(
    topology: md.Topology,
    selection: str | Sequence[int] | None = None,
    masses: float | Sequence[float] | np.ndarray | None = None,
) -> Molecule:
    """The molecule that a selection names.

    Args:
        topology: The topology of the whole system.
        selection: The modelled atoms, in MDTraj's selection language or as indices from 0; the
            heavy atoms of the solute where None.
        masses: The masses in Da: one for all, or one for each atom of the topology; those of the
            elements where None.

    Raises:
        SelectionError: The selection cannot be read or holds fewer than 3 atoms, or an atom has
            no mass.
    """
    if selection is None:
        name = SOLUTE_HEAVY_ATOMS
        chosen = [
            atom.index
            for atom in topology.atoms
            if (masses is not None if atom.element is None else atom.element.symbol not in NO_ATOMS)
            and not atom.residue.is_water
            and atom.residue.n_atoms > 1
        ]
        indices = np.array(chosen, dtype=np.int64)
    elif isinstance(selection, str):
        name = repr(selection)
        try:
            indices = np.asarray(topology.select(selection), dtype=np.int64)
        except Exception as error:  # MDTraj raises whatever its parser met
            raise SelectionError(
                f"`atoms` {selection!r} is not an MDTraj selection ({error}); "
                "an example: 'protein and element != H'"
            ) from error
    else:
        indices = _listed(selection, topology.n_atoms)
        name = f"{len(indices)} listed atoms"
    if len(indices) < 3:
        raise SelectionError(
            f"the selection ({name}) has {len(indices)} atoms, a molecular frame needs at "
            "least 3: choose more `atoms`"
        )
    known = _masses_of(topology, indices) if masses is None else _given(masses, topology)[indices]
    lost = np.flatnonzero(~(np.isfinite(known) & (known > 0.0)))
    if len(lost):
        index = int(indices[lost[0]])
        raise SelectionError(
            f"atom {index + 1} ({topology.atom(index)}) has no mass (element unknown or virtual): "
            "leave it out of `atoms`, or give `masses`"
        )
    subset = topology.subset(indices)
    for atom in subset.atoms:
        if atom.element is None:
            atom.element = md.element.virtual
    return Molecule(
        topology=subset,
        masses=known,
        indices=indices,
        n_system_atoms=topology.n_atoms,
        hydrogens=bonded_hydrogens(topology)[indices],
    )


def _masses_of(topology: md.Topology, indices: np.ndarray) -> np.ndarray:
    """The masses of the elements of atoms, shape (N,), in Da; 0 where an element is unknown."""
    atoms = [topology.atom(int(index)) for index in indices]
    bead = next((atom for atom in atoms if atom.name == BEAD and atom.residue.is_protein), None)
    if bead is not None:
        raise SelectionError(
            f"atom {bead.index + 1} ({bead}) is a bead of a coarse-grained model such as Martini, "
            "which has no element: give `masses`, for example 72 (Da) for all"
        )
    return np.array(
        [0.0 if atom.element is None else atom.element.mass for atom in atoms], dtype=np.float64
    )


def _given(masses: float | Sequence[float] | np.ndarray, topology: md.Topology) -> np.ndarray:
    """The masses of all atoms of a topology that a user gave, shape (n_atoms,), in Da."""
    try:
        values = np.asarray(masses, dtype=np.float64)
    except (TypeError, ValueError):
        raise SelectionError("`masses` must be numbers in Da") from None
    if values.ndim == 0:
        return np.full(topology.n_atoms, float(values))
    if values.shape != (topology.n_atoms,):
        raise SelectionError(
            f"`masses` has shape {values.shape}; give one number in Da, or one for each of the "
            f"{topology.n_atoms} atoms of the topology"
        )
    return values


def _listed(indices: Sequence[int], n_atoms: int) -> np.ndarray:
    """Sorted atom indices; raises SelectionError for one that is no index or named twice."""
    given = np.asarray(indices)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise SelectionError("`atoms` must be a selection or a list of atom indices from 0")
    chosen = np.unique(given).astype(np.int64)
    if len(chosen) != given.size:
        raise SelectionError("`atoms` names an atom twice")
    if chosen.size and not 0 <= chosen[0] <= chosen[-1] < n_atoms:
        raise SelectionError(
            f"`atoms` names atoms {chosen[0]} to {chosen[-1]}; there are 0 to {n_atoms - 1}"
        )
    return chosen
