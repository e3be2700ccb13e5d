"""Preparation shared by all trainings on frames: split, weights, Eckart frame, warnings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame, FrameHealth, mean_structure
from symplectic_cv.data.split import contiguous_split
from symplectic_cv.errors import OptionError
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.molecule import Molecule
from symplectic_cv.statistics import effective_size
from symplectic_cv.training.options import TrainingOptions
from symplectic_cv.training.result import FrameSource

FEW_FRAMES_PER_DIMENSION = 200
NARROW = 16
"""Width of a network for few data."""
PART = 8192
"""Frames whose coordinates are computed at once."""


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """Frames turned into coordinates, and the start of the model: the input of `train`.

    Attributes:
        model: The start of the model.
        options: The options of the training.
        training: Coordinates of the training frames, shape (F, n), in ps.
        validation: Coordinates of the validation frames, shape (F, n); q in ps, or standardised
            internal coordinates.
        training_weights: One weight per training frame, or None.
        validation_weights: One weight per validation frame, or None.
        health: The distance of all frames from the limit of the Eckart frame.
        warnings: One line for each property of the data that limits the model.
        source: Where the frames came from.
        effective_frames: Kish's effective number of the training frames by their weights.
    """

    model: NeuralCanonicalTransformation
    options: TrainingOptions
    training: Tensor
    validation: Tensor
    training_weights: Tensor | None
    validation_weights: Tensor | None
    health: FrameHealth
    warnings: list[str]
    source: FrameSource = field(default_factory=FrameSource)
    effective_frames: float = 0.0


@dataclass(frozen=True)
class FrameSplit:
    """Training and validation frames, in contiguous blocks, with their weights.

    Attributes:
        training: Indices of the training frames.
        held_out: Indices of the validation frames.
        weights: One weight per frame of both sets, shape (F,), or None.
    """

    training: np.ndarray
    held_out: np.ndarray
    weights: np.ndarray | None

    @property
    def effective_frames(self) -> float:
        """Kish's effective number of the training frames, (Σw)²/Σw²."""
        if self.weights is None:
            return float(len(self.training))
        return effective_size(self.weights[self.training])

    def require_enough(self, dimension: int) -> None:
        """Raises OptionError where the weights leave too few frames for so many coordinates.

        Args:
            dimension: The number of coordinates of the model.
        """
        if self.weights is not None and self.effective_frames <= dimension:
            raise OptionError(
                f"`weights`: {self.effective_frames:.1f} effective frames (Kish) of "
                f"{len(self.training)} training frames cannot determine {dimension} internal "
                "coordinates, because few frames hold nearly all the weight: give more even "
                "weights, more frames, or fewer `atoms`"
            )

    @property
    def training_weights(self) -> Tensor | None:
        return None if self.weights is None else torch.as_tensor(self.weights[self.training])

    @property
    def validation_weights(self) -> Tensor | None:
        return None if self.weights is None else torch.as_tensor(self.weights[self.held_out])


def split_frames(
    n_frames: int, lengths: list[int] | None = None, weights: np.ndarray | None = None
) -> FrameSplit:
    """Splits frames for a training.

    Args:
        n_frames: The number of all frames.
        lengths: The number of frames of each continuous run; one run where None.
        weights: One non-negative weight per frame, or None.

    Raises:
        TrajectoryError: There are too few frames.
        OptionError: The weights do not fit, or one of the sets has no weight.
    """
    lengths = lengths or [n_frames]
    if sum(lengths) != n_frames:
        raise OptionError(f"`lengths` add up to {sum(lengths)}, but there are {n_frames} frames")
    training, held_out = contiguous_split(lengths)
    if weights is not None:
        weights = check_weights(weights, n_frames)
        for name, part in (("training", training), ("validation", held_out)):
            if not weights[part].sum() > 0.0:
                raise OptionError(f"`weights`: all weights of the {name} frames are zero")
    return FrameSplit(training, held_out, weights)


def eckart_coordinates(
    positions: np.ndarray,
    molecule: Molecule,
    temperature: float,
    chosen: np.ndarray,
    weights: Tensor | None,
) -> tuple[EckartFrame, Tensor]:
    """The Eckart frame about the mean of the chosen frames, and coordinates of all frames.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        molecule: The modelled atoms.
        temperature: The temperature of the data, in K.
        chosen: Indices of the frames whose mean is the reference.
        weights: One weight per chosen frame, or None.

    Returns:
        The frame, and q, shape (F, 3N−6), in ps, in float64.
    """
    masses = torch.as_tensor(molecule.masses)
    frame = EckartFrame(mean_structure(positions[chosen], masses, weights), masses, temperature)
    parts = [positions[i : i + PART] for i in range(0, len(positions), PART)]
    return frame, torch.cat([frame.coordinates(torch.as_tensor(part)) for part in parts])


def check_weights(weights: np.ndarray, n_frames: int) -> np.ndarray:
    """Frame weights as float64; raises OptionError where they cannot be."""
    w = np.asarray(weights)
    if w.shape != (n_frames,):
        raise OptionError(
            f"`weights` has shape {w.shape}, the trajectories have {n_frames} frames: "
            "give one weight per frame"
        )
    try:
        w = w.astype(np.float64)
    except (TypeError, ValueError):
        raise OptionError(f"`weights` must be numbers; they are of type {w.dtype}") from None
    if not np.isfinite(w).all() or (w < 0).any():
        raise OptionError("`weights` holds a negative, infinite or NaN weight")
    return w


def data_warnings(
    n_frames: float, dimension: int, health: FrameHealth, hidden: int = TrainingOptions.hidden
) -> list[str]:
    """Warnings about data that limit the model.

    Args:
        n_frames: The number of frames; the effective one where they have weights.
        dimension: The number of modes.
        health: The distance of the frames from the limit of the Eckart frame.
        hidden: The width of the networks.
    """
    notes = []
    if n_frames < FEW_FRAMES_PER_DIMENSION * dimension:
        narrower = f"; a narrower network (`hidden={NARROW}`) may fit better"
        notes.append(
            f"the data are few: {n_frames:.0f} frames for {dimension} dimensions (the default "
            f"settings are safe from {FEW_FRAMES_PER_DIMENSION * dimension} on); expect an "
            f"early stop{narrower if hidden > NARROW else ''}"
        )
    if health.near_limit:
        notes.append(
            f"the molecule folds until the frame nears its limit: smallest det A is "
            f"{health.smallest:.3f} of the median (frame {health.frame}); modes may bend sharply "
            "there. Fewer or stiffer `atoms` give a safer frame"
        )
    return notes
