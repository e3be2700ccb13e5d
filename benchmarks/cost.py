"""The cost of a learned collective variable: `make bench` prints a table and writes bench.json.

The standard model: alanine dipeptide, 10 heavy atoms, 24 dimensions, 8 affine couplings, 2×128
hidden. Its weights are as trainings leave them in size, not trained: the cost is the same.

Each number is the median of several windows, with the least and the greatest beside it. Times are
those of this process alone (CPU seconds), in windows that take turns, so that a busy machine
changes ratios little. One thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENMM_CPU_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import mdtraj as md
import numpy as np
import openmm
import torch
from openmm import app, unit
from rich.console import Console
from rich.table import Table

from openmm_plugin import versions
from openmm_plugin.biasing.equilibration import equilibrate
from openmm_plugin.biasing.native_engine import NativeMetadynamics
from openmm_plugin.biasing.openmm_engine import Metadynamics
from openmm_plugin.biasing.run import BiasOptions
from openmm_plugin.forces import mode_forces
from openmm_plugin.running.simulation import langevin_simulation, relaxed_state, start_from
from openmm_plugin.systems import MolecularSystem, Solvent, build_system, built_in_pdb
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.native_core import Core
from symplectic_cv.exporting.torchscript import load_exported, script
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.molecule import select_atoms
from symplectic_cv.training.likelihood import initial_model

TIMESTEP = 0.002
PACE = 500
WINDOWS = 9
TORCHFORCE = versions.torchforce_problem() is None

Window = Callable[[], float]
"""Runs once and says what it measured."""


class Results(dict[str, Any]):
    """Numbers by name; each with least and greatest of its windows."""

    def put(self, name: str, values: Sequence[float]) -> float:
        self[name] = statistics.median(values)
        self[f"{name}_min"], self[f"{name}_max"] = min(values), max(values)
        return self[name]


def in_turn(windows: dict[str, Window], count: int = WINDOWS) -> dict[str, list[float]]:
    """Every window once to warm up, then `count` rounds of all of them."""
    for window in windows.values():
        window()
    found: dict[str, list[float]] = {name: [] for name in windows}
    for _ in range(count):
        for name, window in windows.items():
            found[name].append(window())
    return found


def timed(work: Callable[[], object], repeats: int) -> Window:
    """CPU microseconds of one call."""

    def window() -> float:
        start = time.process_time()
        for _ in range(repeats):
            work()
        return (time.process_time() - start) / repeats * 1e6

    return window


def standard_model(molecule: MolecularSystem) -> NeuralCanonicalTransformation:
    """The model whose cost is measured, around 200 ps of dynamics of its own molecule."""
    reference = openmm.Platform.getPlatformByName("Reference")
    simulation = langevin_simulation(molecule, molecule.system, 300.0, TIMESTEP, 0, reference)
    heavy = select_atoms(md.Topology.from_openmm(molecule.topology), None)
    frames = []
    for _ in range(2000):
        simulation.step(50)
        positions = simulation.context.getState(positions=True).getPositions(asNumpy=True)
        frames.append(np.asarray(positions.value_in_unit(unit.nanometer))[heavy.indices])
    model, _ = initial_model(np.array(frames), heavy, 300.0, FlowOptions(layers=8, hidden=128))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


def bare_system(molecule: MolecularSystem, forces: Sequence[openmm.Force]) -> openmm.Context:
    """Particles that feel the modes alone: a step costs little else."""
    system = openmm.System()
    for k in range(molecule.system.getNumParticles()):
        system.addParticle(molecule.system.getParticleMass(k))
    for force in forces:
        system.addForce(force)
    context = openmm.Context(
        system,
        openmm.VerletIntegrator(1e-7),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(molecule.positions)
    return context


def autograd_force(path: Path, mode: int) -> openmm.Force:
    """TorchForce that leaves the gradient to autograd, as the usual export does."""
    import openmmtorch

    class Energy(torch.nn.Module):
        def __init__(self, cv: torch.jit.ScriptModule, mode: int) -> None:
            super().__init__()
            self.cv = cv
            self.mode = mode

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            return self.cv(positions, None)[self.mode]

    return openmmtorch.TorchForce(torch.jit.script(Energy(load_exported(path)[0], mode)))


def evaluations(
    results: Results, molecule: MolecularSystem, model: NeuralCanonicalTransformation, aside: Path
) -> None:
    """Value and gradient by every backend inside OpenMM, and the core called from NumPy."""
    for n in (1, 2):
        export(model, list(range(n)), aside / f"cv{n}.pt")
    one, two = aside / "cv1.pt", aside / "cv2.pt"
    lone = aside / "lone.pt"  # without its file for the core: TorchScript
    lone.write_bytes(one.read_bytes())
    contexts = {
        "none": (bare_system(molecule, []), 4000),
        "native": (bare_system(molecule, mode_forces(one, molecule.system, "native")), 1000),
        "two": (bare_system(molecule, mode_forces(two, molecule.system, "native")), 1000),
        "pythonforce": (bare_system(molecule, mode_forces(one, molecule.system, "python")), 200),
        "pythonforce_torchscript": (
            bare_system(molecule, mode_forces(lone, molecule.system, "python")),
            60,
        ),
    }
    if TORCHFORCE:
        forces = mode_forces(one, molecule.system, "torchforce")
        contexts["torchforce"] = (bare_system(molecule, forces), 60)
        contexts["torchforce_autograd"] = (bare_system(molecule, [autograd_force(one, 0)]), 30)
    windows = {}
    for name, (context, steps) in contexts.items():
        step = context.getIntegrator().step
        windows[name] = timed(lambda step=step, steps=steps: step(steps), 1)  # type: ignore[misc]
        if name.startswith(("torch", "python")):
            step(5)  # TorchScript compiles in its first calls
    found = in_turn(windows)
    cost = {
        name: [
            (value / contexts[name][1] - base / contexts["none"][1])
            for value, base in zip(values, found["none"], strict=True)
        ]
        for name, values in found.items()
    }
    for name in cost:
        if name not in ("none", "two"):
            results.put(f"cv_{name}_us", cost[name])
    ratio = [a / b for a, b in zip(cost["two"], cost["native"], strict=True)]
    results.put("two_modes_over_one", ratio)
    if TORCHFORCE:
        faster = [a / b for a, b in zip(cost["torchforce_autograd"], cost["native"], strict=True)]
        results.put("native_faster_than_autograd", faster)

    core = Core(one.with_suffix(".safetensors").read_bytes())
    x = np.asarray(molecule.positions.value_in_unit(unit.nanometer))[None]
    many = (x + 0.01 * np.random.default_rng(1).normal(size=(20_000, *x.shape[1:]))).astype(
        np.float32
    )
    found = in_turn(
        {
            "call": timed(lambda: core.values_and_gradients(x), 500),
            "many": timed(lambda: core.values(many), 1),
        }
    )
    results.put("core_call_us", found["call"])
    results.put("core_frames_per_s", [len(many) / value * 1e6 for value in found["many"]])
    results["core_instructions"] = core.instructions


def agreement(results: Results, model: NeuralCanonicalTransformation, aside: Path) -> None:
    """The core against the exported module with the very weights in float64."""
    core = Core((aside / "cv2.safetensors").read_bytes())
    module = script(model.double(), [0, 1])
    reference = model.frame.reference.numpy()
    rng = np.random.default_rng(2)
    heavy = reference + 0.02 * rng.normal(size=(200, *reference.shape))
    x = np.zeros((200, int(core.indices.max()) + 1, 3))
    x[:, core.indices] = heavy
    values, gradients = core.values_and_gradients(x)
    identity = torch.eye(2, dtype=torch.float64)
    off, slope = 0.0, 0.0
    for f in range(len(x)):
        right, slopes = module.values_and_gradients(torch.as_tensor(x[f]), None, identity)
        off = max(off, float(np.abs(right.numpy() - values[f]).max()))
        scale = np.abs(slopes.numpy()).max()
        slope = max(slope, float(np.abs(slopes.numpy() - gradients[f]).max() / scale))
    results["agreement_values"] = off
    results["agreement_gradient_relative"] = slope
    results["net_force_per_nm"] = float(np.abs(gradients.sum(2)).max())
    results["net_torque"] = float(np.abs(np.cross(x[:, None], gradients).sum(2)).max())


def engine(
    kind: str, system: openmm.System, path: Path, options: BiasOptions
) -> Metadynamics | NativeMetadynamics:
    if kind == "own":
        content = path.with_suffix(".safetensors").read_bytes()
        return NativeMetadynamics(system, content, options, PACE)
    return Metadynamics(system, mode_forces(path, system, kind), options, PACE)


def biased_runs(
    molecule: MolecularSystem,
    platform: openmm.Platform,
    path: Path,
    kinds: Sequence[str],
    steps: int,
    windows: int = WINDOWS,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Steps per second: unbiased, and in metadynamics of two modes by each kind of force."""
    options = BiasOptions(timestep_fs=1000 * TIMESTEP)
    # widths, and with them the grid, as the command chooses them
    state, fluctuation = equilibrate(
        molecule, mode_forces(path, molecule.system, "native"), options, platform
    )
    options = options.with_fluctuation(fluctuation.tolist())
    runs: dict[str, Window] = {}

    def window(move: Callable[[int], object], finish: Callable[[], object]) -> Window:
        def measure() -> float:
            finish()
            start = clock()
            move(steps)
            finish()
            return steps / (clock() - start)

        return measure

    for kind in ("unbiased", *kinds):
        system = openmm.XmlSerializer.clone(molecule.system)
        meta = None if kind == "unbiased" else engine(kind, system, path, options)
        simulation = langevin_simulation(molecule, system, 300.0, TIMESTEP, 0, platform)
        start_from(simulation, state)

        def finish(simulation: app.Simulation = simulation) -> None:
            simulation.context.getState(positions=True)  # what a GPU has yet to do

        if meta is None:
            runs[kind] = window(simulation.step, finish)
        else:
            runs[kind] = window(
                lambda n, meta=meta, simulation=simulation: meta.step(simulation, n),  # type: ignore[misc]
                finish,
            )
    found = in_turn(runs, windows)
    found["grid"] = options.grid(2).points  # type: ignore[assignment]
    return found


def fractions(found: dict[str, list[float]], kind: str) -> list[float]:
    return [a / b for a, b in zip(found[kind], found["unbiased"], strict=True)]


def gpu_table(results: Results, molecule: MolecularSystem, path: Path, platform: str) -> None:
    """Explicit solvent on a GPU, by wall clock: every backend's overhead."""
    chosen = openmm.Platform.getPlatformByName(platform)
    kinds = ["own", "native", "python", *(["torchforce"] if TORCHFORCE else [])]
    found = biased_runs(molecule, chosen, path, kinds, 2000, 5, time.perf_counter)
    results.put("gpu_unbiased_steps_per_s", found["unbiased"])
    for kind in kinds:
        results.put(f"gpu_overhead_{kind}", [1.0 / f - 1.0 for f in fractions(found, kind)])
    if TORCHFORCE:
        results["gpu_overhead_torchforce_cuda_graphs"] = _cuda_graphs(molecule, chosen, path)
    results["gpu"] = platform


def _cuda_graphs(molecule: MolecularSystem, platform: openmm.Platform, path: Path) -> Any:
    """Overhead of one mode through TorchForce with CUDA graphs, or why it does not run."""
    rates = []
    for biased in (False, True):
        system = openmm.XmlSerializer.clone(molecule.system)
        if biased:
            force = mode_forces(path, system, "torchforce")[0]
            force.setProperty("useCUDAGraphs", "true")
            system.addForce(force)
        simulation = langevin_simulation(molecule, system, 300.0, TIMESTEP, 0, platform)
        try:
            simulation.step(500)
            start = time.perf_counter()
            simulation.step(2000)
            simulation.context.getState(positions=True)
        except openmm.OpenMMException as error:
            return f"does not run: {str(error).splitlines()[0]}"
        rates.append(2000 / (time.perf_counter() - start))
    return rates[0] / rates[1] - 1.0


def run(results: Results) -> None:
    """All of it, into `results` as it comes; some minutes."""
    console = Console()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    results["load_average_at_start"] = load
    implicit = build_system(built_in_pdb("alanine-dipeptide"), Solvent.IMPLICIT)
    reference = openmm.Platform.getPlatformByName("Reference")
    state = relaxed_state(implicit, 300.0, TIMESTEP, 0, reference)
    implicit.positions = state.getPositions()
    model = standard_model(implicit)
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        console.print("value and gradient by every backend …")
        evaluations(results, implicit, model, aside)
        agreement(results, model, aside)
        path = aside / "cv2.pt"
        console.print("metadynamics in implicit solvent …")
        found = biased_runs(implicit, reference, path, ["native", "own"], 5000)
        results["grid_points"] = found.pop("grid")
        results.put("unbiased_steps_per_s", found["unbiased"])
        results.put("metadynamics_fraction_of_unbiased", fractions(found, "native"))
        results.put("metadynamics_fraction_of_unbiased_owned_grid", fractions(found, "own"))
        console.print("metadynamics in explicit solvent …")
        explicit = build_system(built_in_pdb("alanine-dipeptide"), Solvent.EXPLICIT)
        cpu = openmm.Platform.getPlatformByName("CPU")
        found = biased_runs(explicit, cpu, path, ["own"], 250, 7)
        results["explicit_atoms"] = explicit.system.getNumParticles()
        results.put("explicit_overhead", [1.0 / f - 1.0 for f in fractions(found, "own")])
        known = [
            openmm.Platform.getPlatform(k).getName()
            for k in range(openmm.Platform.getNumPlatforms())
        ]
        for platform in ("CUDA", "HIP"):
            if platform in known:
                console.print(f"explicit solvent on {platform} …")
                gpu_table(results, explicit, path, platform)
                break
        else:
            results["gpu"] = "none here"
    results["load_average_at_end"] = os.getloadavg()[0]


GOALS = {
    "cv_native_us": "≤ 30",
    "native_faster_than_autograd": "≥ 60",
    "agreement_values": "≤ 1e-5",
    "agreement_gradient_relative": "≤ 1e-4",
    "net_force_per_nm": "≤ 1e-10",
    "net_torque": "≤ 1e-10",
    "metadynamics_fraction_of_unbiased": "≥ 0.45",
    "metadynamics_fraction_of_unbiased_owned_grid": "≥ 0.60",
    "two_modes_over_one": "≤ 1.25",
    "explicit_overhead": "≤ 0.05",
    "core_frames_per_s": "≥ 50000",
}


def show(results: Results) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "median", "min", "max", "goal"):
        table.add_column(column, justify="left" if column in ("", "goal") else "right")
    for name, value in results.items():
        if name.endswith(("_min", "_max")):
            continue
        cells = [
            f"{number:.4g}" if isinstance(number, float) else str(number)
            for number in (value, results.get(f"{name}_min", ""), results.get(f"{name}_max", ""))
        ]
        table.add_row(name, *cells, GOALS.get(name, ""))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    results = Results()
    try:
        run(results)
    finally:  # an interrupted run keeps what it has
        write(results, arguments.output)
    show(results)


def write(results: Results, path: Path) -> None:
    """Adds to the file, in which other benchmarks keep their numbers too."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(known | results, indent=1) + "\n")


if __name__ == "__main__":
    main()
