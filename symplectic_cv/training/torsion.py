"""Learns the slow modes of a flexible molecule from its torsions, in seconds.

The modes are those of least frequency in the harmonics of the torsions (`least_frequency`). Frames
count by their weights and in no particular order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np

from symplectic_cv.charts.rotatable_bonds import RotatableBond, find_rotatable_bonds
from symplectic_cv.charts.torsion_basis import check_order, torsion_features
from symplectic_cv.charts.torsion_metric import (
    TorsionHealth,
    momentum_metric,
    torsion_angles,
    torsion_health,
    velocity_metric,
)
from symplectic_cv.checks import check_whole, choose
from symplectic_cv.data.handedness import handedness_of, require_one_handedness
from symplectic_cv.data.trajectories import TrajectoryData, as_data
from symplectic_cv.errors import OptionError, TrajectoryError
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.model_folder import CONFIG, has_weights, read_config
from symplectic_cv.models.torsion_folder import is_torsion_folder, save_torsion_model
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.models.training_range import TorsionRange
from symplectic_cv.molecule import Molecule
from symplectic_cv.statistics import effective_size
from symplectic_cv.training.least_frequency import (
    BLOCKS,
    QuotientParts,
    least_frequency_modes,
    quotient_parts,
)
from symplectic_cv.training.preparation import check_weights
from symplectic_cv.training.torsion_options import TorsionMetric

CHUNK = 8192
TORSION_OPTIONS = ("order", "n_modes", "metric", "amides")
"""Options of a fit in torsions that `fit` takes by name."""
STIFF = 1e-6
"""Below this circular variance a torsion does not move."""
STEEP = 8.0
"""Above this ratio of the largest slope of a mode to its root mean square a bias becomes rough."""


@dataclass(frozen=True)
class TorsionResult:
    """Modes of torsions, with warnings about their limits.

    Attributes:
        model: The modes, slowest first.
        health: How near the frames come to the limits of the torsion chart.
        effective_frames: The effective number of frames by their weights.
        warnings: One line for each thing that limits the modes.
    """

    model: TorsionModel = field(repr=False)
    health: TorsionHealth
    effective_frames: float
    warnings: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The record of the fit in the model folder (JSON)."""
        return {
            "chart": "torsion",
            "effective_frames": self.effective_frames,
            "smallest_sine": self.health.smallest_sine,
            "warnings": self.warnings,
        }

    def save(self, folder: str | Path) -> None:
        """Writes the model folder: config.json, which holds the modes.

        Args:
            folder: The folder, which is made where it is missing.
        """
        save_torsion_model(folder, self.model, self.record())


def fit_torsion_modes(
    data: TrajectoryData | md.Trajectory,
    temperature: float = 300.0,
    order: int = 2,
    n_modes: int | None = None,
    weights: np.ndarray | None = None,
    metric: TorsionMetric | str = TorsionMetric.VELOCITY,
    amides: bool = False,
) -> TorsionResult:
    """Finds the modes of least frequency in the torsions of a molecule.

    Args:
        data: The frames, from `read_trajectories` or `TrajectoryData.from_...`; of an MDTraj
            trajectory the heavy atoms of the solute are modelled.
        temperature: The temperature of the data in K.
        order: The highest harmonic of a torsion, 1 to 3.
        n_modes: How many modes to keep; one per rotatable bond, and at least three, where None.
        weights: One non-negative weight per frame, shape (n_frames,); all frames count the same
            where None.
        metric: `velocity` for G, in which torsions move together with bonds and angles, or
            `momentum` for the inverse of M, with bonds and angles held.
        amides: Whether the torsions of peptide and amide bonds take part. They are left out by
            default, because a bias on them turns the bonds to cis.

    Raises:
        OptionError: An option or the weights make no sense.
        SelectionError: The molecule has no rotatable bond.
        FrameError: A torsion has no value in some frame, or none moves.
        TrajectoryError: There are fewer frames than functions of the torsions.
    """
    kind = choose(TorsionMetric, metric, "metric")
    check_order(order)
    if n_modes is not None:
        check_whole(n_modes, "n_modes")
    data = as_data(data, "data")
    positions = data.positions
    require_one_handedness(positions, data.molecule, data.locate)
    share = np.ones(len(positions)) if weights is None else check_weights(weights, len(positions))
    bonds = modelled_bonds(data.molecule, positions[0], amides)
    health = torsion_health(positions, bonds, data.molecule, temperature)
    functions = 2 * order * len(bonds)
    effective = effective_size(share)
    if effective <= functions:
        raise TrajectoryError(
            f"{effective:.0f} frames cannot determine {functions} functions of {len(bonds)} "
            f"torsions: give more frames, a lower `order`, or fewer `atoms`"
        )
    angles = torsion_angles(positions, bonds)
    parts = [
        _block(positions[rows], angles[rows], share[rows], bonds, data, temperature, order, kind)
        for rows in blocks_of_runs(data.lengths)
        if share[rows].sum() > 0.0
    ]
    found = least_frequency_modes(parts, n_modes or number_of_modes(bonds, order))
    shape = (len(found.omega), len(bonds), order, 2)
    model = TorsionModel(
        molecule=data.molecule,
        temperature=temperature,
        bonds=tuple(bonds),
        order=order,
        coefficients=found.coefficients.reshape(shape),
        constant=found.coefficients @ found.mean,
        omega=found.omega,
        omega_error=found.error,
        omega_held_out=found.held_out,
        steepness=np.ones(len(found.omega)),
    )
    slopes = model.relative_slope(positions)[share > 0.0].max(0)
    known = TorsionRange.of(angles, share, handedness_of(positions, data.molecule))
    model = replace(model, steepness=slopes, training_range=known)
    return TorsionResult(model, health, effective, _warnings(model, angles, share))


def modelled_bonds(
    molecule: Molecule, reference: np.ndarray, amides: bool = False
) -> list[RotatableBond]:
    """The rotatable bonds whose torsions modes are made of.

    Args:
        molecule: The modelled atoms.
        reference: A typical structure, shape (n_atoms, 3), in nm.
        amides: Whether peptide and amide bonds take part. They do where there are no others.

    Raises:
        SelectionError: The molecule has no rotatable bond.
    """
    bonds = find_rotatable_bonds(molecule, reference)
    if amides or all(bond.amide for bond in bonds):
        return bonds
    return [bond for bond in bonds if not bond.amide]


def number_of_modes(bonds: Sequence[RotatableBond], order: int) -> int:
    """The number of modes that are kept: one per bond, and three where so many exist.

    Args:
        bonds: The rotatable bonds.
        order: The highest harmonic of a torsion.
    """
    return max(len(bonds), min(3, 2 * order * len(bonds)))


def fit_torsions_in_folder(
    data: TrajectoryData | md.Trajectory,
    temperature: float,
    weights: np.ndarray | None,
    folder: str | Path | None,
    resume: bool,
    options: dict[str, Any],
) -> TorsionResult:
    """Finds torsion modes and writes their model folder, where one is given.

    Args:
        data: The frames.
        temperature: The temperature of the data in K.
        weights: One non-negative weight per frame, or None.
        folder: The model folder to write; nothing is written where None.
        resume: Whether a folder with the modes is accepted; they are then found and written anew.
        options: Further arguments of `fit_torsion_modes` by name.

    Raises:
        OptionError: An option is unknown or makes no sense.
        OutputError: The folder holds another run.
    """
    unknown = next((name for name in options if name not in TORSION_OPTIONS), None)
    if unknown is not None:
        raise OptionError(
            f"`{unknown}` has no meaning with `chart='torsion'` without `density`; options are "
            f"{', '.join(TORSION_OPTIONS)}"
        )
    if folder is not None and not (resume and _holds_torsion_modes(Path(folder))):
        require_free(Path(folder))
    result = fit_torsion_modes(data, temperature, weights=weights, **options)
    if folder is not None:
        result.save(folder)
    return result


def _holds_torsion_modes(folder: Path) -> bool:
    """Whether a folder holds torsion modes alone, which a new fit may replace."""
    return (
        (folder / CONFIG).is_file()
        and is_torsion_folder(folder)
        and not has_weights(read_config(folder))
    )


def blocks_of_runs(lengths: list[int]) -> list[np.ndarray]:
    """Blocks of consecutive frames, about ten in all, none of which spans two runs."""
    total = sum(lengths)
    blocks: list[np.ndarray] = []
    start = 0
    for length in lengths:
        count = max(1, round(BLOCKS * length / total))
        blocks += np.array_split(np.arange(start, start + length), min(count, length))
        start += length
    return blocks


def _block(
    positions: np.ndarray,
    angles: np.ndarray,
    weights: np.ndarray,
    bonds: list[RotatableBond],
    data: TrajectoryData,
    temperature: float,
    order: int,
    kind: TorsionMetric,
) -> QuotientParts:
    total: QuotientParts | None = None
    for start in range(0, len(positions), CHUNK):
        part = slice(start, start + CHUNK)
        features, slopes = torsion_features(angles[part], [bond.fold for bond in bonds], order)
        if kind is TorsionMetric.VELOCITY:
            k = velocity_metric(positions[part], bonds, data.molecule, temperature)
        else:
            k = np.linalg.inv(momentum_metric(positions[part], bonds, data.molecule, temperature))
        sums = quotient_parts(features, slopes, k, weights[part])
        total = sums if total is None else total + sums
    assert total is not None
    return total


def _warnings(model: TorsionModel, angles: np.ndarray, weights: np.ndarray) -> list[str]:
    """Warnings about torsions that do not move and modes that are steep."""
    notes = []
    mean = np.average(np.exp(1j * angles), axis=0, weights=weights)
    frozen = [
        bond.name
        for bond, length in zip(model.bonds, np.abs(mean), strict=True)
        if 1.0 - length < STIFF
    ]
    if frozen:
        notes.append(f"{', '.join(frozen)} never moves in these frames, so no mode can follow it")
    steep = np.flatnonzero(model.steepness[:3] > STEEP)
    if len(steep) and model.order > 1:
        notes.append(
            f"mode {steep[0]} is steep: its largest slope is {model.steepness[steep[0]]:.1f} times "
            f"its root mean square; a lower `order` than {model.order} gives a smoother bias"
        )
    return notes
