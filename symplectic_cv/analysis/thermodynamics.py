"""Thermodynamics of a model: free energy, entropy, energy, differences and the power spectrum."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symplectic_cv.analysis.spectrum import PowerSpectrum, power_spectrum
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.files.tables import write_table
from symplectic_cv.flows.options import Chart, Flow
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.of_model import analytic_hamiltonian, compared_hamiltonians
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import open_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.sampling.thermodynamics import (
    FreeEnergyDifference,
    Thermodynamics,
    estimate,
    free_energy_difference,
)

RESULT, SPECTRUM = "result.json", "spectrum.csv"
SAMPLES, FEWER_SAMPLES = 100_000, 20_000
"""Samples of each estimate by default; the fewer for a molecule and for a continuous flow."""

Progress = Callable[[str, int, int], None]
"""Called with the stage, "sampling" or "spectrum", the samples made since the last call, and the
samples to make in all."""


@dataclass(frozen=True)
class ThermodynamicsResult:
    """Estimates of a model for its Hamiltonian, with errors; energies and entropies in nats.

    Attributes:
        model: The model.
        reduced: The Hamiltonian at the temperature of the model.
        estimate: The bound on −ln Z, the importance estimate, entropy and energy.
        differences: The change of −ln Z to other Hamiltonians or temperatures, by name.
        spectrum: The power spectrum of the observables; None where it was left out.
        settings: What the estimate was asked to do (JSON).
    """

    model: PhaseSpaceModel = field(repr=False)
    reduced: ReducedHamiltonian = field(repr=False)
    estimate: Thermodynamics
    differences: dict[str, FreeEnergyDifference]
    spectrum: PowerSpectrum | None = field(repr=False)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def omega(self) -> np.ndarray:
        """The frequencies of the model, slowest first, in `omega_unit`, shape (n_modes,)."""
        return self.model.omega.to(torch.float64).numpy()

    @property
    def omega_unit(self) -> str:
        """The unit of the frequencies."""
        return frequency_unit(self.reduced.hamiltonian.time_unit)

    def record(self) -> dict[str, Any]:
        """The content of result.json."""
        found = self.estimate
        return {
            **estimate_to_json(self.reduced, found),
            "importance_free_energy": -found.ln_z,
            "importance_standard_error": found.ln_z_standard_error,
            "entropy": found.entropy,
            "entropy_standard_error": found.entropy_standard_error,
            "internal_energy": found.internal_energy,
            "internal_energy_standard_error": found.internal_energy_standard_error,
            "pareto_k": found.pareto_k,
            "reliable": found.reliable,
            "capped_share": found.capped_share,
            "samples": found.samples,
            "differences": [{"to": k, **asdict(other)} for k, other in self.differences.items()],
            "omega": self.omega.tolist(),
            "omega_unit": self.omega_unit,
            "spectrum_resolution": None if self.spectrum is None else self.spectrum.resolution,
            "unit": "nats",
            "settings": self.settings,
        }

    def save(self, folder: str | Path) -> None:
        """Writes result.json, and spectrum.csv where there is a spectrum.

        Args:
            folder: The folder, which is made where it is missing.
        """
        folder = Path(folder)
        make_folder(folder)
        if self.spectrum is not None:
            columns = ("omega", "density", "standard_error")
            table = {name: getattr(self.spectrum, name) for name in columns}
            write_table(folder / SPECTRUM, table, "%.8g")
        content = json.dumps(self.record(), indent=1) + "\n"
        write_atomically(folder / RESULT, content.encode())


def thermodynamics(
    model: PhaseSpaceModel | str | Path,
    hamiltonian: Hamiltonian | ReducedHamiltonian | str | None = None,
    beta: float = 1.0,
    *,
    to: str | None = None,
    to_beta: float | None = None,
    samples: int | None = None,
    observable: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ThermodynamicsResult:
    """Free energy, entropy, energy and spectrum of a model of an analytic Hamiltonian.

    `openmm_plugin.thermodynamics` does the same for the model of a molecule.

    Args:
        model: A model, or its folder.
        hamiltonian: The Hamiltonian, or its name (built in, or FILE.py:CLASS); the built-in one
            that the model's folder names where None.
        beta: The inverse temperature, for a `Hamiltonian`.
        to: Another Hamiltonian of as many coordinates, by its name or as FILE.py:CLASS, to which
            the free-energy difference is computed too.
        to_beta: Another inverse temperature, to which the difference is computed too.
        samples: The number of samples of each estimate; 100,000 where None, or 20,000 for a
            continuous flow.
        observable: Observables for the power spectrum, one coefficient per coordinate q, shape (n,)
            or (m, n); every q where None.
        seed: The seed of the samples.
        progress: Called with the stage, the samples made since the last call, and those in all.

    Raises:
        OptionError: An option makes no sense, or the model is one of a molecule.
        ModelError: A folder that does not name its Hamiltonian.

    Source: the paper (Phys. Rev. X 10, 021020), section III.B.
    """
    network = open_model(model)
    reduced = analytic_hamiltonian(model, hamiltonian, beta)
    others = compared_hamiltonians(network, reduced, to, to_beta)
    return thermodynamics_of(network, reduced, others, samples, observable, seed, progress)


def thermodynamics_of(
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    others: Mapping[str, ReducedHamiltonian],
    samples: int | None = None,
    observable: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ThermodynamicsResult:
    """The estimates of `thermodynamics` for a Hamiltonian in the variables of a model.

    Args:
        model: The model.
        reduced: Its Hamiltonian, at its temperature.
        others: Hamiltonians to compare with, by name, in the same variables.
        samples: The number of samples of each estimate; that of `default_samples` where None.
        observable: Observables for the power spectrum; see `observable_rows`. Every q where None;
            a model in internal coordinates then has no spectrum.
        seed: The seed of the samples.
        progress: Called with the stage, the samples made since the last call, and those in all.

    Raises:
        OptionError: An option makes no sense.
    """
    rows = None if observable is None else observable_rows(observable, model)
    count = default_samples(model) if samples is None else samples

    total = (2 + len(others)) * count

    def advance(amount: int) -> None:
        if progress is not None:
            progress("sampling", amount, total)

    advance(0)

    found = estimate(model, reduced, count, seed, advance)
    differences = {
        name: free_energy_difference(model, reduced, other, count, seed, advance)
        for name, other in others.items()
    }
    spectrum = None
    if rows is not None or model.options.chart is Chart.CARTESIAN:
        if progress is not None:
            progress("spectrum", 0, total)
        spectrum = power_spectrum(model, rows, seed=seed)
    return ThermodynamicsResult(model, reduced, found, differences, spectrum)


def default_samples(model: PhaseSpaceModel) -> int:
    """The number of samples of each estimate where a user does not give one."""
    slow = isinstance(model, NeuralCanonicalTransformation)
    return FEWER_SAMPLES if slow or model.options.flow is Flow.CONTINUOUS else SAMPLES


def observable_rows(observable: np.ndarray, model: PhaseSpaceModel) -> np.ndarray:
    """Observables as coefficients of the coordinates q, shape (m, n).

    Args:
        observable: One coefficient per coordinate q, shape (n,) or (m, n); or three per atom of a
            molecule, shape (n_atoms, 3) or (m, n_atoms, 3).
        model: The model.

    Raises:
        OptionError: The observables have another shape.
    """
    values = np.asarray(observable, dtype=np.float64)
    if isinstance(model, NeuralCanonicalTransformation):
        frame = model.frame
        if values.ndim >= 2 and values.shape[-2:] == (frame.n_atoms, 3):
            # y = r + U q / √(m/kT): Σ c·y has the coefficients Uᵀ c / √(m/kT)
            flat = (values / frame.scale.cpu().numpy()[:, None]).reshape(-1, 3 * frame.n_atoms)
            return np.asarray(flat @ frame.basis.cpu().numpy())
    rows = np.atleast_2d(values)
    if rows.ndim != 2 or rows.shape[1] != model.dimension:
        raise OptionError(
            f"`observable` has shape {values.shape}: give {model.dimension} numbers, one per "
            "coordinate, or three per atom of a molecule"
        )
    return rows


def estimate_to_json(reduced: ReducedHamiltonian, found: Thermodynamics) -> dict[str, Any]:
    """The numbers that every result.json starts with, in nats.

    Args:
        reduced: The Hamiltonian.
        found: The estimate of ln Z.
    """
    exact = reduced.hamiltonian.exact_free_energy(reduced.beta)
    return {
        "free_energy_bound": found.free_energy_bound,
        "standard_error": found.standard_error,
        "exact": exact,
        "kl": None if exact is None else found.free_energy_bound - exact,
        "ess": found.ess,
    }


def frequency_unit(time_unit: str) -> str:
    """The unit of a frequency: rad per unit of time, or reduced units where there is none."""
    return f"rad/{time_unit}" if time_unit else "reduced units"
