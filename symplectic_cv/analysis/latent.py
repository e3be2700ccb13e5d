"""A trajectory in the latent space of a model, and what an analysis of its modes holds."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from symplectic_cv.analysis.kinetics import KineticComparison
from symplectic_cv.charts.eckart import FrameHealth
from symplectic_cv.charts.torsion_metric import TorsionHealth, torsion_angles, torsion_health
from symplectic_cv.data.torsions import Torsion
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.files.tables import write_table
from symplectic_cv.models.modes import require_mapped
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.models.training_range import warn_of_unknown

if TYPE_CHECKING:
    import pandas as pd

BATCH = 8192
"""Frames that the model maps at once."""
FEWEST_FRAMES = 10
SLOW_AMONG = 10
"""The slow modes are sought among this many of the slowest."""
MODES, INFORMATION, LATENT = "modes.csv", "mutual_information.csv", "latent.npz"
PER_FRAME, KINETICS = "modes_per_frame.csv", "kinetics.csv"


@dataclass(frozen=True)
class LatentFrames:
    """The frames of a trajectory as a model sees them.

    Attributes:
        modes: The scaled modes ω_k Q_k, shape (n_frames, n_modes), dimensionless.
        log_likelihood: The log-likelihood ln ρ(q) of each frame, shape (n_frames,), in nats, with
            q in ps.
        health: How near the frames come to the limit of the Eckart frame.
        extrapolation: How far each frame lies beyond the training frames, shape (n_frames,); above
            2 the model does not know it. None where the model has no record of them.
    """

    modes: np.ndarray
    log_likelihood: np.ndarray
    health: FrameHealth
    extrapolation: np.ndarray | None = None


@dataclass(frozen=True)
class TorsionFrames:
    """The frames of a trajectory as modes of torsions see them.

    Attributes:
        modes: The modes, shape (n_frames, n_modes), dimensionless.
        bond_angles: The torsions of the model's bonds, shape (n_frames, n_bonds), in rad.
        health: How near the frames come to the limits of the torsion chart.
        extrapolation: How far the torsions of each frame lie beyond those of the training frames,
            shape (n_frames,); None where the model has no record of them.
    """

    modes: np.ndarray
    bond_angles: np.ndarray
    health: TorsionHealth
    extrapolation: np.ndarray | None = None


@dataclass(frozen=True)
class Analysis:
    """The analysis of a trajectory by a model.

    Attributes:
        frames: The modes and the log-likelihood of the frames.
        omega: The frequencies of the modes, slowest first, shape (n_modes,), in rad/ps.
        torsions: The torsions that the modes are compared with.
        angles: The torsions of the frames, shape (n_frames, n_torsions), in radians.
        mutual_information: The mutual information of each mode with each torsion, shape
            (n_modes, n_torsions), in nats.
        lengths: The number of frames of each continuous run.
        names: The name of each run.
        temperature: The temperature of the model in K.
        times_ps: The times of the frames, shape (n_frames,), in ps; NaN where they are unknown.
        kinetics: The timescales that the slowest modes see on held-out time, beside those of other
            variables; None where the frames are not ordered in time.
        no_kinetics: Why there are none; empty where there are.
    """

    frames: LatentFrames | TorsionFrames
    omega: np.ndarray
    torsions: list[Torsion]
    angles: np.ndarray
    mutual_information: np.ndarray
    lengths: list[int]
    names: list[str]
    temperature: float
    times_ps: np.ndarray | None = None
    kinetics: KineticComparison | None = None
    no_kinetics: str = ""

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each mode over the frames, (n_modes,); 1 on training frames."""
        return self.frames.modes.astype(np.float64).std(0)

    @property
    def n_frames(self) -> int:
        """The number of frames."""
        return len(self.frames.modes)

    def per_frame(self) -> pd.DataFrame:
        """A table of the frames.

        Returns:
            One row per frame with the columns `frame` (its number in its file, from 0), `file`,
            `time_ps` (NaN where the file has no times), `mode_k` (dimensionless) for each mode,
            `log_likelihood` (ln ρ in nats, of a flow), `extrapolation` (where the model has a
            record of its training frames), and each torsion in degrees, as `phi_deg`.
        """
        import pandas as pd

        frames = self.frames
        columns: dict[str, Any] = {
            "frame": np.concatenate([np.arange(length) for length in self.lengths]),
            "file": np.repeat(self.names, self.lengths),
            "time_ps": np.full(self.n_frames, np.nan) if self.times_ps is None else self.times_ps,
        }
        columns |= {f"mode_{k}": column for k, column in enumerate(frames.modes.T)}
        if isinstance(frames, LatentFrames):
            columns["log_likelihood"] = frames.log_likelihood
        if frames.extrapolation is not None:
            columns["extrapolation"] = frames.extrapolation
        torsions = dict(zip([t.name for t in self.torsions], self.angles.T, strict=True))
        torsions |= self.own_torsions()
        columns |= {f"{name}_deg": np.degrees(angle) for name, angle in torsions.items()}
        return pd.DataFrame(columns)

    def save(self, folder: str | Path) -> None:
        """Writes modes.csv, modes_per_frame.csv and latent.npz.

        There is a mutual_information.csv only where there are torsions, and a kinetics.csv only
        where the frames are ordered in time.

        Args:
            folder: The folder to write into; it is made where missing.

        Raises:
            OutputError: The folder cannot be made.
        """
        folder = Path(folder)
        make_folder(folder)
        names = [torsion.name for torsion in self.torsions]
        write_table(folder / MODES, self.mode_table(), "%.8g")
        write_table(folder / PER_FRAME, self.per_frame(), "%.7g")
        if names:
            columns = dict(zip(names, self.mutual_information.T, strict=True))
            numbers = np.arange(len(self.omega))
            write_table(folder / INFORMATION, {"mode": numbers, **columns}, "%.6g")
        if self.kinetics is not None:
            write_table(folder / KINETICS, self.kinetics.table(), "%.5g")
        own: dict[str, Any] = self.own_arrays()
        content = io.BytesIO()
        np.savez_compressed(
            content,
            modes=self.frames.modes,
            omega_rad_per_ps=self.omega,
            torsions=self.angles.astype(np.float32),
            torsion_names=np.array(names, dtype=np.str_),
            run=np.repeat(np.arange(len(self.lengths)), self.lengths),
            frame=np.concatenate([np.arange(length) for length in self.lengths]),
            run_names=np.array(self.names, dtype=np.str_),
            **own,
        )
        write_atomically(folder / LATENT, content.getvalue())

    def mode_table(self) -> dict[str, np.ndarray]:
        """The columns of modes.csv."""
        return {
            "mode": np.arange(len(self.omega)),
            "omega_rad_per_ps": self.omega,
            "period_ps": 2 * np.pi / self.omega,
            "std_scaled": self.spread,
        }

    def own_torsions(self) -> dict[str, np.ndarray]:
        """Torsions in rad that the modes are functions of, by name; none of a flow."""
        return {}

    def own_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of latent.npz that only this kind of model has."""
        assert isinstance(self.frames, LatentFrames)
        return {"log_likelihood": self.frames.log_likelihood}


@dataclass(frozen=True)
class TorsionAnalysis(Analysis):
    """The analysis of a trajectory by modes of torsions.

    Attributes:
        model: The modes of torsions.
    """

    model: TorsionModel = field(kw_only=True, repr=False)

    def mode_table(self) -> dict[str, np.ndarray]:
        """The columns of modes.csv, with the share of each torsion in each mode."""
        model = self.model
        shares = dict(zip([bond.name for bond in model.bonds], model.shares().T, strict=True))
        return {
            **super().mode_table(),
            "omega_error_rad_per_ps": model.omega_error,
            "omega_held_out_rad_per_ps": model.omega_held_out,
            "steepness": model.steepness,
            **{f"share_{name}": share for name, share in shares.items()},
        }

    def own_torsions(self) -> dict[str, np.ndarray]:
        """The torsions in rad that the modes are functions of, by name."""
        assert isinstance(self.frames, TorsionFrames)
        names = [bond.name for bond in self.model.bonds]
        return dict(zip(names, self.frames.bond_angles.T, strict=True))

    def own_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of latent.npz that only modes of torsions have."""
        assert isinstance(self.frames, TorsionFrames)
        return {
            "bond_torsions": self.frames.bond_angles.astype(np.float32),
            "bond_names": np.array([bond.name for bond in self.model.bonds], dtype=np.str_),
        }


def slow_modes(omega: np.ndarray) -> int:
    """The number of modes below the widest gap in ln ω among the slowest ten, at least two.

    The number guides the eye in figures; it is not a test. The gap above mode 0 does not count,
    because a single slow basin change would hide the other soft modes.

    Args:
        omega: The frequencies, slowest first, shape (n_modes,).

    Example:
        >>> slow_modes(np.array([1.0, 1.5, 9.0, 12.0]))
        2
    """
    steps = np.diff(np.log(omega[1 : SLOW_AMONG + 1]))
    return int(np.argmax(steps)) + 2 if len(steps) else len(omega)


@torch.no_grad()
def latent_frames(
    model: NeuralCanonicalTransformation,
    data: TrajectoryData,
    progress: Callable[[int], None] | None = None,
) -> LatentFrames:
    """Maps every frame of a trajectory to the latent space, in batches.

    Args:
        model: The model.
        data: The trajectory, of the model's atoms.
        progress: Called with the number of frames just done.

    Raises:
        TrajectoryError: There are fewer than ten frames.
        FrameError: The model maps a frame to infinity.

    Warns:
        DataWarning: The model does not know some of the frames.
    """
    _require_frames(data)
    modes, likelihoods, coordinates = [], [], []
    frames = model.positions_of(data)
    for start in range(0, data.n_frames, BATCH):
        positions = frames[start : start + BATCH]
        encoded = model.encoded(positions)
        modes.append(encoded.modes)
        likelihoods.append(encoded.log_likelihood)
        coordinates.append(model.frame.coordinates(torch.as_tensor(positions)))
        if progress is not None:
            progress(len(positions))
    found = np.concatenate(modes), np.concatenate(likelihoods)
    for values in found:
        require_mapped(values, data)
    extrapolation = None
    if model.training_range is not None:
        radius = np.linalg.norm(found[0], axis=-1)
        extrapolation = model.training_range.extrapolation(found[1], radius)
        model.training_range.warn(found[1], extrapolation, data.locate)
    # the numbers of a single-precision model need no more room on disk
    dtype = np.float32 if model.dtype == torch.float32 else np.float64
    health = model.frame.health(torch.cat(coordinates))
    return LatentFrames(found[0].astype(dtype), found[1].astype(dtype), health, extrapolation)


def torsion_frames(
    model: TorsionModel, data: TrajectoryData, progress: Callable[[int], None] | None = None
) -> TorsionFrames:
    """The modes of torsions in every frame of a trajectory, in batches.

    Args:
        model: The modes of torsions.
        data: The frames.
        progress: Called with the number of frames just done.

    Raises:
        TrajectoryError: There are fewer than ten frames.
        FrameError: A torsion has no value in some frame.

    Warns:
        DataWarning: The model does not know some of the frames.
    """
    _require_frames(data)
    frames = model.positions_of(data)
    health = torsion_health(frames, model.bonds, model.molecule, model.temperature)
    parts = []
    for start in range(0, data.n_frames, BATCH):
        parts.append(torsion_angles(frames[start : start + BATCH], model.bonds))
        if progress is not None:
            progress(len(parts[-1]))
    angles = np.concatenate(parts)
    modes = model.modes_of_torsions(angles)
    require_mapped(modes, data)
    extrapolation = None
    if model.training_range is not None:
        extrapolation = model.training_range.extrapolation(angles)
        warn_of_unknown(extrapolation, data.locate)
    return TorsionFrames(modes, angles, health, extrapolation)


def _require_frames(data: TrajectoryData) -> None:
    if data.n_frames < FEWEST_FRAMES:
        raise TrajectoryError(
            f"{', '.join(data.names)}: {data.n_frames} frames are too few to analyse: "
            f"give at least {FEWEST_FRAMES}"
        )
