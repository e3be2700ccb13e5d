"""`symplectic-cv demo`: every other command once, on alanine dipeptide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from symplectic_cv.cli import options as o
from symplectic_cv.cli.analyze import analyze
from symplectic_cv.cli.console import console, note
from symplectic_cv.cli.export import export
from symplectic_cv.cli.metadynamics import metadynamics
from symplectic_cv.cli.options import option
from symplectic_cv.cli.path import path as draw_path
from symplectic_cv.cli.simulate import simulate
from symplectic_cv.cli.train import train
from symplectic_cv.data.torsions import compute_torsions, find_torsions, nearest_frames
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import OptionError
from symplectic_cv.files.run_folder import start_run
from symplectic_cv.reports.demo_report import slowest_modes, write_demo_report

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
            pace_ps=sizes.pace_ps,
            backend=backend,
            seed=seed,
            resume=resume,
        ),
    )
    data = read_trajectories(trajectory)
    torsions = find_torsions(data.molecule, ["phi", "psi"])
    angles = compute_torsions(data.positions, torsions, data.molecule)
    start, end = nearest_frames(angles, [BETA_SHEET, ALPHA_HELIX])
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
    report = write_demo_report(output, sizes.bias_ns, seconds)
    console.rule("done", align="left")
    note(f"{sum(s for _, s in seconds):.0f} s in all; the report: {report.resolve()}")


def show_modes(folder: Path) -> None:
    """Prints frequency and mutual information of the slowest modes of an analysis."""
    modes = slowest_modes(folder)
    for _, row in modes.iterrows():
        information = ", ".join(f"{name} {row[name]:.2f} nats" for name in modes.columns[3:])
        omega = f"{row['omega_rad_per_ps']:.2f}"
        note(f"mode {row['mode']:.0f}: ω = {omega} rad/ps; mutual information {information}")
