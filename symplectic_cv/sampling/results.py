"""The numbers by which a sampling is judged, and its files: samples, table and summary."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np
import torch

from symplectic_cv.files.atomic import replaced_whole, write_atomically
from symplectic_cv.files.tables import write_table
from symplectic_cv.files.trajectories import TrajectoryFormat
from symplectic_cv.flows.options import Chart
from symplectic_cv.hamiltonians.base import Descriptor
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.paths.latent_path import LatentPath, mode_columns
from symplectic_cv.sampling.chains import SampledChains, SamplingOptions
from symplectic_cv.sampling.importance import RELIABLE_TAIL, pareto_k
from symplectic_cv.sampling.moves import MOVES, Method
from symplectic_cv.sampling.statistics import (
    autocorrelation_time,
    split_rhat,
    standard_error,
)
from symplectic_cv.sampling.target import LatentTarget
from symplectic_cv.statistics import effective_share, effective_size
from symplectic_cv.units import thermal_energy

SUMMARY, TABLE = "summary.json", "samples.csv"
SLOWEST = 2
"""Modes whose autocorrelation is watched, beside the energy and the descriptors."""
AGREE = 1.05
"""R̂ above this: the chains have not forgotten where they began."""
FEW = 100
"""Fewer effective samples than this give poor averages."""
LEAST_SAMPLES = 2.0
"""Effective samples that a standard error takes."""


def write_trajectory(
    folder: Path,
    model: NeuralCanonicalTransformation,
    positions: np.ndarray,
    kind: TrajectoryFormat = TrajectoryFormat.DCD,
) -> None:
    """Writes samples.dcd (or samples.xtc) with topology.pdb, whole files or none.

    Args:
        folder: The folder to write into.
        model: The model, which knows the atoms.
        positions: The structures, shape (F, N, 3), in nm.
        kind: The format of the structures.
    """
    structures = md.Trajectory(positions.astype(np.float32), model.molecule.topology)
    for name, what in (("topology.pdb", structures[0]), (f"samples.{kind.value}", structures)):
        with replaced_whole(folder / name) as aside:
            what.save(str(aside))


def write_conditional(
    folder: Path,
    model: NeuralCanonicalTransformation,
    way: LatentPath,
    target: LatentTarget | None,
    kind: TrajectoryFormat = TrajectoryFormat.DCD,
) -> np.ndarray | None:
    """Writes structures at values of modes and their table.

    Args:
        folder: The folder to write into.
        model: The model.
        way: The structures.
        target: The density that gives weights, or None.
        kind: The format of the structures.

    Returns:
        ln w of the structures, shape (F,), where there is a target.
    """
    u = torch.from_numpy(way.latent)
    energy = weight = np.full(len(u), np.nan)
    log_weight = None
    if target is not None:
        with torch.no_grad():
            points = target.decode(u)
        energy = energy_scale(target)[0] * points.energy.numpy()
        log_weight = points.log_weight.numpy()
        weight = np.exp(log_weight - log_weight.max())
        weight = weight / weight.mean()
    write_trajectory(folder, model, way.positions, kind)
    table = {
        "sample": np.arange(len(u)),
        "log_likelihood": way.log_likelihood,
        "energy": energy,
        "weight": weight,
        **mode_columns(way.latent, way.modes),
    }
    write_table(folder / TABLE, table, "%.8g")
    return log_weight


def coordinates(target: LatentTarget, samples: SampledChains) -> np.ndarray:
    """The coordinates q of all samples in the Hamiltonian's own units, (S·C, n)."""
    x = samples.x.reshape(-1, samples.x.shape[-1])
    return x[:, x.shape[1] - target.model.dimension :] / math.sqrt(target.reduced.scale)


def descriptors(target: LatentTarget, samples: SampledChains) -> Mapping[str, Descriptor]:
    """The Hamiltonian's descriptors of all samples; torsions for a molecule."""
    q = torch.from_numpy(coordinates(target, samples))
    return target.reduced.hamiltonian.descriptors(q)


def energy_scale(target: LatentTarget) -> tuple[float, str]:
    """The energy of one nat, and its unit."""
    if isinstance(target.model, NeuralCanonicalTransformation):
        return thermal_energy(target.model.temperature), "kJ/mol"
    return 1.0 / target.reduced.beta, "reduced units"


def weights(samples: SampledChains, method: Method) -> np.ndarray:
    """The weight of each sample in averages, (S·C,), with mean 1; all equal unless `importance`."""
    log_weight = samples.log_weight.reshape(-1)
    if method is not Method.IMPORTANCE:
        return np.ones(len(log_weight))
    w = np.exp(log_weight - log_weight.max())
    return w / w.mean()


def sampling_summary(
    target: LatentTarget, samples: SampledChains, options: SamplingOptions
) -> dict[str, Any]:
    """The numbers by which a sampling is judged, for summary.json."""
    found = descriptors(target, samples)
    shape = samples.energy.shape
    scale, unit = energy_scale(target)
    energies = scale * samples.energy
    w = weights(samples, options.method)
    chains = options.method in MOVES
    log_w = samples.proposed_log_weights
    share = effective_share(log_w)
    times, rhats = {}, {}
    if chains:
        watched = {"energy": energies}
        # modes of torsions are no latent coordinates
        latent = "latent" if target.model.options.chart is Chart.TORSION else "mode"
        watched |= {f"{latent}_{k}": samples.u[..., -target.model.dimension :][..., k]
                    for k in range(min(SLOWEST, target.model.dimension))}  # fmt: skip
        for name, descriptor in found.items():
            values = descriptor.values.numpy().reshape(shape)
            if descriptor.circular:
                watched |= {f"cos_{name}": np.cos(values), f"sin_{name}": np.sin(values)}
            else:
                watched[name] = values
        times = {name: autocorrelation_time(series) for name, series in watched.items()}
        rhats = {name: split_rhat(series) for name, series in watched.items()}
        mean = float(energies.reshape(-1)[: options.samples].mean())
        error: float | None = standard_error(energies)
        slowest = max(times.values())
        ess = energies.size / slowest
    else:
        with_weight = w > 0.0
        usable = np.where(with_weight, energies.reshape(-1), 0.0)
        mean = float((w * usable).mean())
        slowest = 1.0
        ess = effective_size(w)
        # a single sample has no spread
        spread = float(np.sqrt(np.mean((w * (usable - mean)) ** 2) / len(w)))
        error = spread if ess >= LEAST_SAMPLES else None
    finite = np.isfinite(log_w)
    return {
        "method": options.method.value,
        "samples": min(options.samples, energies.size),
        "chains": shape[1],
        "thin": options.thin,
        "warmup": options.warmup if chains else 0,
        "proposals": samples.proposals,
        "acceptance": samples.acceptance,
        "ess_importance": share,
        "ess_chain": ess,
        "autocorrelation": slowest,
        "rhat": max(rhats.values()) if rhats else None,
        "autocorrelation_of": times,
        "rhat_of": rhats,
        "step_size": samples.size,
        "mean_energy": mean,
        "mean_energy_standard_error": error,
        "proposals_without_weight": float(1.0 - finite.mean()),
        "pareto_k": pareto_k(np.exp(log_w - log_w.max())),
        "units": {
            "ess_importance": "share of the flow's samples, 0 to 1",
            "ess_chain": "independent samples",
            "autocorrelation": "kept samples of a chain (1: independent)",
            "energy": unit,
            "log_likelihood": "nats",
        },
    }


def sampling_cautions(summary: Mapping[str, Any]) -> list[str]:
    """Warnings about a sampling that is not good enough to trust."""
    messages = []
    rhat = summary["rhat"]
    if rhat is not None and not rhat < AGREE:
        messages.append(
            f"the chains do not agree yet (R̂ {rhat:.3f}, should be below {AGREE}): ask for more "
            "`samples`, a longer `warmup`, or use another `method`"
        )
    if summary["ess_chain"] < FEW:
        messages.append(
            f"only {summary['ess_chain']:.0f} effective samples: ask for more `samples`"
        )
    weighted = summary["method"] in (Method.IMPORTANCE.value, Method.REJECTION.value)
    if weighted and summary["pareto_k"] > RELIABLE_TAIL:
        messages.append(
            f"the weights have a heavy tail (exponent {summary['pareto_k']:.2f}): averages depend "
            "on a few samples; `method` pcn, hmc or hybrid does better"
        )
    return messages


def write_samples(
    folder: Path,
    target: LatentTarget,
    samples: SampledChains,
    options: SamplingOptions,
    kind: TrajectoryFormat = TrajectoryFormat.DCD,
) -> None:
    """Writes samples.dcd (or samples.xtc) with topology.pdb, or samples.npz, and samples.csv.

    Args:
        folder: The folder to write into.
        target: The density that was sampled.
        samples: The samples as the chains made them.
        options: How they were drawn; no more than `options.samples` are written.
        kind: The format of the structures of a molecule.
    """
    model = target.model
    n = min(options.samples, samples.energy.size)
    q = coordinates(target, samples)[:n]
    if isinstance(model, NeuralCanonicalTransformation):
        positions = model.frame.positions(torch.from_numpy(q)).numpy()
        write_trajectory(folder, model, positions, kind)
    else:
        arrays = {"q": q, "u": samples.u.reshape(-1, samples.u.shape[-1])[:n]}
        if not target.only_coordinates:
            x = samples.x.reshape(-1, samples.x.shape[-1])[:n]
            arrays["p"] = x[:, : model.dimension] / math.sqrt(target.reduced.scale)
        with replaced_whole(folder / "samples.npz") as aside:
            np.savez(aside, **arrays)  # type: ignore[arg-type]
    n_steps, n_chains = samples.energy.shape
    step, chain = np.divmod(np.arange(n_steps * n_chains), n_chains)
    table = {
        "chain": chain,
        "step": step,
        "log_likelihood": samples.log_likelihood.reshape(-1),
        "energy": energy_scale(target)[0] * samples.energy.reshape(-1),
        "weight": weights(samples, options.method),
        "log_weight": samples.log_weight.reshape(-1),
    }
    write_table(folder / TABLE, {name: column[:n] for name, column in table.items()}, "%.8g")


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """summary.json, the last file of a run."""
    write_atomically(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
