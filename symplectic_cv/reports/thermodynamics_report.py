"""Files that `thermodynamics` writes: result.json, spectrum.csv, a figure and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symplectic_cv.analysis.spectrum import PowerSpectrum
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.tables import write_table
from symplectic_cv.hamiltonians.reduced import ENERGY_CAP, ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.spectrum_figures import plot_spectrum
from symplectic_cv.reports.style import save_figure
from symplectic_cv.sampling.importance import RELIABLE_TAIL
from symplectic_cv.sampling.thermodynamics import FreeEnergyDifference, Thermodynamics

RESULT = "result.json"
SPECTRUM_FIGURE = "spectrum.png"


@dataclass(frozen=True)
class Compared:
    """Another Hamiltonian or temperature, by name, and the free-energy difference to it."""

    name: str
    found: FreeEnergyDifference


def estimate_to_json(reduced: ReducedHamiltonian, found: Thermodynamics) -> dict[str, Any]:
    """The numbers that every result.json starts with, in nats."""
    exact = reduced.hamiltonian.exact_free_energy(reduced.beta)
    return {
        "free_energy_bound": found.free_energy_bound,
        "standard_error": found.standard_error,
        "exact": exact,
        "kl": None if exact is None else found.free_energy_bound - exact,
        "ess": found.ess,
    }


def frequency_unit(time_unit: str) -> str:
    """rad per unit of time, or reduced units where it has none."""
    return f"rad/{time_unit}" if time_unit else "reduced units"


def thermodynamics_cautions(found: Thermodynamics) -> list[str]:
    """Warnings about weights with a heavy tail and energies above the cap."""
    messages = []
    if not found.reliable:
        messages.append(
            f"the importance weights have a heavy tail (exponent {found.pareto_k:.2f}, effective "
            f"share {100 * found.ess:.1f} %): their estimates and errors are not to be trusted; "
            "the bound is"
        )
    if found.capped_share > 0.0:
        messages.append(
            f"{100 * found.capped_share:.3g} % of the samples have energies over the cap "
            f"({ENERGY_CAP:g} nats above the start) and count with its logarithm there: the bound "
            "is that of the capped energy"
        )
    return messages


def estimate_section(reduced: ReducedHamiltonian, found: Thermodynamics) -> dict[str, Any]:
    """The numbers, table rows and cautions of an estimate, for the template estimate.html.

    Args:
        reduced: The Hamiltonian.
        found: The estimate of ln Z.
    """
    exact = reduced.hamiltonian.exact_free_energy(reduced.beta)
    numbers = [
        (with_error(found.free_energy_bound, found.standard_error), "bound on −ln Z, nats"),
        (with_error(-found.ln_z, found.ln_z_standard_error), "−ln Z, importance, nats"),
    ]
    if exact is not None:
        numbers.append((f"{exact:.4f}", "exact −ln Z, nats"))
        numbers.append((f"{found.free_energy_bound - exact:.4f}", "KL(ρ‖π), nats"))
    numbers.append((f"{100 * found.ess:.1f} %", "effective share of the samples"))
    internal = with_error(found.internal_energy, found.internal_energy_standard_error)
    rows = [
        ["internal energy ⟨βH⟩, nats", internal],
        ["entropy of phase space, nats", with_error(found.entropy, found.entropy_standard_error)],
        ["tail exponent of the weights", f"{found.pareto_k:.2f}"],
        ["samples over the energy cap", f"{100 * found.capped_share:.3g} %"],
    ]
    return {"numbers": numbers, "rows": rows, "cautions": thermodynamics_cautions(found)}


def with_error(value: float, error: float) -> str:
    return f"{value:.4f} ± {error:.4f}"


def write_thermodynamics_result(
    folder: Path,
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    found: Thermodynamics,
    compared: Sequence[Compared],
    power: PowerSpectrum | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Writes spectrum.csv, spectrum.png, report.html and result.json, which comes last.

    Args:
        folder: The folder to write to, which must exist.
        compared: Free-energy differences to other Hamiltonians or temperatures.
        power: The power spectrum of the chosen observables; None leaves it out.
        settings: The settings of the run (JSON), which result.json keeps.
    """
    unit = frequency_unit(reduced.hamiltonian.time_unit)
    omega = model.omega.to(torch.float64).numpy()
    if power is not None:
        _write_spectrum(folder, omega, power, unit)
    result: dict[str, Any] = {
        **estimate_to_json(reduced, found),
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
        "differences": [{"to": other.name, **asdict(other.found)} for other in compared],
        "omega": omega.tolist(),
        "omega_unit": unit,
        "spectrum_resolution": None if power is None else power.resolution,
        "unit": "nats",
        "settings": settings,
    }
    write_page(
        folder / REPORT,
        "thermodynamics.html",
        title=f"{reduced.hamiltonian.name}: thermodynamics",
        name=reduced.hamiltonian.name,
        of_molecule=bool(reduced.hamiltonian.time_unit),
        estimate=estimate_section(reduced, found),
        difference_rows=_difference_rows(compared),
        spectrum_picture=None if power is None else folder / SPECTRUM_FIGURE,
        unit=unit,
        settings=json.dumps(settings),
    )
    write_atomically(folder / RESULT, (json.dumps(result, indent=1) + "\n").encode())
    return result


def _write_spectrum(folder: Path, omega: np.ndarray, power: PowerSpectrum, unit: str) -> None:
    table = {
        "omega": power.omega,
        "density": power.density,
        "standard_error": power.standard_error,
    }
    write_table(folder / "spectrum.csv", table, "%.8g")
    save_figure(plot_spectrum(omega, power, unit), folder / SPECTRUM_FIGURE)


def _difference_rows(compared: Sequence[Compared]) -> list[list[str]]:
    return [
        [
            other.name,
            with_error(other.found.difference, other.found.standard_error),
            f"{100 * other.found.ess:.1f} %",
            f"{other.found.pareto_k:.2f}"
            + ("" if other.found.pareto_k < RELIABLE_TAIL else " (not to be trusted)"),
        ]
        for other in compared
    ]
