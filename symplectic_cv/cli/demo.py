"""`symplectic-cv demo`: every other command once, on alanine dipeptide."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from symplectic_cv.cli import options as o
from symplectic_cv.cli.analyze import analyze
from symplectic_cv.cli.biased import Backend, BackendOption
from symplectic_cv.cli.console import console, note
from symplectic_cv.cli.export import export
from symplectic_cv.cli.metadynamics import metadynamics
from symplectic_cv.cli.options import option
from symplectic_cv.cli.path import path as draw_path
from symplectic_cv.cli.simulate import simulate
from symplectic_cv.cli.train import train
from symplectic_cv.data.torsions import compute_torsions, find_torsions
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import start_run
from symplectic_cv.models.model_folder import read_config
from symplectic_cv.reports.analysis_report import html_figure, html_numbers, html_page, html_table

BETA_SHEET, ALPHA_HELIX = (-125.0, 150.0), (-75.0, 0.0)
"""(φ, ψ) in degrees of the conformations that the path joins (the paper, figure 6)."""


@dataclass(frozen=True)
class Sizes:
    """Lengths that keep the demo under six minutes on two cores."""

    simulation_ns: float = 6.0
    stride_ps: float = 0.2
    training_steps: int = 4000
    hidden: int = 64
    bias_ns: float = 0.1
    pace_ps: float = 0.25
    points: int = 40

    def scaled(self, scale: float) -> Sizes:
        """Lengths multiplied by `scale`, kept long enough to run through."""
        return Sizes(
            simulation_ns=max(0.05, self.simulation_ns * scale),
            stride_ps=self.stride_ps,
            training_steps=max(20, round(self.training_steps * scale)),
            hidden=self.hidden,
            bias_ns=max(0.002, self.bias_ns * scale),
            pace_ps=self.pace_ps,
            points=self.points,
        )


def demo(
    *,
    output: o.Output = Path("demo"),
    scale: Annotated[
        float, option(help="Multiplies the lengths of simulation, training and bias.")
    ] = 1.0,
    backend: BackendOption = Backend.AUTO,
    seed: o.Seed = 0,
    resume: o.Resume = False,
) -> None:
    """The whole job on alanine dipeptide, small, with a report.

    Simulates it in implicit solvent, trains on the trajectory file, compares the modes with φ
    and ψ, exports the two slowest, biases them, draws a path between two conformations, and
    ends with the path of a report. Under six minutes on two cores.

    Example: symplectic-cv demo -o demo
    """
    if not 0.0 < scale < float("inf"):
        raise OptionError(f"--scale must be positive; got {scale}")
    sizes = Sizes().scaled(scale)
    start_run(output, {"command": "demo", "scale": scale, "seed": seed}, resume)
    md, model, analysis = output / "md", output / "model", output / "analysis"
    bias, way = output / "metadynamics", output / "path"
    trajectory = str(md / "trajectory.xtc")
    seconds: list[tuple[str, float]] = []

    def stage(title: str, done: Path, run: Callable[[], Any]) -> None:
        console.rule(title, align="left")
        started = time.monotonic()
        if not (resume and done.exists()):
            run()
        seconds.append((title, time.monotonic() - started))

    stage(
        f"simulate {sizes.simulation_ns:g} ns, a frame each {sizes.stride_ps:g} ps",
        model,
        lambda: simulate(
            "alanine-dipeptide",
            output=md,
            time_ns=sizes.simulation_ns,
            stride_ps=sizes.stride_ps,
            seed=seed,
            resume=resume,
        ),
    )
    stage(
        f"train {sizes.training_steps} steps, 8 couplings of width {sizes.hidden}",
        model / "config.json",
        lambda: train(
            trajectory,
            output=model,
            steps=sizes.training_steps,
            hidden=sizes.hidden,
            seed=seed,
            resume=resume,
        ),
    )
    stage("analyze", analysis / "report.html", lambda: analyze(model, trajectory, output=analysis))
    show_modes(analysis)
    stage("export modes 0 and 1", model / "cv.pt", lambda: export(model, modes=[0, 1]))
    stage(
        f"metadynamics of {sizes.bias_ns:g} ns, a hill each {sizes.pace_ps:g} ps",
        bias / "free_energy.png",
        lambda: metadynamics(
            model,
            system=md / "system.xml",
            output=bias,
            time_ns=sizes.bias_ns,
            pace=sizes.pace_ps,
            backend=backend,
            seed=seed,
            resume=resume,
        ),
    )
    start, end = nearest_frames(trajectory, [BETA_SHEET, ALPHA_HELIX])
    stage(
        f"path of {sizes.points} points between two conformations",
        way / "path.png",
        lambda: draw_path(
            model,
            start=f"{trajectory}:{start}",
            end=f"{trajectory}:{end}",
            points=sizes.points,
            output=way,
        ),
    )
    report = output / "report.html"
    write_atomically(report, _page(output, sizes, seconds).encode())
    console.rule("done", align="left")
    note(f"{sum(s for _, s in seconds):.0f} s in all; the report: {report.resolve()}")


def show_modes(folder: Path, count: int = 6) -> None:
    """Prints frequency and mutual information of the slowest modes of an analysis."""
    for row in _mode_rows(folder)[:count]:
        information = ", ".join(f"{name} {value} nats" for name, value in row["information"])
        note(f"mode {row['mode']}: ω = {row['omega']} rad/ps; mutual information {information}")


def nearest_frames(trajectory: str, targets: list[tuple[float, float]]) -> list[int]:
    """The frame nearest to each (φ, ψ) in degrees."""
    data = read_trajectories([trajectory])
    torsions = find_torsions(data.molecule, ["phi", "psi"])
    angles = compute_torsions(data.positions, torsions, data.molecule)
    return [int((1.0 - np.cos(angles - np.radians(target))).sum(1).argmin()) for target in targets]


def _mode_rows(folder: Path) -> list[dict[str, Any]]:
    with open(folder / "modes.csv") as modes, open(folder / "mutual_information.csv") as shared:
        rows = []
        for mode, information in zip(csv.DictReader(modes), csv.DictReader(shared), strict=True):
            names = [name for name in information if name != "mode"]
            rows.append(
                {
                    "mode": mode["mode"],
                    "omega": f"{float(mode['omega_rad_per_ps']):.2f}",
                    "period": f"{float(mode['period_ps']):.3f}",
                    "information": [(name, f"{float(information[name]):.2f}") for name in names],
                }
            )
        return rows


def _page(output: Path, sizes: Sizes, seconds: list[tuple[str, float]]) -> str:
    config = read_config(output / "model")
    training = config["training"]
    rows = _mode_rows(output / "analysis")[:6]
    names = [name for name, _ in rows[0]["information"]]
    colvar = np.genfromtxt(output / "metadynamics" / "colvar.csv", delimiter=",", names=True)
    way = np.genfromtxt(output / "path" / "path.csv", delimiter=",", names=True)
    mode_table = html_table(
        ["mode", "ω (rad/ps)", "period (ps)", *(f"{name} (nats)" for name in names)],
        [
            [row["mode"], row["omega"], row["period"], *(value for _, value in row["information"])]
            for row in rows
        ],
        "The slowest modes, and what each knows of the backbone torsions (mutual information).",
    )
    time_table = html_table(
        ["step", "seconds"],
        [[title, f"{value:.0f}"] for title, value in seconds],
        "What ran, and how long it took here.",
    )
    return html_page(
        "From a trajectory to collective variables: alanine dipeptide",
        "<h1>From a trajectory to collective variables: alanine dipeptide</h1>",
        '<p class="lead">Learned from a trajectory file alone: no torsions, no lag time.</p>',
        html_numbers(
            [
                (f"{training['frames']}", "frames to learn from"),
                (f"{len(config['omega_rad_per_ps'])}", "modes of 10 heavy atoms"),
                (f"{training['validation_nll_nats']:.1f} nats", "validation NLL of phase space"),
                (f"{len(np.atleast_1d(colvar))}", "hills added"),
                (f"{way['log_likelihood_nats'].min():.0f} nats", "lowest ln ρ on the path"),
            ]
        ),
        "<h2>Modes</h2>",
        mode_table,
        _figures(output / "analysis"),
        "<h2>Bias</h2>",
        f"<p>Well-tempered metadynamics of {sizes.bias_ns:g} ns on modes 0 and 1: long enough to "
        "see the bias at work, far too short for a converged free energy.</p>",
        html_figure(output / "metadynamics" / "modes.png", "The biased modes over time."),
        html_figure(
            output / "metadynamics" / "free_energy.png",
            "Free energy in the plane of the two slowest modes, from the bias so far.",
        ),
        "<h2>Path</h2>",
        html_figure(
            output / "path" / "path.png",
            "A latent path from the extended to the helical conformation, beside a straight line.",
        ),
        "<h2>What ran</h2>",
        time_table,
        f"<p>All settings: <code>{json.dumps(training['options'])}</code></p>",
    )


def _figures(folder: Path) -> str:
    captions = {
        "frequencies.png": "Learned frequencies, slow to fast.",
        "latent_plane.png": "Frames in the plane of the two slowest modes.",
    }
    return "\n".join(
        html_figure(folder / name, caption)
        for name, caption in captions.items()
        if (folder / name).is_file()
    )
