"""Estimates of a model that was learned from a Hamiltonian: free energy, modes, descriptors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symplectic_cv.analysis.mutual_information import mutual_information
from symplectic_cv.analysis.thermodynamics import RESULT, estimate_to_json, frequency_unit
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.sampling.thermodynamics import Thermodynamics, estimate

MODES_COMPARED = 4
SAMPLES = 20_000


@dataclass(frozen=True)
class ModesBesideDescriptors:
    """Samples of the slowest modes beside the Hamiltonian's descriptors.

    Attributes:
        modes: The modes ω_k Q_k, dimensionless, (F, K).
        names, units: The names and units of the descriptors.
        values: The values of the descriptors, (F, D); angles are in radians.
        information: The mutual information of each mode and descriptor, (K, D), in nats.
    """

    modes: np.ndarray
    names: list[str]
    units: list[str]
    values: np.ndarray
    information: np.ndarray


@torch.no_grad()
def compare_with_descriptors(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, n_samples: int = SAMPLES, seed: int = 0
) -> ModesBesideDescriptors | None:
    """Modes and descriptors on samples of the model; None where there are no descriptors."""
    generator = torch.Generator().manual_seed(seed)
    n = model.dimension
    z = torch.randn(n_samples, 2 * n, generator=generator).to(model.dtype)
    _, q = model.flow.pull(z[:, :n], z[:, n:] / model.omega)
    found = reduced.hamiltonian.descriptors(q.to(torch.float64) / reduced.scale**0.5)
    if not found:
        return None
    modes = z[:, n:][:, :MODES_COMPARED].numpy()
    values = np.stack([descriptor.values.numpy() for descriptor in found.values()], 1)
    circular = [descriptor.circular for descriptor in found.values()]
    return ModesBesideDescriptors(
        modes=modes,
        names=list(found),
        units=[descriptor.unit for descriptor in found.values()],
        values=values,
        information=mutual_information(modes, values, seed=seed, circular=circular),
    )


@dataclass(frozen=True)
class VariationalEstimate:
    """The estimates of a model that was learned from a Hamiltonian.

    Attributes:
        model: The model.
        reduced: The Hamiltonian at the temperature of the model.
        estimate: The bound on −ln Z, the importance estimate, entropy and energy, in nats.
        comparison: The slowest modes beside the descriptors; None where there are no descriptors.
    """

    model: PhaseSpaceModel = field(repr=False)
    reduced: ReducedHamiltonian = field(repr=False)
    estimate: Thermodynamics
    comparison: ModesBesideDescriptors | None = field(repr=False)

    @property
    def omega(self) -> np.ndarray:
        """The frequencies of the model, slowest first, in `omega_unit`, shape (n_modes,)."""
        return self.model.omega.to(torch.float64).numpy()

    @property
    def omega_unit(self) -> str:
        """The unit of the frequencies."""
        return frequency_unit(self.reduced.hamiltonian.time_unit)

    def save(self, folder: str | Path, settings: dict[str, Any]) -> None:
        """Writes result.json.

        Args:
            folder: The folder, which exists already.
            settings: What the run was asked to do (JSON), which is kept in the file.
        """
        exact_omega = self.reduced.hamiltonian.exact_omega()
        result: dict[str, Any] = {
            **estimate_to_json(self.reduced, self.estimate),
            "omega": self.omega.tolist(),
            "omega_unit": self.omega_unit,
            "omega_exact": None if exact_omega is None else exact_omega.tolist(),
            "unit": "nats",
            "thermodynamics": self.estimate.to_json(),
            "settings": settings,
        }
        if self.comparison is not None:
            found = self.comparison
            result["mutual_information_nats"] = {
                name: found.information[:, k].tolist() for k, name in enumerate(found.names)
            }
        content = json.dumps(result, indent=1) + "\n"
        write_atomically(Path(folder) / RESULT, content.encode())


def estimate_variational(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    samples: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> VariationalEstimate:
    """Free energy, frequencies and descriptors of a model that was learned from a Hamiltonian.

    Args:
        model: The model.
        reduced: The Hamiltonian at the temperature of the model.
        samples: The number of samples of the estimates.
        seed: The seed of the samples.
        progress: Called with the number of samples made since the last call.
    """
    found = estimate(model, reduced, samples, seed, progress or (lambda amount: None))
    comparison = compare_with_descriptors(model, reduced, seed=seed)
    return VariationalEstimate(model, reduced, found, comparison)
