"""The sections `train` and `energies` of gpu.py."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import mdtraj as md
import numpy as np
import openmm
import torch
from gpu import DATA, DEVICE, PLATFORM, SHORT, attempt, platform_and, record

import symplectic_cv as sc
from openmm_plugin.energies.molecular_energy import MolecularEnergy
from openmm_plugin.systems import load_system
from symplectic_cv.training.devices import captured
from symplectic_cv.training.likelihood import negative_log_likelihood
from symplectic_cv.training.options import TrainingOptions

# --- training


class Enough(Exception):
    """A training that has been timed."""


def train() -> None:
    """The command's own training, then its steps alone; one CPU core against the GPU."""
    torch.set_num_threads(1)
    data = sc.read_trajectories([str(DATA / "md/trajectory.xtc")], top=DATA / "md/topology.pdb")
    for options in (
        {"batch": 512},
        {"batch": 8192},
        {"batch": 512, "coupling": "spline"},
        {"chart": "internal"},
    ):
        for device in dict.fromkeys(("cpu", DEVICE)):
            name = "fit " + " ".join(map(str, options.values())) + f" {device}"
            made = TrainingOptions(**options, device=device)  # type: ignore[arg-type]
            attempt("train", name, functools.partial(fitted, name, data, made))
    for hidden, batch in ((64, 512), (64, 8192), (256, 8192)):
        for device in dict.fromkeys(("cpu", DEVICE)):
            name = f"steps alone hidden {hidden} batch {batch} {device}"
            work = functools.partial(steps_alone, name, data, hidden, batch, device)
            attempt("train", name, work)


def fitted(name: str, data: sc.TrajectoryData, options: TrainingOptions) -> None:
    """Steps per second of `sc.train`, without its beginning (compilation, capture)."""
    prepared = sc.prepare(data.positions[::2], data.molecule, 300.0, options)
    marks: list[tuple[int, float]] = []
    begin = time.perf_counter()

    def progress(step: int, row: Any) -> None:
        marks.append((step, time.perf_counter()))
        if len(marks) > 2 and marks[-1][1] - marks[0][1] > (0.5 if SHORT else 3.0):
            raise Enough

    with contextlib.suppress(Enough):
        sc.train(prepared, None, progress)
    (first, since), (last, until) = marks[0], marks[-1]
    rate = (last - first) / (until - since)
    record("train", **{name: {"steps_per_s": rate, "seconds_to_step_10": since - begin}})


def rate_of(work: Callable[[], Any], device: str) -> float:
    """Calls per second."""
    limit, group = (0.3 if SHORT else 1.5), (5 if device == "cuda" else 1)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        work()
    wait()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < limit:
        for _ in range(group):
            work()
        wait()
        count += group
    return count / (time.perf_counter() - begin)


def steps_alone(name: str, data: sc.TrajectoryData, hidden: int, batch: int, device: str) -> None:
    """Optimizer steps without Lightning and without new batches; with graphs and without."""
    options = TrainingOptions(hidden=hidden, batch=batch, device="cpu")
    prepared = sc.prepare(data.positions[::20], data.molecule, 300.0, options)
    model = prepared.model.to(device)
    q = prepared.training[torch.randint(len(prepared.training), (batch,))].to(device)
    p = torch.randint(0, 2, q.shape).float().mul(2).sub(1).to(device)

    def terms(p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        configuration, momentum = negative_log_likelihood(model, p, q)
        loss = (configuration + momentum).mean()
        return loss, loss.detach()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    for kind, function in {"": terms, " graphs": captured(model, terms, (p, q))}.items():
        if function is terms and kind:
            continue

        def step(function: Any = function) -> None:
            optimizer.zero_grad(set_to_none=True)
            function(p, q)[0].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()

        record("train", **{f"{name}{kind} steps_per_s": rate_of(step, device)})


# --- energies: the pool of the CPU against the GPU; broken and clashing structures too


def energies() -> None:
    molecule = load_system(DATA / "flexible/system.xml")
    folder = DATA / "flexible"
    trajectory = md.load(str(folder / "trajectory.xtc"), top=str(folder / "topology.pdb"))
    x = trajectory.xyz[:: max(1, len(trajectory) // 200)][:200].astype(np.float64)
    rng = np.random.default_rng(0)
    scales = np.linspace(0.05, 0.8, 40)[:, None, None]
    clashes = x[0].mean(0) + scales * (x[0] - x[0].mean(0))
    clashes += 1e-3 * rng.normal(size=clashes.shape)
    reference = MolecularEnergy(molecule.system, openmm.Platform.getPlatformByName("Reference"))
    right = reference.evaluate(x), reference.evaluate(clashes)
    for precision in ("mixed", "double"):
        work = functools.partial(accuracy, precision, molecule.system, (x, clashes), right)
        attempt("energies", precision, work)
    many = np.concatenate([x] * (2 if SHORT else 50))
    for workers in (1, 4) if SHORT else (1, 8, 16):
        for name in dict.fromkeys(("Reference", PLATFORM)):
            work = functools.partial(throughput, name, molecule.system, many, workers)
            attempt("energies", f"{name} {workers} workers", work)


def accuracy(
    precision: str,
    system: openmm.System,
    structures: tuple[np.ndarray, np.ndarray],
    right: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Energies and forces of good structures, and the forces of clashing ones."""
    platform, properties = platform_and(precision)
    for key, value in properties.items():
        platform.setPropertyDefaultValue(key, value)
    energy = MolecularEnergy(system, platform)
    found, forces = energy.evaluate(structures[0])
    (wanted, wanted_forces), (_, hard_forces) = right
    record(
        "energies",
        **{
            precision: {
                "energy_off_kj": float(np.abs(found - wanted).max()),
                "force_off_relative": float(
                    np.abs(forces - wanted_forces).max() / np.abs(wanted_forces).max()
                ),
            }
        },
    )
    found, forces = energy.evaluate(structures[1])
    turned = [
        float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-300))
        for a, b in zip(forces, hard_forces, strict=True)
    ]
    wrong = [k for k, c in enumerate(turned) if c < 0.99 and np.isfinite(found[k])]
    record(
        "energies",
        **{
            f"{precision} clashes": {
                "refused": int((~np.isfinite(found)).sum()),
                "of": len(found),
                "forces_that_point_elsewhere": len(wrong),
                "least_of_those_kj_nm": float(
                    min((np.abs(hard_forces[k]).max() for k in wrong), default=np.nan)
                ),
            }
        },
    )


def throughput(name: str, system: openmm.System, many: np.ndarray, workers: int) -> None:
    platform = openmm.Platform.getPlatformByName(name)
    energy = MolecularEnergy(system, platform, workers)
    energy.evaluate(many[:50])
    count = min(len(many), 2000 if workers == 1 and name == PLATFORM else len(many))
    begin = time.perf_counter()
    energy.evaluate(many[:count])
    rate = count / (time.perf_counter() - begin)
    record("energies", **{f"{name} {workers} workers structures_per_s": rate})
