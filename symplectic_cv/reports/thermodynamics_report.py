"""The report of `thermodynamics`: the figure of the spectrum, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symplectic_cv.analysis.thermodynamics import ThermodynamicsResult
from symplectic_cv.hamiltonians.reduced import ENERGY_CAP, ReducedHamiltonian
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.spectrum_figures import plot_spectrum
from symplectic_cv.reports.style import save_figure
from symplectic_cv.sampling.importance import RELIABLE_TAIL
from symplectic_cv.sampling.thermodynamics import FreeEnergyDifference, Thermodynamics

SPECTRUM_FIGURE = "spectrum.png"


def thermodynamics_cautions(found: Thermodynamics) -> list[str]:
    """Warnings about a heavy tail of the weights and about energies over the cap."""
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


def write_thermodynamics_report(folder: str | Path, result: ThermodynamicsResult) -> None:
    """Writes spectrum.png, where there is a spectrum, and report.html.

    Args:
        folder: The folder, which exists already.
        result: The estimates.
    """
    folder, reduced = Path(folder), result.reduced
    figure = folder / SPECTRUM_FIGURE
    if result.spectrum is not None:
        save_figure(plot_spectrum(result.omega, result.spectrum, result.omega_unit), figure)
    write_page(
        folder / REPORT,
        "thermodynamics.html",
        title=f"{reduced.hamiltonian.name}: thermodynamics",
        name=reduced.hamiltonian.name,
        of_molecule=bool(reduced.hamiltonian.time_unit),
        estimate=estimate_section(reduced, result.estimate),
        difference_rows=_difference_rows(result.differences),
        spectrum_picture=None if result.spectrum is None else figure,
        unit=result.omega_unit,
        settings=json.dumps(result.settings),
    )


def _difference_rows(differences: Mapping[str, FreeEnergyDifference]) -> list[list[str]]:
    return [
        [
            name,
            with_error(found.difference, found.standard_error),
            f"{100 * found.ess:.1f} %",
            f"{found.pareto_k:.2f}"
            + ("" if found.pareto_k < RELIABLE_TAIL else " (not to be trusted)"),
        ]
        for name, found in differences.items()
    ]
