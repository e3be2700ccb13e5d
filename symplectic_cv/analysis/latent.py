"""A trajectory in the latent space of a model: its modes, and what they tell about torsions."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj as md
import numpy as np
import torch

from symplectic_cv.analysis.mutual_information import mutual_information
from symplectic_cv.charts.eckart import FrameHealth
from symplectic_cv.data.torsions import Torsion, compute_torsions, find_torsions
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.files.tables import write_table
from symplectic_cv.models.model_folder import open_molecular_model
from symplectic_cv.models.modes import require_mapped
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation

BATCH = 8192
"""Frames that the model maps at once."""
FEWEST_FRAMES = 10
SLOW_AMONG = 10
"""The slow modes are sought among this many of the slowest."""
FRAMES_SHARE = 0.3
"""Part of the work of an analysis that goes into the modes; the rest goes into the torsions."""
MODES, INFORMATION, LATENT = "modes.csv", "mutual_information.csv", "latent.npz"


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
    """

    frames: LatentFrames
    omega: np.ndarray
    torsions: list[Torsion]
    angles: np.ndarray
    mutual_information: np.ndarray
    lengths: list[int]
    names: list[str]

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each mode over the frames, (n_modes,); 1 on training frames."""
        return self.frames.modes.astype(np.float64).std(0)

    @property
    def n_frames(self) -> int:
        """The number of frames."""
        return len(self.frames.modes)

    def save(self, folder: str | Path) -> None:
        """Writes modes.csv, mutual_information.csv (where there are torsions) and latent.npz.

        Args:
            folder: The folder to write into; it is made where missing.

        Raises:
            OutputError: The folder cannot be made.
        """
        folder = Path(folder)
        make_folder(folder)
        names = [torsion.name for torsion in self.torsions]
        numbers = np.arange(len(self.omega))
        table = {
            "mode": numbers,
            "omega_rad_per_ps": self.omega,
            "period_ps": 2 * np.pi / self.omega,
            "std_scaled": self.spread,
        }
        write_table(folder / MODES, table, "%.8g")
        if names:
            columns = dict(zip(names, self.mutual_information.T, strict=True))
            write_table(folder / INFORMATION, {"mode": numbers, **columns}, "%.6g")
        content = io.BytesIO()
        np.savez_compressed(
            content,
            modes=self.frames.modes,
            omega_rad_per_ps=self.omega,
            torsions=self.angles.astype(np.float32),
            torsion_names=np.array(names, dtype=np.str_),
            log_likelihood=self.frames.log_likelihood,
            run=np.repeat(np.arange(len(self.lengths)), self.lengths),
            frame=np.concatenate([np.arange(length) for length in self.lengths]),
            run_names=np.array(self.names, dtype=np.str_),
        )
        write_atomically(folder / LATENT, content.getvalue())


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
    if data.n_frames < FEWEST_FRAMES:
        raise TrajectoryError(
            f"{', '.join(data.names)}: {data.n_frames} frames are too few to analyse: "
            f"give at least {FEWEST_FRAMES}"
        )
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


def analyze(
    model: NeuralCanonicalTransformation | str | Path,
    data: TrajectoryData | md.Trajectory,
    torsions: Sequence[str] | str | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """Maps a trajectory to the latent space and compares the modes with torsions.

    Args:
        model: The model, or its folder.
        data: The frames, from `read_trajectories` or MDTraj, with the model's atoms.
        torsions: The torsion or torsions to compare with: names such as "phi", "psi" or "chi1", or
            "NAME=i,j,k,l" with atom numbers of the topology counted from 1. Phi and psi of the
            model's atoms where None; an empty list leaves the comparison out.
        seed: The seed by which frames are drawn for the mutual information.
        progress: A function that is called with the completed part of the work, from 0 to 1.

    Raises:
        OptionError: A torsion does not exist.
        TrajectoryError: There are fewer than ten frames.
        FrameError: The model maps a frame to infinity.
    """
    model = open_molecular_model(model)
    if isinstance(data, md.Trajectory):
        data = model.read_frames(data)
    found = find_torsions(model.molecule, torsions)
    n_pairs = model.dimension * len(found)
    part_done = 0.0

    def advance(share: float) -> None:
        nonlocal part_done
        part_done += share
        if progress is not None:
            progress(min(part_done, 1.0))

    for_frames = FRAMES_SHARE if found else 1.0
    frames = latent_frames(model, data, lambda n: advance(for_frames * n / data.n_frames))
    angles = compute_torsions(model.positions_of(data), found, model.molecule)
    information = mutual_information(
        frames.modes,
        angles,
        seed=seed,
        progress=lambda pairs: advance((1.0 - for_frames) * pairs / n_pairs),
    )
    return Analysis(
        frames=frames,
        omega=model.omega.double().numpy(),
        torsions=found,
        angles=angles,
        mutual_information=information,
        lengths=list(data.lengths),
        names=list(data.names),
    )
