"""The modelled atoms in a system: found and checked before a force is made for them."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any, TypeVar

import mdtraj as md
import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.systems import MolecularSystem
from symplectic_cv.data.identity import match_atoms, unlike_bonds
from symplectic_cv.data.periodic import Links, make_whole, spanning_links
from symplectic_cv.errors import DataWarning, HamiltonianError, SelectionError
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.models.training_range import LIMIT
from symplectic_cv.molecule import Molecule

Modes = TypeVar("Modes", bound=NeuralCanonicalTransformation | TorsionModel)


def placed_in(model: Modes, topology: app.Topology, name: str = "the system's topology") -> Modes:
    """A model whose atoms are found in the topology of a system.

    Args:
        model: The model; it is not changed.
        topology: The topology of the system.
        name: The name of the topology, for messages.

    Raises:
        SelectionError: The system lacks atoms of the model, or they cannot be told apart.

    Warns:
        DataWarning: Order or names differ, and what was done.
    """
    match = match_atoms(model.molecule, md.Topology.from_openmm(topology), name)
    if match.note:
        warnings.warn(match.note, DataWarning, stacklevel=2)
    if np.array_equal(match.places, model.molecule.indices):
        return model
    molecule = replace(model.molecule, indices=match.places, n_system_atoms=topology.getNumAtoms())
    if isinstance(model, TorsionModel):
        return replace(model, molecule=molecule)
    placed = copy.copy(model)
    placed.molecule = molecule
    return placed


def require_order(
    model: NeuralCanonicalTransformation, molecule: MolecularSystem, name: str
) -> None:
    """Raises HamiltonianError unless a system has the atoms of a model, in the same order.

    Args:
        model: A model of all atoms of the system.
        molecule: The system with its topology.
        name: The name of the system, for messages.
    """
    topology = md.Topology.from_openmm(molecule.topology)
    if topology.n_atoms != model.molecule.n_atoms:
        return  # the frame says what is wrong
    try:
        match = match_atoms(model.molecule, topology, name)
    except SelectionError as error:
        raise HamiltonianError(str(error)) from error
    if not np.array_equal(match.places, np.arange(topology.n_atoms)):
        raise HamiltonianError(
            f"{match.note}: give the system of the model's training data, with its topology"
        )


def whole_atoms(
    molecule: Molecule,
    positions: np.ndarray,
    box: np.ndarray | None,
    links: Links | None = None,
) -> tuple[np.ndarray, Links]:
    """The modelled atoms of one frame of a system, whole.

    Args:
        molecule: The modelled atoms.
        positions: Positions of all atoms, shape (n_atoms, 3), in nm.
        box: Box vectors, shape (3, 3), in nm, or None.
        links: The links along which they are made whole; those of this frame where None.

    Returns:
        Positions of the modelled atoms, shape (N, 3), in nm, and the links.
    """
    x = np.asarray(positions, dtype=np.float64)[molecule.indices]
    if links is None:
        links = spanning_links(x, box, molecule.bonds)
    return make_whole(x[None], None if box is None else box[None], links)[0], links


def check_known(
    model: NeuralCanonicalTransformation | TorsionModel, molecule: MolecularSystem
) -> None:
    """Checks that a model knows the structure from which a run starts.

    Args:
        model: The model, with the places of its atoms in the system.
        molecule: The system with its structure.

    Raises:
        SelectionError: The structure is a mirror image of the molecule that the model knows.

    Warns:
        DataWarning: The structure lies far outside of what the model was trained on.
    """
    positions = np.array(molecule.positions.value_in_unit(unit.nanometer))
    box = None
    if molecule.system.usesPeriodicBoundaryConditions():
        vectors = molecule.system.getDefaultPeriodicBoxVectors()
        box = np.array(unit.Quantity(vectors).value_in_unit(unit.nanometer))
    whole, _ = whole_atoms(model.molecule, positions, box)
    model.require_handedness(whole, "the starting structure")
    if model.training_range is None:
        return
    found = float(model.extrapolation(whole)[0])
    if found > LIMIT:
        warnings.warn(
            f"the starting structure lies far outside of what the model was trained on "
            f"({found:.1f} times as far as its farthest training frames): the modes are a guess "
            "there; train with such frames too, or start elsewhere",
            DataWarning,
            stacklevel=2,
        )


def check_atoms(molecule: dict[str, Any], system: openmm.System) -> None:
    """Raises SelectionError where the system does not hold the modelled atoms.

    Heavy atoms may be lighter by repartitioned hydrogen mass; another mass, or an atom that is
    bonded otherwise, is taken for another molecule.
    """
    n = system.getNumParticles()
    for atom in molecule["atoms"]:
        index, name = atom["system_index"], _label(atom)
        if index >= n:
            raise SelectionError(
                f"the model's atom {name} is atom {index + 1}, but the system has only {n} atoms: "
                "is this the system that the model was trained on?"
            )
        mass = system.getParticleMass(index).value_in_unit(unit.dalton)
        light = atom["element"] == "H"
        fits = 0.9 < mass < 4.5 if light else -10.0 < mass - atom["mass_da"] < 0.5
        if not fits:
            raise SelectionError(
                f"the model's atom {name} (atom {index + 1}) has {atom['mass_da']:.3f} Da, the "
                f"system's atom {index + 1} has {mass:.3f} Da: the system is not the one that the "
                "model was trained on, or its atoms are in another order"
            )
    _check_bonds(molecule, system)


def _check_bonds(molecule: dict[str, Any], system: openmm.System) -> None:
    number = {atom["system_index"]: k for k, atom in enumerate(molecule["atoms"])}
    pairs = [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            pairs += [force.getBondParameters(k)[:2] for k in range(force.getNumBonds())]
    theirs = {frozenset((number[i], number[j])) for i, j in pairs if i in number and j in number}
    ours = {frozenset(bond) for bond in molecule.get("bonds", ())}
    wrong = unlike_bonds(ours, theirs)
    if wrong is not None:
        atom, other, partner = (_label(molecule["atoms"][k]) for k in wrong)
        raise SelectionError(
            f"the model's atom {atom} is bonded to {other} in the system, in the model to "
            f"{partner}: the system's atoms are in another order, or it is another molecule"
        )


def _label(atom: dict[str, Any]) -> str:
    return f"{atom['residue']}{atom['residue_number']}-{atom['name']}"
