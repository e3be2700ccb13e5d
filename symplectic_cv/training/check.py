"""A report on frames before a training: what was read, what was found, what limits a model."""

from __future__ import annotations

from collections import Counter

import numpy as np

from symplectic_cv.data.advice import SAFE, repeated_molecule
from symplectic_cv.data.handedness import handedness_of
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.training.preparation import PreparedTraining


def report_on_frames(data: TrajectoryData) -> list[str]:
    """Lines on the frames and atoms that were read.

    Args:
        data: The frames.
    """
    molecule = data.molecule
    dimension = 3 * molecule.n_atoms - 6
    lines = [
        f"{name}: {length} frames" for name, length in zip(data.names, data.lengths, strict=True)
    ]
    first, last = molecule.atom_label(0), molecule.atom_label(molecule.n_atoms - 1)
    lines.append(
        f"atoms: {molecule.n_atoms} of {molecule.n_system_atoms}, {first} to {last}, "
        f"{len(molecule.bonds)} bonds"
    )
    elements = Counter(atom.element.symbol for atom in molecule.topology.atoms)
    kinds = ", ".join(f"{count} {symbol}" for symbol, count in sorted(elements.items()))
    lines.append(
        f"masses: {molecule.masses.sum():.2f} Da in all ({kinds}), of the elements: constraints, "
        "virtual sites and repartitioned hydrogen masses of the simulation do not enter"
    )
    lines.append(
        f"coordinates: {dimension} (3N - 6); frames: {data.n_frames}, which is "
        f"{data.n_frames / dimension:.1f} per coordinate (safe from {SAFE} on)"
    )
    step = "not rounded" if data.rounding == 0.0 else f"rounded to {data.rounding:g} nm"
    energies = "" if data.rounding == 0.0 else ", so no energies can be learned from them"
    lines.append(f"coordinates are {step}{energies}")
    if data.times_ps is not None and np.isfinite(data.times_ps).all() and data.n_frames > 1:
        apart = float(np.median(np.diff(data.times_ps)))
        lines.append(f"frames are {apart:g} ps apart")
    centres = [molecule.atom_label(atom) for atom in handedness_of(data.positions, molecule)]
    lines.append(f"stereocentres: {', '.join(centres[:6]) or 'none'}{' …' if centres[6:] else ''}")
    alike = repeated_molecule(molecule.topology)
    if alike is not None:
        lines.append(
            f"the selection holds {alike[0]} identical molecules of {alike[2]} atoms, which change "
            f"places: model one of them, for example 'resid {alike[1]}'"
        )
    return lines


def report_on_training(prepared: PreparedTraining, data: TrajectoryData) -> list[str]:
    """Lines on what a training would begin with.

    Args:
        prepared: What `prepare` returned for the frames.
        data: The frames.
    """
    health = prepared.health
    return [
        f"training frames: {len(prepared.training)} ({prepared.effective_frames:.1f} effective), "
        f"validation frames: {len(prepared.validation)}",
        f"frame: smallest det A is {health.smallest:.3f} of the median "
        f"({data.locate(health.frame)})",
        *(f"caution: {message}" for message in prepared.warnings),
    ]
