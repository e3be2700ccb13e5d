"""The Hamiltonian that a model was trained on, in the variables of the model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from symplectic_cv.errors import ModelError, OptionError
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.library import BUILT_IN, find_hamiltonian
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import open_model, read_config
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.torsion_model import TorsionModel


def analytic_hamiltonian(
    model: PhaseSpaceModel | str | Path,
    hamiltonian: Hamiltonian | ReducedHamiltonian | str | None = None,
    beta: float = 1.0,
) -> ReducedHamiltonian:
    """The analytic Hamiltonian of a model, at its temperature.

    A Python file that the folder of a model names is never run: the caller names it.

    Args:
        model: A model, or its folder.
        hamiltonian: The Hamiltonian, or its name: built in, or FILE.py:CLASS, at the temperature
            of the model's folder. The built-in one that the folder names where None.
        beta: The inverse temperature, for a `Hamiltonian`.

    Raises:
        OptionError: The model is of a molecule.
        ModelError: The Hamiltonian is not given, and no folder names a built-in one; or it has
            another number of coordinates than the model.
    """
    if isinstance(hamiltonian, ReducedHamiltonian):
        return hamiltonian
    if isinstance(hamiltonian, Hamiltonian):
        return ReducedHamiltonian(hamiltonian, beta)
    if isinstance(open_model(model), NeuralCanonicalTransformation):
        raise OptionError(f"{_name(model)}: is a model of a molecule: name its `system` system.xml")
    known = hamiltonian_record(model)
    if "system" not in known:
        raise ModelError(f"{_name(model)}: does not say which Hamiltonian it was learned from")
    named = known["system"] if hamiltonian is None else hamiltonian
    if hamiltonian is None and named not in BUILT_IN:
        raise ModelError(
            f"{_name(model)}: was learned from {named!r}, which is not built in; files that a "
            "model names are never run: name the `hamiltonian` FILE.py:CLASS yourself"
        )
    size = known.get("size") if named == known["system"] else None
    reduced = ReducedHamiltonian(
        find_hamiltonian(named, size), float(known["beta"]), floor=_floor(known)
    )
    require_same_dimension(open_model(model), reduced)
    return reduced


def with_floor_of(
    model: NeuralCanonicalTransformation, hamiltonian: Hamiltonian, record: dict[str, Any]
) -> ReducedHamiltonian:
    """The Hamiltonian of a molecule at the temperature of a model, with its energy cap.

    Args:
        model: The model.
        hamiltonian: The molecule in the frame of the model, with energies in kT.
        record: The record of the Hamiltonian in the model's folder; see `hamiltonian_record`.
    """
    reduced = ReducedHamiltonian(hamiltonian, floor=_floor(record))
    if reduced.floor > -math.inf:
        return reduced
    # a model of a trajectory has no record; the cap counts from its most likely structure
    latent = torch.zeros(1, model.dimension, dtype=model.dtype)
    with torch.no_grad():
        centre = reduced.configuration(model.flow.inverse(latent)[0].double())
    return replace(reduced, floor=float(centre))


def compared_hamiltonians(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    to: str | None = None,
    to_beta: float | None = None,
) -> dict[str, ReducedHamiltonian]:
    """Other analytic Hamiltonians in the variables of a model, by name.

    Args:
        model: The model.
        reduced: The model's own Hamiltonian.
        to: Another Hamiltonian by name, or as FILE.py:CLASS; none where None.
        to_beta: Another inverse temperature; none where None.

    Raises:
        OptionError: The other Hamiltonian is unknown, or has another number of coordinates.
    """
    others: dict[str, ReducedHamiltonian] = {}
    if to is not None:
        size = reduced.dimension if to == "harmonic-chain" else None
        others[to] = in_variables_of(model, reduced, find_hamiltonian(to, size), reduced.beta)
    if to_beta is not None:
        name = f"β = {to_beta:g}"
        others[name] = in_variables_of(model, reduced, reduced.hamiltonian, to_beta)
    return others


def in_variables_of(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, hamiltonian: Hamiltonian, beta: float
) -> ReducedHamiltonian:
    """Another Hamiltonian or temperature in the variables and with the energy cap of a model.

    Args:
        model: The model.
        reduced: The model's own Hamiltonian.
        hamiltonian: The other Hamiltonian.
        beta: The other inverse temperature.

    Raises:
        OptionError: The Hamiltonian has another number of coordinates.
    """
    other = ReducedHamiltonian(hamiltonian, beta, reduced.scale, reduced.floor)
    require_same_dimension(model, other)
    return other


def require_same_dimension(model: PhaseSpaceModel, reduced: ReducedHamiltonian) -> None:
    """Raises OptionError where a Hamiltonian has another number of coordinates than a model."""
    if reduced.dimension != model.dimension:
        raise OptionError(
            f"{reduced.hamiltonian.name} has {reduced.dimension} coordinates, the model "
            f"{model.dimension}: they are not of the same system"
        )


def require_molecule(
    model: PhaseSpaceModel | TorsionModel | str | Path,
) -> NeuralCanonicalTransformation:
    """The model of a molecule; of torsion modes their density.

    Raises:
        OptionError: The model is of an analytic Hamiltonian.
    """
    network = open_model(model)
    if not isinstance(network, NeuralCanonicalTransformation):
        known = hamiltonian_record(model).get("system", "an analytic Hamiltonian")
        raise OptionError(
            f"{_name(model)}: is a model of {known}, not of a molecule: `system`, `to_system` and "
            "`to_temperature` are for molecules; here `to` and `to_beta`"
        )
    return network


def hamiltonian_record(model: PhaseSpaceModel | TorsionModel | str | Path) -> dict[str, Any]:
    """The description of the Hamiltonian in a model folder; empty for a model object."""
    if not isinstance(model, (str, Path)):
        return {}
    return read_config(Path(model)).get("hamiltonian", {})


def _floor(record: dict[str, Any]) -> float:
    return float(record.get("energy_floor_nats", -math.inf))


def _name(model: PhaseSpaceModel | TorsionModel | str | Path) -> str:
    return str(model) if isinstance(model, (str, Path)) else "this model"
