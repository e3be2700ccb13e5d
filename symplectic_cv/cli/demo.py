"""`symplectic-cv demo`: the whole workflow once, on alanine dipeptide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import openmm_plugin
import symplectic_cv as sc
from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import console, note, progress_bar, warn
from symplectic_cv.cli.options import option
from symplectic_cv.cli.threads import torch_threads
from symplectic_cv.data.torsions import compute_torsions, find_torsions, nearest_frames
from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.export import EXPORTED
from symplectic_cv.files.run_folder import RUN, start_run
from symplectic_cv.models.model_folder import CONFIG
from symplectic_cv.paths.path import compare_paths
from symplectic_cv.reports.analysis_report import write_analysis_report
from symplectic_cv.reports.demo_report import slowest_modes, write_demo_report
from symplectic_cv.reports.pages import REPORT
from symplectic_cv.reports.path_figures import FIGURE, draw_path
from symplectic_cv.reports.run_report import FREE_ENERGY, draw_biased_run
from symplectic_cv.training.result import TrainingResult

MODES = [0, 1]
"""The modes that are exported and biased."""
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
        float,
        option(help="Factor by which the lengths of simulation, training and bias are multiplied."),
    ] = 1.0,
    backend: o.BackendOption = o.Backend.AUTO,
    seed: o.Seed = 0,
    resume: o.Resume = False,
) -> None:
    """Run the whole workflow on alanine dipeptide, in small, with a report.

    Simulates the molecule in implicit solvent, trains on the trajectory file, compares the modes
    with φ and ψ, exports and biases the two slowest modes, and draws a path between two
    conformations. The last line names the report. Takes less than six minutes on two cores.

    Example: symplectic-cv demo -o demo
    """
    if not 0.0 < scale < float("inf"):
        raise OptionError(f"`scale` must be positive; got {scale}")
    sizes = Sizes().scaled(scale)
    start_run(output, {"command": "demo", "scale": scale, "seed": seed}, resume)
    steps = _Steps(output, sizes, seed, backend)
    seconds: list[tuple[str, float]] = []

    def stage(title: str, done: Path, run: Callable[[], Any]) -> None:
        console.rule(title, align="left")
        started = time.monotonic()
        if not done.exists():
            with torch_threads(1):
                run()
        seconds.append((title, time.monotonic() - started))

    stage(
        f"simulate {sizes.simulation_ns:g} ns, a frame each {sizes.stride_ps:g} ps",
        steps.model,
        steps.simulate,
    )
    data = read_trajectories(steps.trajectory)
    stage(
        f"train {sizes.training_steps} steps, 8 couplings of width {sizes.hidden}",
        steps.model / CONFIG,
        lambda: steps.train(data),
    )
    stage("analyze", steps.analysis / REPORT, lambda: steps.analyze(data))
    show_modes(steps.analysis)
    stage(
        "export modes 0 and 1",
        steps.model / EXPORTED,
        lambda: sc.export(steps.model, modes=MODES),
    )
    stage(
        f"metadynamics of {sizes.bias_ns:g} ns, a hill each {sizes.pace_ps:g} ps",
        steps.bias / FREE_ENERGY,
        steps.metadynamics,
    )
    stage(
        f"path of {sizes.points} points between two conformations",
        steps.path / FIGURE,
        lambda: steps.draw_path(data),
    )
    report = write_demo_report(output, sizes.bias_ns, seconds)
    console.rule("done", align="left")
    note(f"{sum(s for _, s in seconds):.0f} s in all; the report: {report.resolve()}")


class _Steps:
    """The steps of the demo, each a call of the library with its progress.

    Args:
        output: The folder of the demo.
        sizes: How long its steps are.
        seed: The seed of all random numbers.
        backend: The backend that evaluates the modes.
    """

    def __init__(self, output: Path, sizes: Sizes, seed: int, backend: o.Backend) -> None:
        self.sizes, self.seed, self.backend = sizes, seed, backend
        self.md, self.model, self.analysis = output / "md", output / "model", output / "analysis"
        self.bias, self.path = output / "metadynamics", output / "path"
        self.trajectory = self.md / "trajectory.xtc"

    def simulate(self) -> None:
        molecule = openmm_plugin.build_molecule("alanine-dipeptide")
        options = openmm_plugin.SimulationOptions(
            time_ns=self.sizes.simulation_ns, stride_ps=self.sizes.stride_ps, seed=self.seed
        )
        with progress_bar("simulating", round(1000.0 * options.time_ns), "ps") as bar:
            run = openmm_plugin.simulate(
                molecule,
                options=options,
                folder=self.md,
                resume=_begun(self.md),
                progress=lambda progress: bar.to(round(progress.time_ps)),
            )
        note(f"{run.frames} frames: {run.trajectory}")

    def train(self, data: TrajectoryData) -> None:
        with progress_bar("training", self.sizes.training_steps, "steps") as bar:
            result = sc.fit(
                data,
                steps=self.sizes.training_steps,
                hidden=self.sizes.hidden,
                seed=self.seed,
                folder=self.model,
                resume=_begun(self.model),
                progress=lambda step, row: bar.to(step),
            )
        assert isinstance(result, TrainingResult)
        note(
            f"validation NLL of phase space: {result.validation_nll:.2f} nats (quasi-harmonic "
            f"start {result.gaussian_nll:.2f})"
        )

    def analyze(self, data: TrajectoryData) -> None:
        model = sc.load_model(self.model)
        with progress_bar("modes and torsions", 100, "%") as bar:
            found = sc.analyze(
                model, data, seed=self.seed, progress=lambda part: bar.to(round(100 * part))
            )
        found.save(self.analysis)
        write_analysis_report(self.analysis, found, model, self.model)

    def metadynamics(self) -> None:
        options = openmm_plugin.MetadynamicsOptions(
            modes=MODES,
            time_ns=self.sizes.bias_ns,
            pace_ps=self.sizes.pace_ps,
            backend=self.backend.value,
            seed=self.seed,
        )
        with progress_bar("biasing", round(1000.0 * options.time_ns), "ps") as bar:
            openmm_plugin.metadynamics(
                self.model,
                self.md / "system.xml",
                options=options,
                folder=self.bias,
                resume=_begun(self.bias),
                progress=lambda progress: bar.to(round(progress.time_ps)),
                warn=warn,
            )
        draw_biased_run(self.bias)

    def draw_path(self, data: TrajectoryData) -> None:
        torsions = find_torsions(data.molecule, ["phi", "psi"])
        angles = compute_torsions(data.positions, torsions, data.molecule)
        start, end = data.positions[nearest_frames(angles, [BETA_SHEET, ALPHA_HELIX])]
        compared = compare_paths(self.model, start, end, points=self.sizes.points)
        compared.path.save(self.path)
        draw_path(self.path, compared.path, compared)
        lowest, straight = (
            path.log_likelihood.min() for path in (compared.path, compared.straight)
        )
        note(
            f"lowest log-likelihood on the latent path: {lowest:.1f} nats; on the straight line: "
            f"{straight:.1f} nats"
        )


def _begun(folder: Path) -> bool:
    """Whether a step was begun before, so that it is resumed."""
    return (folder / RUN).is_file()


def show_modes(folder: Path) -> None:
    """Prints frequency and mutual information of the slowest modes of an analysis."""
    modes = slowest_modes(folder)
    for _, row in modes.iterrows():
        information = ", ".join(f"{name} {row[name]:.2f} nats" for name in modes.columns[3:])
        omega = f"{row['omega_rad_per_ps']:.2f}"
        note(f"mode {row['mode']:.0f}: ω = {omega} rad/ps; mutual information {information}")
