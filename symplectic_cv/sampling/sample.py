"""Unbiased samples of a Hamiltonian through a model: a run, its files and its result."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symplectic_cv.checks import choose
from symplectic_cv.errors import ModelError, OutputError, UserError
from symplectic_cv.files.run_folder import RUN, make_folder, start_run
from symplectic_cv.files.trajectories import TrajectoryFormat
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.of_model import analytic_hamiltonian
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import open_model, read_config, weights_of
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.sampling.chains import (
    Progress,
    SampledChains,
    SamplingOptions,
    default_chains,
    sample_target,
)
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.results import (
    SUMMARY,
    coordinates,
    energy_scale,
    sampling_summary,
    weights,
    write_samples,
    write_summary,
)
from symplectic_cv.sampling.target import LatentTarget

CHECKPOINT = "checkpoint"


class SamplingComplete(OutputError):
    """A sampling that cannot be resumed because it is complete."""


@dataclass(frozen=True)
class Samples:
    """Samples of a Hamiltonian, and the numbers by which they are judged.

    All chains make the same number of steps. Where the number of samples is no multiple of the
    chains, the last step of some chains is left out.

    Attributes:
        target: The density that was sampled.
        chains: The samples as the chains made them.
        options: How they were drawn.
        summary: Acceptance, effective sizes, autocorrelation, R̂ and mean energy, as in
            summary.json.
    """

    target: LatentTarget = field(repr=False)
    chains: SampledChains = field(repr=False)
    options: SamplingOptions
    summary: dict[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return min(self.options.samples, self.chains.energy.size)

    @property
    def coordinates(self) -> np.ndarray:
        """q in the Hamiltonian's own units, shape (n, dimension)."""
        return coordinates(self.target, self.chains)[: len(self)]

    @property
    def positions(self) -> np.ndarray:
        """Structures in the frame of the model, shape (n, n_atoms, 3), in nm.

        Raises:
            ModelError: A model of an analytic Hamiltonian; see `coordinates`.
        """
        model = self.target.model
        if not isinstance(model, NeuralCanonicalTransformation):
            raise ModelError("an analytic Hamiltonian has no atoms; its samples are `coordinates`")
        return model.frame.positions(torch.from_numpy(self.coordinates)).numpy()

    @property
    def log_likelihood(self) -> np.ndarray:
        """ln ρ of the model, shape (n,), in nats."""
        return self.chains.log_likelihood.reshape(-1)[: len(self)]

    @property
    def energy(self) -> np.ndarray:
        """Energies, shape (n,): kJ/mol for a molecule, else the Hamiltonian's own unit."""
        return energy_scale(self.target)[0] * self.chains.energy.reshape(-1)[: len(self)]

    @property
    def weights(self) -> np.ndarray:
        """The weights of the samples in averages, shape (n,), 1 on average."""
        return weights(self.chains, self.options.method)[: len(self)]

    def save(self, folder: str | Path, kind: TrajectoryFormat | str = TrajectoryFormat.DCD) -> None:
        """Writes the samples, samples.csv and, last, summary.json; removes the checkpoint.

        The samples of a molecule are samples.dcd with topology.pdb, those of an analytic
        Hamiltonian samples.npz. The columns of samples.csv are chain, step, log_likelihood in
        nats, energy, weight and log_weight.

        Args:
            folder: The folder to write into; it is made where missing.
            kind: The format of the structures of a molecule: "dcd", which keeps single precision,
                or "xtc", which rounds to 0.001 nm and so changes energies by kJ/mol.
        """
        folder = Path(folder)
        chosen = choose(TrajectoryFormat, kind, "kind")
        make_folder(folder)
        write_samples(folder, self.target, self.chains, self.options, chosen)
        write_summary(folder, self.summary)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def is_complete(folder: str | Path) -> bool:
    """Whether a folder holds a sampling that `Samples.save` has ended."""
    return (Path(folder) / SUMMARY).is_file()


def sample_hamiltonian(
    model: PhaseSpaceModel | str | Path,
    n: int = 10_000,
    hamiltonian: Hamiltonian | ReducedHamiltonian | str | None = None,
    method: Method | str = Method.INDEPENDENCE,
    *,
    chains: int | None = None,
    thin: int = 1,
    warmup: int = 200,
    seed: int = 0,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Samples:
    """Unbiased samples of an analytic Hamiltonian through a model; exact for any model.

    `openmm_plugin.sample` does the same for a molecule.

    Args:
        model: A model, or its folder.
        n: The number of samples; of proposals for "importance" and "rejection".
        hamiltonian: The Hamiltonian, or its name (built in, or FILE.py:CLASS); the built-in one
            that the model's folder names where None.
        method: "independence", "pcn", "hmc", "hybrid", "importance" or "rejection".
        chains: The number of chains at once; 32 where None, or fewer for less than 128 samples.
        thin: The number of steps of a chain per sample.
        warmup: The number of steps of each chain before samples count; step sizes adapt then.
        seed: The seed that makes the samples repeatable.
        folder: Where the run keeps its checkpoint; `Samples.save` with the same folder ends the
            run. Nothing is written where None.
        resume: Whether to go on with the run that the folder holds.
        progress: Called with the number of samples made since the last call.

    Raises:
        OptionError: Options that make no sense, or a model of a molecule.
        SamplingError: No sample has any weight, or no proposal is ever accepted.
        SamplingComplete: The folder holds a complete run.
        OutputError: The folder holds another run, or a damaged checkpoint.

    Example::

        samples = sc.sample_hamiltonian("ringworld", 2000)
        samples.coordinates.mean(0)
    """
    chains = default_chains(n) if chains is None else chains
    options = SamplingOptions(n, choose(Method, method, "method"), chains, thin, warmup, seed)
    reduced = analytic_hamiltonian(model, hamiltonian)
    return sample_reduced(model, reduced, options, None, folder, resume, progress)


def sample_reduced(
    model: PhaseSpaceModel | TorsionModel | str | Path,
    reduced: ReducedHamiltonian,
    options: SamplingOptions,
    system_sha256: str | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Samples:
    """Samples of a Hamiltonian in the variables of a model, in a folder of their own.

    Args:
        model: A model, or its folder.
        reduced: The Hamiltonian at its temperature.
        options: How to sample.
        system_sha256: The digest of a molecule's system.xml, which a resumed run must share.
        folder: Where the run keeps its checkpoint; nothing is written where None.
        resume: Whether to go on with the run that the folder holds.
        progress: Called with the number of samples made since the last call.

    Raises:
        UserError: As for `sample_hamiltonian`.
    """
    network = open_model(model)
    target = LatentTarget(network, reduced)
    checkpoint = None
    if folder is not None:
        folder = Path(folder)
        start_run(folder, _settings(model, options, system_sha256), resume)
        if is_complete(folder):
            raise SamplingComplete(f"{folder}: this sampling is complete; read its samples.csv")
        checkpoint = folder / CHECKPOINT
    begin = time.perf_counter()
    try:
        found = sample_target(target, options, checkpoint, progress)
    except OutputError:
        raise  # a damaged checkpoint is the user's to look at
    except UserError:
        if folder is not None and checkpoint is not None:
            # nothing half-written stays behind a run that cannot work
            shutil.rmtree(checkpoint, ignore_errors=True)
            (folder / RUN).unlink(missing_ok=True)
            folder.rmdir()
        raise
    seconds = time.perf_counter() - begin
    summary = sampling_summary(target, found, options) | {"seconds": seconds}
    return Samples(target, found, options, summary)


def _settings(
    model: PhaseSpaceModel | TorsionModel | str | Path,
    options: SamplingOptions,
    system_sha256: str | None,
) -> dict[str, Any]:
    """The settings that a run and its resumption must share."""
    if isinstance(model, (str, Path)):
        digest = read_config(Path(model))["weights_sha256"]
    else:
        digest = hashlib.sha256(weights_of(open_model(model))).hexdigest()
    return {
        "command": "sample",
        "model_sha256": digest,
        "system_sha256": system_sha256,
        "samples": options.samples,
        "method": options.method.value,
        "chains": options.chains,
        "thin": options.thin,
        "warmup": options.warmup,
        "seed": options.seed,
    }
