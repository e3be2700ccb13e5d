"""What `variational` leaves behind: result.json, figures and a page."""

from __future__ import annotations

import html
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
from symplectic_cv.reports import variational_figures as figures
from symplectic_cv.reports.analysis_report import html_figure, html_page, html_table
from symplectic_cv.reports.thermodynamics_report import (
    RESULT,
    estimate_to_json,
    frequency_unit,
    html_estimate,
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
        information: mutual information, (K, D) in nats.
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


def write_result(
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
        settings: what the run was asked to do (JSON), kept in result.json.
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
    columns = {name: np.array([getattr(row, name) for row in history]) for name in _COLUMNS}
    pictures = [folder / "training.png", folder / "frequencies.png"]
    figures.free_energy_history(pictures[0], columns, exact)
    figures.learned_frequencies(
        pictures[1],
        omega,
        None if exact_omega is None else exact_omega.numpy(),
        result["omega_unit"],
    )
    comparison = compare_with_descriptors(model, reduced, seed=seed)
    if comparison is not None:
        pictures.append(folder / "modes.png")
        information = comparison.information
        figures.modes_and_descriptors(
            pictures[2],
            comparison.modes,
            [
                (name, unit, comparison.values[:, k], information[:, k])
                for k, (name, unit) in enumerate(
                    zip(comparison.names, comparison.units, strict=True)
                )
            ],
        )
        result["mutual_information_nats"] = {
            name: information[:, k].tolist() for k, name in enumerate(comparison.names)
        }
    page = _page(reduced, result, found, comparison, pictures)
    write_atomically(folder / "report.html", page.encode())
    write_atomically(folder / RESULT, (json.dumps(result, indent=1) + "\n").encode())
    return result


_COLUMNS = ("step", "free_energy_bound", "standard_error", "cold")


def _page(
    reduced: ReducedHamiltonian,
    result: dict[str, Any],
    found: Thermodynamics,
    comparison: Comparison | None,
    pictures: list[Path],
) -> str:
    name = reduced.hamiltonian.name
    parts = [
        f"<h1>Learned from a Hamiltonian: {html.escape(name)}</h1>",
        '<p class="lead">A canonical transformation to independent oscillators, from energies '
        "alone.</p>",
        *html_estimate(reduced, found),
        "<h2>Learning</h2>",
        html_figure(pictures[0], "The bound on fixed samples over the training."),
        "<h2>Frequencies</h2>",
        html_figure(pictures[1], f"Learned frequencies, {result['omega_unit']}."),
    ]
    if comparison is not None:
        table = [
            [str(mode), *(f"{value:.2f}" for value in row)]
            for mode, row in enumerate(comparison.information)
        ]
        parts += [
            "<h2>What the modes are</h2>",
            html_figure(pictures[2], "The slowest modes against physical quantities."),
            html_table(
                ["mode", *(f"{name} (nats)" for name in comparison.names)],
                table,
                f"Mutual information, from {NEIGHBOURS} nearest neighbours.",
            ),
        ]
    settings = html.escape(json.dumps(result["settings"]))
    parts.append(f"<h2>What ran</h2><p><code>{settings}</code></p>")
    return html_page(f"{name}: learned from a Hamiltonian", *parts)
