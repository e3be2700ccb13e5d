"""Exact samples of all-atom alanine dipeptide, beside long molecular dynamics.

No bond is constrained. MD runs with hydrogens of 4 Da, for which 2 fs are short enough:
configurations do not depend on masses. A model learns from every third frame, and its
samples, weighted or accepted by their exact likelihood, are compared with all other frames:
F(φ, ψ), also of φ < 0 alone (`js_left`), the weight of the rare basin (φ > 0), and independent
samples per second of one core.

    python benchmarks/exact_sampling.py md FOLDER --solvent implicit --time-ns 200
    python benchmarks/exact_sampling.py measure FOLDER [--chart cartesian] [--seed N] …
    python benchmarks/exact_sampling.py basins FOLDER OTHER [--seed N]

`md` resumes (16 s per ns in implicit solvent, 4 s in vacuum; `--start TRAJ:FRAME` begins
elsewhere). `measure` trains by the product's own command and appends a line to
exact_sampling.csv, and draws F(φ, ψ) beside the model. `basins` learns from
the frames of two runs that never left their basins, and finds their free-energy difference.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np
import openmm
import torch
from openmm import unit
from scipy.special import rel_entr

import symplectic_cv as sc
from openmm_plugin.energies.hamiltonian import load_hamiltonian
from openmm_plugin.platforms import choose_platform
from openmm_plugin.running.simulation import run_dynamics, write_structure
from openmm_plugin.systems import (
    MolecularSystem,
    Solvent,
    build_system,
    built_in_pdb,
    load_system,
)
from symplectic_cv.bias.blocks import block_of_frames
from symplectic_cv.bias.surfaces import region_difference
from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.flows.options import Chart, Coupling
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.models.model_folder import load_model
from symplectic_cv.reports.style import in_house_style, new_panels, save_figure, torsion_axes
from symplectic_cv.sampling.chains import SampledChains, SamplingOptions, sample_target
from symplectic_cv.sampling.importance import pareto_k
from symplectic_cv.sampling.moves import Method
from symplectic_cv.sampling.results import descriptors
from symplectic_cv.sampling.statistics import autocorrelation_time
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.statistics import effective_share
from symplectic_cv.units import thermal_energy

TEMPERATURE, STRIDE_PS = 300.0, 0.5
KT = thermal_energy(TEMPERATURE)
HEAVY_HYDROGEN, TIMESTEP_FS = 4.0, 2.0
"""Da; fs."""
LEARN_EACH = 3
"""The model sees every third frame. Its first 30 ns would not do: in implicit solvent they may
never visit the rare basin, and what no frame shows no model learns."""
PROPOSALS = 50_000
BINS = 36
"""Along φ and ψ: 10 degrees."""
BLOCKS = 40
LIMIT = 20.0
"""Free energies are drawn below it, kJ/mol."""
TABLE = Path(__file__).with_suffix(".csv")


def dynamics(folder: Path, solvent: Solvent, time_ns: float, seed: int, start: str | None) -> None:
    """MD without constraints; system.xml keeps the real masses. Goes on with what is there."""
    molecule = build_system(built_in_pdb("alanine-dipeptide"), solvent, flexible=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_structure(molecule, folder)
    positions = molecule.positions
    if start is not None:
        name, frame = start.rsplit(":", 1)
        positions = md.load_frame(name, int(frame), top=str(folder / "topology.pdb")).xyz[0]
        positions = positions * unit.nanometer
    system = molecule.system
    for place, atom in enumerate(molecule.topology.atoms()):
        if atom.element.symbol == "H":
            system.setParticleMass(place, HEAVY_HYDROGEN)
    heavy = MolecularSystem(system, molecule.topology, positions)
    platform = choose_platform("Reference", system.getNumParticles())
    begin, before = time.process_time(), _length_ns(folder)
    run_dynamics(
        heavy, folder, time_ns, STRIDE_PS, TIMESTEP_FS, TEMPERATURE, seed, platform,
        checkpoint_ps=1000.0, lossless=True,
    )  # fmt: skip
    made = _length_ns(folder) - before
    print(f"{made:.1f} ns, {(time.process_time() - begin) / max(made, 1e-9):.2f} s per ns")


def _length_ns(folder: Path) -> float:
    path = folder / "trajectory.dcd"
    if not path.is_file():
        return 0.0
    with md.open(str(path)) as file:
        return len(file) * STRIDE_PS * 1e-3


def seconds_per_ps(folder: Path) -> float:
    """The time that one core takes for the MD of a folder, from 20,000 steps of it.

    Of the real masses with a shorter step, which costs the same and counts as a full one.
    """
    molecule = load_system(folder / "system.xml", folder / "topology.pdb")
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 1.0, 5e-4)
    platform = choose_platform("Reference", molecule.system.getNumParticles())
    context = openmm.Context(molecule.system, integrator, platform)
    context.setPositions(molecule.positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    integrator.step(1000)
    begin, n_steps = time.process_time(), 20_000
    integrator.step(n_steps)
    return (time.process_time() - begin) / (n_steps * 1e-3 * TIMESTEP_FS)


def learn(
    trajectories: list[Path], folder: Path, output: Path, chart: Chart, seed: int, **options: Any
) -> float:
    """Trains a model; the seconds of one core, NaN where there was a model already."""
    if (output / "config.json").is_file():
        return math.nan
    begin = time.process_time()
    files = folder / "system.xml", folder / "topology.pdb"
    data = sc.read_trajectories(trajectories, files[1], "all")

    def energies(frame: EckartFrame) -> Hamiltonian:
        return load_hamiltonian(*files, TEMPERATURE, frame)

    known = energies if chart is Chart.INTERNAL else None
    sc.fit(data, TEMPERATURE, chart, seed=seed, energies=known, folder=output, **options)
    return time.process_time() - begin


def target_of(model: Path, folder: Path) -> LatentTarget:
    network = load_model(model)
    hamiltonian = load_hamiltonian(
        folder / "system.xml", folder / "topology.pdb", TEMPERATURE, network.frame
    )
    return LatentTarget(network, ReducedHamiltonian(hamiltonian))


def draw(target: LatentTarget, method: Method, seed: int) -> tuple[SampledChains, float]:
    """Samples of a target and the seconds of one core that they took."""
    begin = time.process_time()
    found = sample_target(target, SamplingOptions(PROPOSALS, method, seed=seed))
    return found, time.process_time() - begin


def torsions_of(target: LatentTarget, samples: SampledChains) -> np.ndarray:
    """φ, ψ of samples, (S, 2) in rad."""
    found = descriptors(target, samples)
    return np.stack([found[name].values.numpy() for name in ("phi", "psi")], -1)


def torsions_of_md(trajectory: Path, top: Path) -> np.ndarray:
    """φ, ψ of frames, (F, 2) in rad."""
    frames = md.iterload(str(trajectory), top=str(top), chunk=20_000)
    return np.concatenate(
        [np.hstack([md.compute_phi(part)[1], md.compute_psi(part)[1]]) for part in frames]
    )


def histogram(angles: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Probabilities of the bins of φ and ψ, (BINS, BINS)."""
    edges = np.linspace(-np.pi, np.pi, BINS + 1).tolist()
    counts = np.histogram2d(*angles.T, [edges, edges], weights=weights)[0]
    return counts / counts.sum()


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen–Shannon divergence of two histograms, nats.

    Example:
        >>> round(divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])), 4)
        0.6931
    """
    middle = 0.5 * (p + q)
    return float(0.5 * sum(rel_entr(part, middle).sum() for part in (p, q)))


def share_of(inside: np.ndarray, weights: np.ndarray, blocks: np.ndarray) -> tuple[float, float]:
    """Weighted share of frames inside and its standard error, from blocks of time."""
    w = weights / weights.mean()
    share = float((w * inside).mean())
    influence = np.bincount(blocks, w * (inside - share)) / len(w)
    return share, float(np.sqrt((influence**2).sum()))


def rare(angles: np.ndarray) -> np.ndarray:
    """The mask of frames at φ > 0, between its two barriers."""
    return (angles[:, 0] > 0.0) & (angles[:, 0] < np.radians(140.0))


def measure(folder: Path, chart: Chart, coupling: Coupling | None, seed: int, steps: int) -> None:
    """Trains a model, samples by it, and compares with the frames it has not seen."""
    name = f"model-{chart.value}-{coupling.value if coupling else 'default'}-{steps}-{seed}"
    learned = folder / "learned.dcd"
    if not learned.is_file():
        md.load(str(folder / "trajectory.dcd"), top=str(folder / "topology.pdb"))[
            ::LEARN_EACH
        ].save_dcd(str(learned))
    options = {"coupling": coupling} | ({"steps": steps} if steps else {})
    trained = learn([learned], folder, folder / name, chart, seed, **options)
    target = target_of(folder / name, folder)
    weighted, seconds = draw(target, Method.IMPORTANCE, seed)
    chains, _ = draw(target, Method.INDEPENDENCE, seed)
    log_w = weighted.proposed_log_weights
    w, ess = np.exp(log_w - log_w.max()), effective_share(log_w)
    sampled = torsions_of(target, weighted)
    reference = torsions_of_md(folder / "trajectory.dcd", folder / "topology.pdb")
    correlation = STRIDE_PS * max(
        autocorrelation_time(f(reference[:, :1])) for f in (np.cos, np.sin)
    )
    unseen = np.delete(reference, np.s_[::LEARN_EACH], 0)
    one = np.ones(len(unseen))
    halves = np.array_split(unseen, 2)
    left, left_sampled = unseen[:, 0] < 0.0, sampled[:, 0] < 0.0
    of_samples = share_of(rare(sampled), w, np.arange(len(w)))
    of_md = share_of(rare(unseen), one, block_of_frames([len(unseen)], BLOCKS))
    per_second = ess * PROPOSALS / seconds
    md_per_second = 1.0 / (seconds_per_ps(folder) * correlation)
    row = {
        "solvent": folder.name,
        "chart": chart.value,
        "coupling": target.model.options.coupling.value,
        "seed": seed,
        "training_s": round(trained),
        "ess": round(ess, 4),
        "acceptance": round(chains.acceptance, 4),
        "pareto_k": round(pareto_k(w), 3),
        "md_ns": len(reference) * STRIDE_PS * 1e-3,
        "js": round(divergence(histogram(sampled, w), histogram(unseen)), 5),
        "js_md_halves": round(divergence(*map(histogram, halves)), 5),
        "js_left": round(
            divergence(histogram(sampled[left_sampled], w[left_sampled]), histogram(unseen[left])),
            5,
        ),
        "js_left_md_halves": round(
            divergence(*(histogram(half[half[:, 0] < 0.0]) for half in halves)), 5
        ),
        "rare": f"{of_samples[0]:.5f}",
        "rare_error": f"{of_samples[1]:.5f}",
        "rare_md": f"{of_md[0]:.5f}",
        "rare_md_error": f"{of_md[1]:.5f}",
        "samples_per_s": round(per_second, 1),
        "md_correlation_ps": round(correlation, 1),
        "md_per_s": round(md_per_second, 3),
        "ratio": round(per_second / md_per_second),
    }
    print("\n".join(f"{key:18} {value}" for key, value in row.items()))
    fresh = not TABLE.is_file()
    with open(TABLE, "a", newline="") as table:
        writer = csv.DictWriter(table, list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    draw_surfaces(folder / f"{name}.png", histogram(unseen), histogram(sampled, w))


@in_house_style
def draw_surfaces(path: Path, of_md: np.ndarray, of_samples: np.ndarray) -> None:
    """F(φ, ψ) of MD, of the samples, and their difference."""
    with np.errstate(divide="ignore"):
        surfaces = [-KT * np.log(p / p.max()) for p in (of_md, of_samples)]
    surfaces = [np.where(f < LIMIT, f, np.nan) for f in surfaces]
    edges = np.degrees(np.linspace(-np.pi, np.pi, BINS + 1))
    panels = new_panels(1, 3, 12.0, 3.7, sharey=True)[0]
    titles = "molecular dynamics", "exact samples", "samples less dynamics"
    for panel, values, title in zip(
        panels, [*surfaces, surfaces[1] - surfaces[0]], titles, strict=True
    ):
        apart = title == titles[2]
        image = panel.pcolormesh(
            edges, edges, values.T, rasterized=True,
            cmap="RdBu_r" if apart else "viridis",
            vmin=-2.0 if apart else 0.0, vmax=2.0 if apart else LIMIT,
        )  # fmt: skip
        what = "difference (kJ/mol)" if apart else "free energy (kJ/mol)"
        panel.figure.colorbar(image, ax=panel, label=what, pad=0.02)
        panel.set_title(title)
        panel.set_xlabel("φ (degrees)")
        torsion_axes(panel)
    panels[0].set_ylabel("ψ (degrees)")
    save_figure(panels, path)


def basins(folder: Path, other: Path, seed: int) -> None:
    """G(C7ax) − G(C7eq) by a model of frames from both, whose ratio it is not told."""
    trajectories = [run / "trajectory.dcd" for run in (folder, other)]
    for run, path in zip((folder, other), trajectories, strict=True):
        side = rare(torsions_of_md(path, run / "topology.pdb"))
        print(f"{run.name}: {len(side)} frames, {side.mean():.4f} of them at φ > 0")
    output = folder / f"model-{folder.name}-{other.name}-{seed}"
    learn(trajectories, folder, output, Chart.INTERNAL, seed)
    target = target_of(output, folder)
    found, _ = draw(target, Method.IMPORTANCE, seed)
    log_w = found.proposed_log_weights
    w = np.exp(log_w - log_w.max())
    side = rare(torsions_of(target, found))
    delta = region_difference(side, ~side, w, KT, np.arange(len(w)) * BLOCKS // len(w))
    print(f"proposals at φ > 0 {side.mean():.4f}, weighted {(w * side).sum() / w.sum():.5f}")
    print(f"importance ESS {effective_share(log_w):.3f}, Pareto exponent {pareto_k(w):.2f}")
    print(f"G(C7ax) - G(C7eq) = {delta.value:.2f} ± {delta.error:.2f} kJ/mol")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for action in ("md", "measure", "basins"):
        of = actions.add_parser(action)
        of.add_argument("folder", type=Path)
        of.add_argument("--seed", type=int, default=0)
        if action == "md":
            of.add_argument("--solvent", type=Solvent, default=Solvent.IMPLICIT)
            of.add_argument("--time-ns", type=float, default=200.0)
            of.add_argument("--start")
        elif action == "measure":
            of.add_argument("--chart", type=Chart, default=Chart.INTERNAL)
            of.add_argument("--coupling", type=Coupling)
            of.add_argument("--steps", type=int, default=0)
        else:
            of.add_argument("other", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.action == "md":
        dynamics(a.folder, a.solvent, a.time_ns, a.seed, a.start)
    elif a.action == "measure":
        measure(a.folder, a.chart, a.coupling, a.seed, a.steps)
    else:
        basins(a.folder, a.other, a.seed)
