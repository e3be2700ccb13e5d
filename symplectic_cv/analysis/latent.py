"""A trajectory in the latent space of a model, and what is measured there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from symplectic_cv.analysis.mutual_information import mutual_information
from symplectic_cv.charts.eckart import FrameHealth
from symplectic_cv.data.torsions import Torsion, compute_torsions
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import FrameError, TrajectoryError
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation

BATCH = 8192
FEWEST_FRAMES = 10
SLOW_AMONG = 10
"""Slow modes are told from the rest among this many of the slowest."""


@dataclass(frozen=True)
class LatentFrames:
    """F frames seen by a model of n modes.

    Attributes:
        modes: dimensionless ω_k Q_k, (F, n).
        log_likelihood: ln ρ(q) in nats (q in ps), (F,).
        health: how near the frames come to the limit of the Eckart frame.
    """

    modes: np.ndarray
    log_likelihood: np.ndarray
    health: FrameHealth


@dataclass(frozen=True)
class Analysis:
    """Everything that `symplectic-cv analyze` writes down.

    Attributes:
        frames: the latent frames.
        omega: (n,) in rad/ps.
        torsions: their definitions, T of them.
        angles: (F, T) in radians.
        mutual_information: (n, T) in nats.
        lengths: frames of each continuous run.
        names: what each run is called.
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
        """Standard deviation of each ω_k Q_k over the frames, (n,); 1 on training frames."""
        return self.frames.modes.astype(np.float64).std(0)

    @property
    def n_frames(self) -> int:
        return len(self.frames.modes)


def slow_modes(omega: np.ndarray) -> int:
    """How many modes lie below the widest gap in ln ω among the slowest ten, at least two.

    A mark for the eye in figures, not a test. The gap above mode 0 does not count: a single
    slow basin change would hide the other soft modes.

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
        progress: called with the number of frames just done.

    Raises:
        TrajectoryError: fewer than ten frames.
        FrameError: a frame that the model maps to infinity.
    """
    if data.n_frames < FEWEST_FRAMES:
        raise TrajectoryError(
            f"{', '.join(data.names)}: {data.n_frames} frames are too few to analyse: "
            f"give at least {FEWEST_FRAMES}"
        )
    parts, likelihoods, coordinates = [], [], []
    for start in range(0, data.n_frames, BATCH):
        positions = torch.as_tensor(data.positions[start : start + BATCH])
        q = model.frame.coordinates(positions)
        latent, log_det = model.flow(q.to(model.dtype))
        parts.append(latent * model.omega)
        likelihoods.append(model.prior.log_prob_coordinates(latent) + log_det)
        coordinates.append(q)
        if progress is not None:
            progress(len(positions))
    modes, likelihood = torch.cat(parts).numpy(), torch.cat(likelihoods).numpy()
    lost = np.flatnonzero(~(np.isfinite(modes).all(1) & np.isfinite(likelihood)))
    if len(lost):
        raise FrameError(
            f"{data.locate(int(lost[0]))}: the model maps it to infinity, so it is far from all "
            "that the model was trained on: are these the same molecule and atoms?"
        )
    return LatentFrames(modes, likelihood, model.frame.health(torch.cat(coordinates)))


def analyze(
    model: NeuralCanonicalTransformation,
    data: TrajectoryData,
    torsions: Sequence[Torsion],
    frames: LatentFrames | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Analysis:
    """Latent frames, torsions and their mutual information.

    Args:
        torsions: from `find_torsions`; may be empty.
        frames: what `latent_frames` gave for the same data; computed where None.
        seed: of the frames drawn for the mutual information.
        progress: called with the number of (mode, torsion) pairs just done.

    Raises:
        TrajectoryError: fewer than ten frames.
        FrameError: a frame far from all that the model knows.
    """
    frames = frames or latent_frames(model, data)
    angles = compute_torsions(data.positions, torsions, data.molecule)
    information = mutual_information(frames.modes, angles, seed=seed, progress=progress)
    return Analysis(
        frames=frames,
        omega=model.omega.double().numpy(),
        torsions=list(torsions),
        angles=angles,
        mutual_information=information,
        lengths=list(data.lengths),
        names=list(data.names),
    )
