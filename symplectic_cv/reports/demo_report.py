"""The report of the demo: its modes, bias and path on one HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from symplectic_cv.analysis.latent import INFORMATION, MODES
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.files.tables import read_table
from symplectic_cv.models.model_folder import read_config
from symplectic_cv.reports.pages import REPORT, write_page
from symplectic_cv.reports.run_report import FREE_ENERGY

MODES_SHOWN = 6
CAPTIONS = {
    "frequencies.png": "Learned frequencies, slow to fast.",
    "latent_plane.png": "Frames in the plane of the two slowest modes.",
}


def slowest_modes(analysis: str | Path, count: int = MODES_SHOWN) -> pd.DataFrame:
    """Frequency and mutual information of the slowest modes of an analysis.

    Args:
        analysis: The folder of the analysis.
        count: How many modes.

    Returns:
        A row for each mode, with the columns `mode`, `omega_rad_per_ps`, `period_ps` and a column
        of the mutual information in nats for each torsion.

    Raises:
        OutputError: A table of the analysis is missing or damaged.
    """
    modes = read_table(Path(analysis) / MODES, ["mode", "omega_rad_per_ps", "period_ps"])
    information = read_table(Path(analysis) / INFORMATION, ["mode"])
    known = modes[["mode", "omega_rad_per_ps", "period_ps"]]
    return known.merge(information, on="mode").head(count)


def write_demo_report(
    folder: str | Path, bias_ns: float, seconds: Sequence[tuple[str, float]]
) -> Path:
    """Writes the demo's report.html from what its steps left in their folders.

    Args:
        folder: The folder of the demo, with the folders model, analysis, metadynamics and path.
        bias_ns: The length of the biased run, ns.
        seconds: The steps, each with its time in seconds.

    Returns:
        The path of the page.

    Raises:
        OutputError: A table of a step is missing or damaged.
    """
    folder = Path(folder)
    config = read_config(folder / "model")
    training = config["training"]
    modes = slowest_modes(folder / "analysis")
    torsions = list(modes.columns[3:])
    path = read_table(folder / "path" / "path.csv", ["log_likelihood_nats"])
    run = BiasedRun.read(folder / "metadynamics")
    pictures = {folder / "analysis" / name: caption for name, caption in CAPTIONS.items()}
    write_page(
        folder / REPORT,
        "demo.html",
        title="From a trajectory to collective variables: alanine dipeptide",
        key_numbers=[
            (f"{training['frames']}", "frames to learn from"),
            (f"{len(config['omega_rad_per_ps'])}", "modes of 10 heavy atoms"),
            (f"{training['validation_nll_nats']:.1f} nats", "validation NLL of phase space"),
            (f"{len(run.frames)}", "hills added"),
            (f"{path['log_likelihood_nats'].min():.0f} nats", "lowest ln ρ on the path"),
        ],
        mode_header=["mode", "ω (rad/ps)", "period (ps)", *(f"{name} (nats)" for name in torsions)],
        mode_rows=[
            [
                int(row["mode"]),
                f"{row['omega_rad_per_ps']:.2f}",
                f"{row['period_ps']:.3f}",
                *(f"{row[name]:.2f}" for name in torsions),
            ]
            for _, row in modes.iterrows()
        ],
        analysis_pictures=[(path, text) for path, text in pictures.items() if path.is_file()],
        bias_ns=f"{bias_ns:g}",
        modes_picture=folder / "metadynamics" / "modes.png",
        free_energy_picture=folder / "metadynamics" / FREE_ENERGY,
        path_picture=folder / "path" / "path.png",
        time_rows=[[title, f"{value:.0f}"] for title, value in seconds],
        settings=json.dumps(training["options"]),
    )
    return folder / REPORT
