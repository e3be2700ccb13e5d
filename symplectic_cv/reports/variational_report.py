"""The report of `variational`: figures and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symplectic_cv.analysis.mutual_information import NEIGHBOURS
from symplectic_cv.analysis.variational import ModesBesideDescriptors, VariationalEstimate
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.style import save_figure
from symplectic_cv.reports.thermodynamics_report import estimate_section
from symplectic_cv.reports.variational_figures import (
    plot_free_energy_bound,
    plot_learned_frequencies,
    plot_modes_against_descriptors,
)
from symplectic_cv.training.variational import VariationalRow


def write_variational_report(
    folder: str | Path,
    result: VariationalEstimate,
    history: Sequence[VariationalRow],
    settings: dict[str, Any],
) -> None:
    """Writes the figures and report.html.

    Args:
        folder: The folder, which exists already.
        result: The estimates of the trained model.
        history: The rows of the training.
        settings: What the run was asked to do (JSON).
    """
    folder, reduced = Path(folder), result.reduced
    hamiltonian = reduced.hamiltonian
    exact = hamiltonian.exact_free_energy(reduced.beta)
    exact_omega = hamiltonian.exact_omega()
    omega, comparison = result.omega, result.comparison
    exact_frequencies = None if exact_omega is None else exact_omega.numpy()
    columns = {name: np.array([getattr(row, name) for row in history]) for name in _COLUMNS}
    figures: dict[str, Any] = {
        "training": plot_free_energy_bound(columns, exact),
        "frequencies": plot_learned_frequencies(omega, result.omega_unit, exact_frequencies),
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
        estimate=estimate_section(reduced, result.estimate),
        pictures=pictures,
        unit=result.omega_unit,
        neighbours=NEIGHBOURS,
        settings=json.dumps(settings),
        **_information_table(comparison),
    )


_COLUMNS = ("step", "free_energy_bound", "standard_error", "cold")


def _plot_comparison(comparison: ModesBesideDescriptors) -> np.ndarray:
    columns = [
        (name, unit, comparison.values[:, k], comparison.information[:, k])
        for k, (name, unit) in enumerate(zip(comparison.names, comparison.units, strict=True))
    ]
    return plot_modes_against_descriptors(comparison.modes, columns)


def _information_table(comparison: ModesBesideDescriptors | None) -> dict[str, list[Any]]:
    if comparison is None:
        return {"information_header": [], "information_rows": []}
    return {
        "information_header": ["mode", *(f"{name} (nats)" for name in comparison.names)],
        "information_rows": [
            [mode, *(f"{value:.2f}" for value in row)]
            for mode, row in enumerate(comparison.information)
        ],
    }
