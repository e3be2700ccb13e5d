"""Unbiased samples of a molecule through a model, with energies by OpenMM."""

from __future__ import annotations

from pathlib import Path

import openmm

from openmm_plugin.energies.hamiltonian import MolecularHamiltonian
from openmm_plugin.modelled_atoms import require_order
from openmm_plugin.molecules import Topology, as_molecule
from openmm_plugin.systems import MolecularSystem, read_system
from symplectic_cv.checks import choose
from symplectic_cv.errors import HamiltonianError
from symplectic_cv.hamiltonians.of_model import (
    hamiltonian_record,
    require_molecule,
    with_floor_of,
)
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.sampling.chains import Progress, SamplingOptions, default_chains
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.sample import Samples, sample_reduced


def sample(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    system: MolecularSystem | openmm.System | str | Path,
    n: int = 10_000,
    method: Method | str = Method.INDEPENDENCE,
    *,
    topology: Topology | None = None,
    chains: int | None = None,
    thin: int = 1,
    warmup: int = 200,
    seed: int = 0,
    platform: str | None = None,
    workers: int = 1,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Samples:
    """Unbiased samples of the Boltzmann distribution of a molecule; exact for any model of it.

    Args:
        model: A model of all atoms of the molecule, or its folder.
        system: An `openmm.System` without constraints, the path of its system.xml, or a
            `MolecularSystem`.
        n: The number of samples; of proposals for "importance" and "rejection".
        method: "independence", "pcn", "hmc", "hybrid", "importance" or "rejection".
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            topology.pdb beside a system.xml where None.
        chains: The number of chains at once; 32 where None, or fewer for less than 128 samples.
        thin: The number of steps of a chain per sample.
        warmup: The number of steps of each chain before samples count; step sizes adapt then.
        seed: The seed that makes the samples repeatable.
        platform: The OpenMM platform; the fastest for this size where None.
        workers: The number of OpenMM Contexts that compute energies at once.
        folder: Where the run keeps its checkpoint; `Samples.save` with the same folder ends the
            run. Nothing is written where None.
        resume: Whether to go on with the run that the folder holds.
        progress: Called with the number of samples made since the last call.

    Returns:
        The samples, with `positions`, `log_likelihood`, `energy`, `weights`, `summary` and
        `save(folder)`.

    Raises:
        OptionError: Options that make no sense, or a model of an analytic Hamiltonian.
        HamiltonianError: A system that is not the model's, or has constraints or a box.
        SamplingError: No sample has any weight, or no proposal is ever accepted.
        SamplingComplete: The folder holds a complete run.
        OutputError: The folder holds another run, or a damaged checkpoint.

    Example::

        samples = openmm_plugin.sample("model", "md/system.xml", 2000)
        samples.save("samples")
    """
    chains = default_chains(n) if chains is None else chains
    options = SamplingOptions(n, choose(Method, method, "method"), chains, thin, warmup, seed)
    network = require_molecule(model)
    molecule = _molecule(system, topology, network)
    reduced = _reduced(model, network, molecule, _name(system), platform, workers)
    digest = molecule.source.get("system_sha256")
    return sample_reduced(model, reduced, options, digest, folder, resume, progress)


def molecular_hamiltonian(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
    platform: str | None = None,
    workers: int = 1,
) -> ReducedHamiltonian:
    """The molecule at the temperature of a model, in the coordinates of the model.

    Args:
        model: A model of all atoms of the molecule, or its folder.
        system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem`.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            topology.pdb beside a system.xml where None.
        platform: The OpenMM platform; the fastest for this size where None.
        workers: The number of OpenMM Contexts that compute energies at once.

    Raises:
        OptionError: A model of an analytic Hamiltonian.
        HamiltonianError: A system that is not the model's, or has constraints or a box.
    """
    network = require_molecule(model)
    molecule = _molecule(system, topology, network)
    return _reduced(model, network, molecule, _name(system), platform, workers)


def hamiltonian_in_frame(
    model: NeuralCanonicalTransformation,
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
) -> tuple[str, MolecularHamiltonian]:
    """Another system of the same atoms in the frame of a model, and what messages call it.

    Args:
        model: The model.
        system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem`.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            topology.pdb beside a system.xml where None.

    Raises:
        HamiltonianError: A system of other atoms, or with constraints or a box.
    """
    name = _name(system)
    molecule = _molecule(system, topology, model)
    require_order(model, molecule, name)
    return name, MolecularHamiltonian(molecule, model.temperature, name, None, model.frame)


def _molecule(
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None,
    network: NeuralCanonicalTransformation,
) -> MolecularSystem:
    """The molecule of a system; where no file gives a structure it is the model's reference."""
    if isinstance(system, MolecularSystem) or topology is None or isinstance(topology, (str, Path)):
        return as_molecule(system, topology)
    system = system if isinstance(system, openmm.System) else read_system(Path(system))
    if system.getNumParticles() != network.molecule.n_atoms:
        raise HamiltonianError(
            f"the model has {network.molecule.n_atoms} atoms and the system "
            f"{system.getNumParticles()}: train on all atoms of the system (`atoms='all'`)"
        )
    return as_molecule(system, topology, network.frame.reference.cpu().numpy())


def _reduced(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    network: NeuralCanonicalTransformation,
    molecule: MolecularSystem,
    name: str,
    platform: str | None,
    workers: int,
) -> ReducedHamiltonian:
    require_order(network, molecule, name)
    hamiltonian = MolecularHamiltonian(
        molecule, network.temperature, name, platform, network.frame, workers
    )
    return with_floor_of(network, hamiltonian, hamiltonian_record(model))


def _name(system: MolecularSystem | openmm.System | str | Path) -> str:
    """The name of a system in messages."""
    return "molecule" if isinstance(system, (openmm.System, MolecularSystem)) else str(system)
