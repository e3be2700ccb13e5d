"""The report of an analysis: figures and one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from symplectic_cv.analysis.latent import (
    SLOW_AMONG,
    Analysis,
    LatentFrames,
    TorsionAnalysis,
    TorsionFrames,
    slow_modes,
)
from symplectic_cv.analysis.mutual_information import FRAMES, NEIGHBOURS
from symplectic_cv.charts.eckart import HEALTH_WARNING
from symplectic_cv.data.torsions import backbone_pairs
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.models.model_folder import read_config, read_history
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.reports import model_figures, torsion_figures
from symplectic_cv.reports.free_energy_figures import plot_free_energy
from symplectic_cv.reports.kinetics_figures import plot_kinetics
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.style import MOST_POINTS, mode_label, save_figure, span
from symplectic_cv.units import thermal_energy

SURFACE_BINS = 60
"""Bins along each mode of the free energy."""
KINETIC_HEADER = ["variables", "VAMP-2", "less TICA's", "t1 (ps)", "t2 (ps)", "t3 (ps)"]
MODES_SHOWN = 10
"""Modes in the figures and tables of the page; the CSV files hold all."""


def write_analysis_report(
    folder: str | Path,
    analysis: Analysis,
    model: NeuralCanonicalTransformation | TorsionModel,
    model_folder: str | Path | None = None,
) -> Path:
    """Writes the figures of an analysis and report.html into a folder.

    The page comes last, so that a folder with one is complete. `Analysis.save` writes the numbers.

    Args:
        folder: The folder to write into; it is made where missing.
        analysis: What `symplectic_cv.analyze` found.
        model: The model that was analysed.
        model_folder: The folder that the model was read from, whose record of the training is then
            reported.

    Returns:
        The path of the page.

    Raises:
        ModelError: The model's own record is damaged.
        OutputError: The folder cannot be made.
    """
    folder = Path(folder)
    training: dict[str, Any] = {}
    history = None
    if model_folder is not None:
        training = read_config(Path(model_folder)).get("training") or {}
        history = read_history(model_folder)
    make_folder(folder)
    pictures = _draw(folder, analysis, history, training.get("gaussian_start_nll_nats"))
    name = Path(model_folder).name if model_folder is not None else "a model"
    names = [torsion.name for torsion in analysis.torsions]
    shown = analysis.mutual_information[:MODES_SHOWN]
    write_page(
        folder / REPORT,
        "analysis.html",
        title=f"Collective variables of {name}",
        model_folder=str(model_folder) if model_folder is not None else "in memory",
        runs=", ".join(
            f"{run} ({n:,})" for run, n in zip(analysis.names, analysis.lengths, strict=True)
        ),
        key_numbers=_key_numbers(analysis, model, training),
        pictures=pictures,
        n_slow=slow_modes(analysis.omega),
        slow_among=SLOW_AMONG,
        torsion_modes=isinstance(analysis, TorsionAnalysis),
        mode_header=_mode_header(analysis),
        mode_rows=_mode_rows(analysis),
        kinetics=analysis.kinetics,
        no_kinetics=analysis.no_kinetics,
        kinetic_header=KINETIC_HEADER,
        kinetic_rows=_kinetic_rows(analysis),
        neighbours=NEIGHBOURS,
        frames_used=f"{min(FRAMES, analysis.n_frames):,}",
        information_header=["mode", *(f"{torsion} (nats)" for torsion in names)],
        information_rows=[[k, *(f"{value:.3f}" for value in row)] for k, row in enumerate(shown)],
        most_points=f"{MOST_POINTS:,}",
        health_warning=HEALTH_WARNING,
        quality_rows=_quality_rows(analysis, training),
        cautions=_cautions(analysis, training),
    )
    return folder / REPORT


def _draw(
    folder: Path,
    analysis: Analysis,
    history: pd.DataFrame | None,
    gaussian_start: float | None,
) -> dict[str, Path | None]:
    """Draws what there is to draw; the path of each figure, None where there is nothing."""
    modes, angles = analysis.frames.modes, analysis.angles
    names = [torsion.name for torsion in analysis.torsions]
    labels = _mode_labels(analysis)
    figures: dict[str, Any] = dict.fromkeys(
        (
            "frequencies",
            "shares",
            "circles",
            "kinetics",
            "mutual_information",
            "free_energy",
            "latent_plane",
            "ramachandran",
            "training",
        )
    )
    figures["frequencies"] = model_figures.plot_frequencies(
        analysis.omega, slow_modes(analysis.omega)
    )
    if names:
        shown = analysis.mutual_information[:MODES_SHOWN]
        figures["mutual_information"] = model_figures.plot_mutual_information(shown, names)
    if isinstance(analysis, TorsionAnalysis) and isinstance(analysis.frames, TorsionFrames):
        figures["shares"] = torsion_figures.plot_shares(analysis.model, MODES_SHOWN)
        figures["circles"] = torsion_figures.plot_circles(
            analysis.model, analysis.frames.bond_angles
        )
    if analysis.kinetics is not None:
        figures["kinetics"] = plot_kinetics(analysis.kinetics)
    if modes.shape[1] >= 2:
        figures["free_energy"] = _draw_free_energy(analysis)
        figures["latent_plane"] = model_figures.plot_latent_plane(
            modes, angles, names, labels=labels
        )
    planes = [
        (analysis.torsions[phi].residue, angles[:, phi], angles[:, psi])
        for phi, psi in backbone_pairs(analysis.torsions)
    ]
    if planes:
        figures["ramachandran"] = model_figures.plot_ramachandran(modes, planes, labels=labels)
    if history is not None:
        columns = {str(name): history[name].to_numpy() for name in history}
        figures["training"] = model_figures.plot_training(columns, gaussian_start)
    paths = {
        name: None if figure is None else folder / f"{name}.png" for name, figure in figures.items()
    }
    for name, path in paths.items():
        if path is not None:
            save_figure(figures[name], path)
    return paths


def _draw_free_energy(analysis: Analysis) -> Axes:
    """−kT ln of the share of frames, in bins of modes 0 and 1."""
    modes = analysis.frames.modes[:, :2].astype(np.float64)
    ends = [span(column) for column in modes.T]
    counts, *edges = np.histogram2d(modes[:, 0], modes[:, 1], SURFACE_BINS, ends)
    with np.errstate(divide="ignore"):
        surface = -thermal_energy(analysis.temperature) * np.log(counts)
    middles = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    return plot_free_energy(middles, surface, _mode_labels(analysis), binned=True)


def _mode_labels(analysis: Analysis) -> list[str]:
    torsion = isinstance(analysis, TorsionAnalysis)
    return [f"mode {k} (dimensionless)" if torsion else mode_label(k) for k in range(2)]


def _kinetic_rows(analysis: Analysis) -> list[list[str]]:
    found = analysis.kinetics
    if found is None:
        return []
    rows = []
    for place, name in enumerate(found.names):
        row = [name, f"{found.vamp2[place]:.3f} ± {found.vamp2_error[place]:.3f}"]
        row.append(f"{found.difference[place]:+.3f} ± {found.difference_error[place]:.3f}")
        times = zip(found.timescales[place, :3], found.timescale_error[place, :3], strict=True)
        rows.append(row + [f"{t:.1f} ± {error:.1f}" if t > 0.0 else "none" for t, error in times])
    return rows


def _key_numbers(
    analysis: Analysis,
    model: NeuralCanonicalTransformation | TorsionModel,
    training: dict[str, Any],
) -> list[tuple[str, str]]:
    period = f"{2 * np.pi / analysis.omega[0]:.3g} ps"
    numbers = [
        (f"{analysis.n_frames:,}", f"frames from {len(analysis.names)} run(s)"),
        (f"{model.dimension}", f"modes of {model.molecule.n_atoms} atoms"),
        (f"{model.temperature:g} K", "temperature of the model"),
        (f"{analysis.omega[0]:.3g} rad/ps", f"slowest mode, period {period}"),
    ]
    validation = training.get("validation_nll_nats")
    if validation is not None:
        numbers.append((f"{validation:.2f} nats", "validation NLL of phase space, per frame"))
    return numbers


def _mode_header(analysis: Analysis) -> list[str]:
    if isinstance(analysis, TorsionAnalysis):
        return [
            "mode",
            "ω (rad/ps)",
            "held-out ω",
            "period (ps)",
            "spread",
            "steepness",
            "torsions",
        ]
    return ["mode", "ω (rad/ps)", "period (ps)", "std of ωQ"]


def _mode_rows(analysis: Analysis) -> list[list[str]]:
    rows = []
    for mode, (omega, spread) in enumerate(
        zip(analysis.omega[:MODES_SHOWN], analysis.spread, strict=False)
    ):
        period = f"{2 * np.pi / omega:.4g}"
        if not isinstance(analysis, TorsionAnalysis):
            rows.append([str(mode), f"{omega:.4g}", period, f"{spread:.3f}"])
            continue
        model = analysis.model
        value = f"{omega:.3f} ± {model.omega_error[mode]:.3f}"
        held_out, steepness = model.omega_held_out[mode], model.steepness[mode]
        carried = ", ".join(f"{name} {100 * share:.0f} %" for name, share in model.carried(mode))
        row = [str(mode), value, f"{held_out:.3f}", period, f"{spread:.3f}", f"{steepness:.1f}"]
        rows.append([*row, carried])
    return rows


def _quality_rows(analysis: Analysis, training: dict[str, Any]) -> list[list[str]]:
    frames = analysis.frames
    if isinstance(frames, LatentFrames):
        likelihood = frames.log_likelihood
        rows = [
            ["smallest det A over its median, these frames", f"{frames.health.smallest:.3f}"],
            ["mean ln ρ(q) of these frames (nats, q in ps)", f"{likelihood.mean():.2f}"],
            ["least ln ρ(q) of these frames (nats, q in ps)", f"{likelihood.min():.2f}"],
        ]
    else:
        smallest = f"{frames.health.smallest_sine:.3f}"
        rows = [["smallest sine of a bond angle beside a torsion, these frames", smallest]]
    for key, name, digits in (
        ("validation_nll_nats", "validation NLL of phase space (nats per frame)", 2),
        ("gaussian_start_nll_nats", "the same of the quasi-harmonic start (nats per frame)", 2),
        ("frame_health", "smallest det A over its median, training frames", 3),
        ("frames", "frames of the training data", 0),
        ("effective_frames", "effective number of training frames by their weights", 0),
    ):
        if training.get(key) is not None:
            rows.append([name, f"{training[key]:,.{digits}f}"])
    return rows


def _cautions(analysis: Analysis, training: dict[str, Any]) -> list[str]:
    cautions = [str(warning) for warning in training.get("warnings") or []]
    if not isinstance(analysis.frames, LatentFrames):
        return cautions
    health = analysis.frames.health
    if health.near_limit:
        cautions.append(
            "These frames come near the limit of the molecular frame: the smallest det A is "
            f"{health.smallest:.3f} of its median (frame {health.frame})."
        )
    return cautions
