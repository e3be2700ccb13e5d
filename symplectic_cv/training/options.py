"""What the trainings on frames of a trajectory have in common: options, weights, warnings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from symplectic_cv.charts.eckart import FrameHealth
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions
from symplectic_cv.training.momenta import Momenta

FEW_FRAMES_PER_DIMENSION = 200
NARROW = 16
"""Width of a network for few data."""


@dataclass(frozen=True)
class TrainingOptions:
    """What a user may choose about a training.

    Attributes:
        steps: optimizer steps at most.
        batch: frames per step.
        coupling: affine, or monotone rational-quadratic splines: stronger and slower.
        layers: couplings.
        hidden: width of the two hidden layers of each coupling's network.
        bins: of each spline.
        momenta: how momenta are drawn.
        momentum_weight: weight of the momentum part of the loss; 1 is the paper's NLL,
            0 the likelihood of configurations alone.
        seed: of the initial weights, batches and momenta.
        device: `auto`, `cpu` or `cuda`.
        chart: Cartesian, or internal coordinates (`symplectic_cv.training.internal`).
        energy_weight: weight of half the variance of ln w over the frames, by their energies;
            internal coordinates only.
    """

    steps: int = 5000
    batch: int = 512
    coupling: Coupling = Coupling.AFFINE
    layers: int = 8
    hidden: int = 64
    bins: int = 8
    momenta: Momenta = Momenta.RADEMACHER
    momentum_weight: float = 1.0
    seed: int = 0
    device: str = "auto"
    chart: Chart = Chart.CARTESIAN
    energy_weight: float = 0.0

    @property
    def flow(self) -> FlowOptions:
        return FlowOptions(
            coupling=self.coupling,
            layers=self.layers,
            hidden=self.hidden,
            bins=self.bins,
            chart=self.chart,
        )

    def __post_init__(self) -> None:
        _ = self.flow  # checks what it is made of
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise OptionError(f"--{name} must be at least 1; got {getattr(self, name)}")
        if not 0.0 <= self.momentum_weight < math.inf:
            raise OptionError(f"--momentum-weight must not be negative; got {self.momentum_weight}")
        if not 0.0 <= self.energy_weight < math.inf:
            raise OptionError(f"--energy-weight must not be negative; got {self.energy_weight}")
        if self.chart is Chart.CARTESIAN and self.energy_weight > 0.0:
            raise OptionError(
                "--energy-weight needs --chart internal; a Cartesian model learns from energies "
                "alone by `variational --system`"
            )
        if self.chart is Chart.INTERNAL and self.coupling is Coupling.AFFINE:
            raise OptionError("--coupling affine has no angles on the circle; use spline")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise OptionError("--device cuda: torch finds no NVIDIA GPU here; use --device cpu")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "momenta": self.momenta.value,
            "coupling": self.coupling.value,
            "chart": self.chart.value,
        }


def check_weights(weights: np.ndarray, n_frames: int) -> np.ndarray:
    """Frame weights as float64; raises OptionError where they cannot be."""
    w = np.asarray(weights)
    if w.shape != (n_frames,):
        raise OptionError(
            f"--weights has shape {w.shape}, the trajectories have {n_frames} frames: "
            "give one weight per frame"
        )
    w = w.astype(np.float64)
    if not np.isfinite(w).all() or (w < 0).any():
        raise OptionError("--weights holds a negative, infinite or NaN weight")
    return w


def data_warnings(
    n_frames: int, dimension: int, health: FrameHealth, hidden: int = TrainingOptions.hidden
) -> list[str]:
    """What a user should know about the data before trusting a model of them.

    Args:
        hidden: width of the networks.
    """
    notes = []
    if n_frames < FEW_FRAMES_PER_DIMENSION * dimension:
        narrower = f"; a narrower network (--hidden {NARROW}) may fit better"
        notes.append(
            f"the data are few: {n_frames} frames for {dimension} dimensions (from "
            f"{FEW_FRAMES_PER_DIMENSION * dimension} on the default settings are safe); expect an "
            f"early stop{narrower if hidden > NARROW else ''}"
        )
    if health.near_limit:
        notes.append(
            f"the molecule folds until the frame nears its limit: smallest det A is "
            f"{health.smallest:.3f} of the median (frame {health.frame}); modes may bend sharply "
            "there. Fewer or stiffer atoms (--atoms) give a safer frame"
        )
    return notes
