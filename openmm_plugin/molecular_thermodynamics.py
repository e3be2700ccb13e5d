"""Thermodynamics of the model of a molecule, with energies by OpenMM."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import openmm

from openmm_plugin.molecules import Topology
from openmm_plugin.sampling import hamiltonian_in_frame, molecular_hamiltonian
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.analysis.thermodynamics import (
    Progress,
    ThermodynamicsResult,
    thermodynamics_of,
)
from symplectic_cv.errors import OptionError
from symplectic_cv.hamiltonians.of_model import in_variables_of, require_molecule
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation


def thermodynamics(
    model: NeuralCanonicalTransformation | str | Path,
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
    *,
    to_system: MolecularSystem | openmm.System | str | Path | None = None,
    to_temperature: float | None = None,
    samples: int | None = None,
    observable: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ThermodynamicsResult:
    """Free energy, entropy, energy and spectrum of the model of a molecule.

    Args:
        model: A model of all atoms of the molecule, or its folder.
        system: An `openmm.System` without constraints, the path of its system.xml, or a
            `MolecularSystem`.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            topology.pdb beside a system.xml where None.
        to_system: Another system of the same atoms, to which the free-energy difference is
            computed too.
        to_temperature: Another temperature in K, to which the difference is computed too.
        samples: The number of samples of each estimate; 20,000 where None.
        observable: Observables for the power spectrum, one coefficient per coordinate q, shape (n,)
            or (m, n), or three per atom, shape (n_atoms, 3) or (m, n_atoms, 3). Every q where
            None; a model in internal coordinates then has no spectrum.
        seed: The seed of the samples.
        progress: Called with the stage, the samples made since the last call, and those in all.

    Raises:
        OptionError: An option makes no sense, or the model is one of an analytic Hamiltonian.
        HamiltonianError: A system that is not the model's, or has constraints or a box.

    Example::

        found = openmm_plugin.thermodynamics("internal", "flexible/system.xml")
        found.estimate.free_energy_bound, found.estimate.standard_error  # nats
    """
    network = require_molecule(model)
    reduced = molecular_hamiltonian(model, system, topology)
    others: dict[str, ReducedHamiltonian] = {}
    if to_system is not None:
        same = isinstance(to_system, (str, Path)) and to_system == system
        name, other = hamiltonian_in_frame(network, to_system, topology if same else None)
        others[name] = in_variables_of(network, reduced, other, 1.0)
    if to_temperature is not None:
        if not 0.0 < to_temperature < math.inf:
            raise OptionError(f"`to_temperature` must be positive, in K; got {to_temperature}")
        beta = network.temperature / to_temperature
        others[f"{to_temperature:g} K"] = in_variables_of(
            network, reduced, reduced.hamiltonian, beta
        )
    return thermodynamics_of(network, reduced, others, samples, observable, seed, progress)
