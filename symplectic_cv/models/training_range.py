"""The range of a model's training frames, and the distance of other frames beyond it.

A model extrapolates beyond its training frames: values of its modes there are a guess. The distance
of a frame, called extrapolation, is 0 in the middle of the training frames and 1 at the farthest
thousandth of them. From `LIMIT` on the model does not know the frame.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from symplectic_cv.data.handedness import Locate
from symplectic_cv.errors import DataWarning, ModelError

LIMIT = 2.0
"""Frames with an extrapolation above this are unknown to a model. Normal modes of 24 dimensions
pass it with a probability below 1e-6."""
FAR = 1.0
"""The extrapolation of the farthest thousandth of the training frames."""
FAR_SHARE, FEWEST_FAR = 0.05, 5
"""Where more than this share of frames, and this many, lie beyond `FAR`, they are of another
ensemble: a thousandth is expected."""
RARE = 0.001

BINS = 36
"""Bins of a torsion, of 10° each."""
STEP = np.radians(15.0)
"""The distance of a torsion from its nearest training frame that counts as an extrapolation of 1,
in rad."""

KEY = "training_range"
"""The key of a config that holds the range."""

NO_RANGE = (
    "this model has no record of its training frames (it was trained by version 0.1, or without "
    "frames): no watch for frames that it does not know is possible; train it anew for one"
)


@dataclass(frozen=True)
class EncodedFrames:
    """Frames as a model sees them.

    Attributes:
        modes: The scaled modes ω_k Q_k, shape (F, n_modes), dimensionless.
        log_likelihood: ln ρ(q) of each frame, shape (F,), in nats, with q in ps.
        extrapolation: How far each frame lies beyond the training frames, shape (F,); None where
            the model has no record of them.
    """

    modes: np.ndarray
    log_likelihood: np.ndarray
    extrapolation: np.ndarray | None


@dataclass(frozen=True)
class TrainingRange:
    """The likelihoods and latent radii of the frames that a flow was trained on.

    Attributes:
        typical_log_likelihood: The median of ln ρ, in nats.
        least_log_likelihood: The value of ln ρ below which a thousandth of the frames lies.
        typical_radius: The median of |ωQ|, dimensionless.
        largest_radius: The value of |ωQ| above which a thousandth of the frames lies.
    """

    typical_log_likelihood: float
    least_log_likelihood: float
    typical_radius: float
    largest_radius: float

    @classmethod
    def of(
        cls, log_likelihood: np.ndarray, radius: np.ndarray, weights: np.ndarray | None = None
    ) -> TrainingRange:
        """The range of training frames.

        Args:
            log_likelihood: ln ρ of the frames, shape (F,), in nats.
            radius: The latent radius |ωQ| of the frames, shape (F,).
            weights: One non-negative weight per frame, shape (F,), or None.
        """
        share = np.ones(len(radius)) if weights is None else np.asarray(weights, dtype=float)

        def quantile(values: np.ndarray, part: float) -> float:
            values = np.asarray(values, dtype=np.float64)
            return float(np.quantile(values, part, weights=share, method="inverted_cdf"))

        return cls(
            quantile(log_likelihood, 0.5),
            quantile(log_likelihood, RARE),
            quantile(radius, 0.5),
            quantile(radius, 1.0 - RARE),
        )

    def extrapolation(self, log_likelihood: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """The distance of frames beyond the training frames, shape (F,): 0 where they are typical.

        Args:
            log_likelihood: ln ρ of the frames, shape (F,), in nats.
            radius: The latent radius |ωQ| of the frames, shape (F,).
        """
        depth = max(self.typical_log_likelihood - self.least_log_likelihood, 1e-6)
        width = max(self.largest_radius - self.typical_radius, 1e-6)
        found = np.maximum(
            (self.typical_log_likelihood - np.asarray(log_likelihood, dtype=np.float64)) / depth,
            (np.asarray(radius, dtype=np.float64) - self.typical_radius) / width,
        )
        return np.where(np.isnan(found), np.inf, np.maximum(found, 0.0))

    def warn(
        self, log_likelihood: np.ndarray, extrapolation: np.ndarray | None, locate: Locate
    ) -> None:
        """Warns where a model does not know some of the frames.

        Args:
            log_likelihood: ln ρ of the frames, shape (F,), in nats.
            extrapolation: Their extrapolation, shape (F,).
            locate: A function that names a frame.

        Warns:
            DataWarning: How many frames, which is the first, and what it may mean.
        """
        if extrapolation is None or len(extrapolation) == 0:
            return
        least = float(log_likelihood[extrapolation.argmax()])
        told = (
            f"ln ρ is {least:.0f} nats there, {self.typical_log_likelihood:.0f} in the "
            f"typical and above {self.least_log_likelihood:.0f} in 99.9 % of the training frames"
        )
        warn_of_unknown(extrapolation, locate, told)

    def to_json(self) -> dict[str, float]:
        """A description that JSON can hold."""
        return {
            "typical_log_likelihood_nats": self.typical_log_likelihood,
            "least_log_likelihood_nats": self.least_log_likelihood,
            "typical_radius": self.typical_radius,
            "largest_radius": self.largest_radius,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainingRange:
        """The range of a description; raises ModelError where it is damaged."""
        try:
            found = cls(
                float(data["typical_log_likelihood_nats"]),
                float(data["least_log_likelihood_nats"]),
                float(data["typical_radius"]),
                float(data["largest_radius"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the record of the training frames is damaged: {error!r}") from error
        return found


@dataclass(frozen=True)
class TorsionRange:
    """The torsions of the frames that torsion modes were found in, and their handedness.

    A mode is a sum of functions of one torsion each, so that it is known where each torsion is.

    Attributes:
        visited: Whether a training frame had each torsion in each bin from −π to π, shape
            (n_bonds, n_bins), bool.
        handedness: −1 or 1 for the stereocentres of the training frames, by their index.
    """

    visited: np.ndarray
    handedness: dict[int, int]

    @classmethod
    def of(
        cls, angles: np.ndarray, weights: np.ndarray, handedness: dict[int, int]
    ) -> TorsionRange:
        """The range of training frames.

        Args:
            angles: The torsions of the frames, shape (F, n_bonds), in rad.
            weights: One non-negative weight per frame, shape (F,).
            handedness: The handedness of stereocentres, by their index in the molecule.
        """
        bins = _bins_of(np.asarray(angles)[np.asarray(weights) > 0.0], BINS)
        visited = np.zeros((angles.shape[1], BINS), dtype=bool)
        visited[np.arange(angles.shape[1]), bins] = True
        return cls(visited, handedness)

    def extrapolation(self, angles: np.ndarray) -> np.ndarray:
        """The distance of frames beyond the training frames, shape (F,).

        It is the distance of a torsion from the nearest bin that a training frame was in, in units
        of 15°, of the torsion that is farthest.

        Args:
            angles: The torsions of the frames, shape (F, n_bonds), in rad.
        """
        count = self.visited.shape[1]
        width = 2.0 * np.pi / count
        centres = -np.pi + width * (np.arange(count) + 0.5)
        found = np.zeros(len(angles))
        for torsion, visited in zip(
            np.asarray(angles, dtype=np.float64).T, self.visited, strict=True
        ):
            apart = np.abs(torsion[:, None] - centres[visited])
            apart = np.minimum(apart, 2.0 * np.pi - apart).min(1, initial=np.pi)
            found = np.maximum(found, np.maximum(apart - 0.5 * width, 0.0) / STEP)
        return np.where(np.isnan(found), np.inf, found)

    def to_json(self) -> dict[str, Any]:
        """A description that JSON can hold."""
        return {
            "visited": ["".join("01"[int(seen)] for seen in row) for row in self.visited],
            "handedness": {str(atom): sign for atom, sign in self.handedness.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TorsionRange:
        """The range of a description; raises ValueError or KeyError where it is damaged."""
        visited = np.array([[digit == "1" for digit in row] for row in data["visited"]], dtype=bool)
        if visited.ndim != 2 or not visited.any(1).all():
            raise ValueError("a torsion without training frames")
        return cls(visited, {int(atom): int(sign) for atom, sign in data["handedness"].items()})


def _bins_of(angles: np.ndarray, count: int) -> np.ndarray:
    return np.floor((angles + np.pi) / (2.0 * np.pi) * count).astype(int) % count


def warn_of_unknown(extrapolation: np.ndarray, locate: Locate, told: str = "") -> None:
    """Warns where a model does not know some of the frames.

    Args:
        extrapolation: The extrapolation of the frames, shape (F,).
        locate: A function that names a frame.
        told: What is known of the frame that lies farthest, for the message.

    Warns:
        DataWarning: How many frames, which is the first, and what it may mean.
    """
    unknown = np.flatnonzero(extrapolation > LIMIT)
    far = np.flatnonzero(extrapolation > FAR)
    if len(unknown) == 0 and (len(far) < FEWEST_FAR or len(far) <= FAR_SHARE * len(extrapolation)):
        return
    chosen = unknown if len(unknown) else far
    worst = int(extrapolation.argmax())
    detail = f"; {told} ({locate(worst)})" if told else ""
    how = "far outside" if len(unknown) else "outside"
    warnings.warn(
        f"{len(chosen)} of {len(extrapolation)} frames (the first: {locate(int(chosen[0]))}) lie "
        f"{how} of what the model was trained on, up to {extrapolation[worst]:.1f} times as far "
        f"as its farthest training frames{detail}: modes are a guess there. Another conformation, "
        "temperature or force field, another molecule, or atoms in another order? Train with such "
        "frames too, or leave them out",
        DataWarning,
        stacklevel=4,
    )
