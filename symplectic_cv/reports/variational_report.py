"""Files that `variational` writes: result.json, figures and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from symplectic_cv.analysis.mutual_information import NEIGHBOURS, mutual_information
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.style import save_figure
from symplectic_cv.reports.thermodynamics_report import (
    RESULT,
    estimate_section,
    estimate_to_json,
    frequency_unit,
)
from symplectic_cv.reports.variational_figures import (
    plot_free_energy_bound,
    plot_learned_frequencies,
    plot_modes_against_descriptors,
)
from symplectic_cv.sampling.thermodynamics import Thermodynamics
from symplectic_cv.training.variational import VariationalRow

MODES_COMPARED = 4
SAMPLES = 20_000


@dataclass(frozen=True)
class Comparison:
    """Samples of the slowest modes beside the Hamiltonian's descriptors.

    Attributes:
        modes: ω_k Q_k, (F, K).
        names, units: of the descriptors.
        values: (F, D); angles in radians.
        information: The mutual information, (K, D) in nats.
    """

    modes: np.ndarray
    names: list[str]
    units: list[str]
    values: np.ndarray
    information: np.ndarray


@torch.no_grad()
def compare_with_descriptors(
    model: PhaseSpaceModel, reduced: ReducedHamiltonian, n_samples: int = SAMPLES, seed: int = 0
) -> Comparison | None:
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
    return Comparison(
        modes=modes,
        names=list(found),
        units=[descriptor.unit for descriptor in found.values()],
        values=values,
        information=mutual_information(modes, values, seed=seed, circular=circular),
    )


def write_variational_result(
    folder: Path,
    model: PhaseSpaceModel,
    reduced: ReducedHamiltonian,
    found: Thermodynamics,
    history: Sequence[VariationalRow],
    settings: dict[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Writes the figures, report.html and result.json, which comes last; returns its content.

    Args:
        settings: The settings of the run (JSON), which result.json keeps.
    """
    hamiltonian = reduced.hamiltonian
    exact = hamiltonian.exact_free_energy(reduced.beta)
    exact_omega = hamiltonian.exact_omega()
    omega = model.omega.to(torch.float64).numpy()
    result: dict[str, Any] = {
        **estimate_to_json(reduced, found),
        "omega": [float(value) for value in omega],
        "omega_unit": frequency_unit(hamiltonian.time_unit),
        "omega_exact": None if exact_omega is None else exact_omega.tolist(),
        "unit": "nats",
        "thermodynamics": found.to_json(),
        "settings": settings,
    }
    comparison = compare_with_descriptors(model, reduced, seed=seed)
    if comparison is not None:
        result["mutual_information_nats"] = {
            name: comparison.information[:, k].tolist() for k, name in enumerate(comparison.names)
        }
    exact_frequencies = None if exact_omega is None else exact_omega.numpy()
    columns = {name: np.array([getattr(row, name) for row in history]) for name in _COLUMNS}
    figures: dict[str, Any] = {
        "training": plot_free_energy_bound(columns, exact),
        "frequencies": plot_learned_frequencies(omega, result["omega_unit"], exact_frequencies),
        "modes": None if comparison is None else _plot_comparison(comparison),
    }
    pictures = {
        name: None if figure is None else folder / f"{name}.png" for name, figure in figures.items()
    }
    for name, path in pictures.items():
        if path is not None:
            save_figure(figures[name], path)
    write_page(
        folder / REPORT,
        "variational.html",
        title=f"{hamiltonian.name}: learned from a Hamiltonian",
        name=hamiltonian.name,
        estimate=estimate_section(reduced, found),
        pictures=pictures,
        unit=result["omega_unit"],
        neighbours=NEIGHBOURS,
        settings=json.dumps(result["settings"]),
        **_information_table(comparison),
    )
    write_atomically(folder / RESULT, (json.dumps(result, indent=1) + "\n").encode())
    return result


_COLUMNS = ("step", "free_energy_bound", "standard_error", "cold")


def _plot_comparison(comparison: Comparison) -> np.ndarray:
    columns = [
        (name, unit, comparison.values[:, k], comparison.information[:, k])
        for k, (name, unit) in enumerate(zip(comparison.names, comparison.units, strict=True))
    ]
    return plot_modes_against_descriptors(comparison.modes, columns)


def _information_table(comparison: Comparison | None) -> dict[str, list[Any]]:
    if comparison is None:
        return {"information_header": [], "information_rows": []}
    return {
        "information_header": ["mode", *(f"{name} (nats)" for name in comparison.names)],
        "information_rows": [
            [mode, *(f"{value:.2f}" for value in row)]
            for mode, row in enumerate(comparison.information)
        ],
    }
