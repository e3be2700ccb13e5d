"""Excitation spectra of a model: density of its frequencies, power spectra of observables.

A canonical transformation T keeps Hamilton's equations. The motion of the latent oscillators, which
is known in closed form, therefore gives the model's dynamics of the physical variables. Any
observable becomes a stationary process A(t) under ρ. Its spectrum has lines at the ω_k where T is
linear, and overtones 2ω_k and combinations ω_k ± ω_l where T is not.

Source: the paper, section III.C.1 ("one may also estimate the spectral density based on the
learned frequencies").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.fft import next_fast_len
from scipy.signal import periodogram
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import PendulumPrior

REPLICATES = 8
"""The number of independent estimates, whose scatter gives the standard error."""
OVERTONE_ROOM = 2.5
"""The Nyquist frequency over the largest ω; every 2ω_k and ω_k + ω_l lies below it."""
BINS_PER_GAP = 4
"""The number of bins between two lines, so that the main lobes of Hann's window separate."""
FEWEST_POINTS = 1024
"""The smallest number of points of a trajectory, which keeps lines narrow beside the largest ω."""
STATIC_DRAWS = (8, 8192)
"""The number of batches of static draws, and their size."""
BATCH = 16_384
"""The number of phase-space points that the flow maps at once."""


@dataclass(frozen=True)
class PowerSpectrum:
    """The one-sided spectrum on W bins, in ps and rad/ps or in reduced units.

    The window spreads a line over ±2 bins. A quantity that differs between trajectories but does
    not change along one, such as the mean of Q_k² at a given energy, gives a line at ω = 0.

    Attributes:
        omega: The angular frequencies of the bins, (W,), evenly spaced from 0.
        density: S(ω), (W,), in units of A² per rad/ps; its sum times the spacing of the bins
            estimates the variance.
        standard_error: An upper bound of the standard error of `density`, shape (W,), from the
            scatter of eight estimates.
        variance: ⟨A²⟩ − ⟨A⟩² from separate static draws, summed over the observables.
        resolution: The equivalent width of a line, 1.5 bins. Lines that are nearer merge.
        time_step: The time between points of a trajectory; frequencies above π / time_step fold.
        samples: The number of trajectories averaged.
    """

    omega: np.ndarray
    density: np.ndarray
    standard_error: np.ndarray
    variance: float
    resolution: float
    time_step: float
    samples: int

    def weight(self, low: float = 0.0, high: float = math.inf) -> tuple[float, float]:
        """∫ S dω over an interval of frequencies, and an upper bound of its standard error.

        The errors of the bins are added up, because bins of one line share their error.

        Args:
            low: The low end of the interval.
            high: The high end of the interval.
        """
        inside = (self.omega >= low) & (self.omega <= high)
        spacing = self.omega[1]
        error = spacing * self.standard_error[inside].sum()
        return float(spacing * self.density[inside].sum()), float(error)


@torch.no_grad()
def power_spectrum(
    model: PhaseSpaceModel,
    observable: ArrayLike | Tensor | None = None,
    samples: int = 256,
    seed: int = 0,
    most_points: int = 8192,
) -> PowerSpectrum:
    """The power spectrum S_A(ω) of observables A = a · q, from trajectories of the oscillators.

    The flow maps samples × points phase-space points.

    Args:
        model: The model.
        observable: The coefficients a, shape (n,), or those of several observables, shape (m, n),
            whose spectra are added up. All n coordinates are taken where None.
        samples: The number of trajectories, each from a draw of the latent density. It is rounded
            up to a multiple of 8.
        seed: The seed of the draws.
        most_points: The largest number of points of a trajectory. Fewer are used where they
            separate the nearest frequencies, and the slowest one from zero.

    Returns:
        The spectrum, which states its resolution.

    Raises:
        OptionError: An observable has another length, is not finite or is zero; or there are fewer
            than 8 samples or 64 points; or the model is one of torsions.
    """
    if isinstance(model.prior, PendulumPrior):
        raise OptionError(
            "`observable`: power spectra are those of latent oscillators, and a model of torsions "
            "has pendulums: use a model with `chart` cartesian"
        )
    omega = model.omega.to("cpu", torch.float64)
    rows = _rows(observable, len(omega))
    if samples < REPLICATES or most_points < 64:
        raise OptionError(
            f"a power spectrum needs at least {REPLICATES} samples and 64 points; got "
            f"{samples} and {most_points}"
        )
    time_step = math.pi / (OVERTONE_ROOM * float(omega.max()))
    time = time_step * torch.arange(_points(omega, most_points), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    # the mean of all, not each trajectory's own: the latter would hide the line at zero
    batches, size = STATIC_DRAWS
    static = torch.cat(
        [_observe(model, rows, *_draw(omega, (1, size), generator))[0] for _ in range(batches)]
    )
    mean, variance = static.mean(0), static.var(0).sum()
    per_replicate = -(-samples // REPLICATES)
    at_once = max(1, BATCH // len(time))
    replicates = np.zeros((REPLICATES, len(time) // 2 + 1))
    draws = zip(*_draw(omega, (REPLICATES, per_replicate), generator), strict=True)
    for replicate, (p, q) in zip(replicates, draws, strict=True):
        for some_p, some_q in zip(p.split(at_once), q.split(at_once), strict=True):
            series = _observe(model, rows, *propagate(some_p, some_q, omega, time)) - mean
            # a sampling rate in rad per time makes both results angular
            grid, density = periodogram(
                series.numpy(), 2.0 * math.pi / time_step, "hann", detrend=False, axis=1
            )
            replicate += density.sum((0, 2)) / per_replicate
    return PowerSpectrum(
        omega=grid,
        density=replicates.mean(0),
        standard_error=replicates.std(0, ddof=1) / math.sqrt(REPLICATES),
        variance=float(variance),
        resolution=1.5 * float(grid[1]),
        time_step=time_step,
        samples=REPLICATES * per_replicate,
    )


def propagate(p: Tensor, q: Tensor, omega: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The motion of harmonic oscillators.

    Args:
        p: The momenta P at time 0, shape (..., n).
        q: The coordinates Q at time 0, shape (..., n).
        omega: The frequencies ω, shape (n,).
        time: The times, shape (L,).

    Returns:
        P and Q at the times, shape (..., L, n) each.
    """
    angle = time.unsqueeze(-1) * omega
    cos, sin = torch.cos(angle), torch.sin(angle)
    p, q = p.unsqueeze(-2), q.unsqueeze(-2)
    return p * cos - omega * q * sin, q * cos + p / omega * sin


def spectral_density(
    omega: ArrayLike | Tensor, width: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Density of the modes: g(ω) = (1/n) Σ_k δ(ω − ω_k), each broadened to a Gaussian in ln ω.

    Args:
        omega: The frequencies ω, shape (n,), all positive.
        width: The standard deviation in ln ω; 0.1 broadens by 10 %. Twice the mean spacing of the
            modes where None, but at least 0.03 and at most 0.3.

    Returns:
        A grid of ω, evenly spaced in ln ω, and g there per unit of ω; ∫ g dω = 1.

    Raises:
        OptionError: A frequency or the width is not positive and finite.
    """
    values = np.append(np.asarray(omega, dtype=np.float64), 1.0 if width is None else width)
    if len(values) < 2 or not (np.isfinite(values).all() and (values > 0.0).all()):
        raise OptionError("a spectral density: frequencies and width must be positive and finite")
    logs = np.log(values[:-1])
    if width is None:
        width = float(np.clip(2.0 * np.ptp(logs) / len(logs), 0.03, 0.3))
    low, high = logs.min() - 6.0 * width, logs.max() + 6.0 * width
    grid = np.linspace(low, high, 2 + int(8 * (high - low) / width))
    gaussians = np.exp(-0.5 * ((grid[:, None] - logs) / width) ** 2)
    density = gaussians.mean(1) / (math.sqrt(2.0 * math.pi) * width)
    return np.exp(grid), density * np.exp(-grid)


def _rows(observable: ArrayLike | Tensor | None, n: int) -> Tensor:
    """Observables as float64 rows (m, n)."""
    if observable is None:
        return torch.eye(n, dtype=torch.float64)
    rows = torch.atleast_2d(torch.as_tensor(observable, dtype=torch.float64, device="cpu"))
    if rows.dim() != 2 or rows.shape[1] != n or len(rows) == 0:
        raise OptionError(
            f"an observable needs one number per coordinate, ({n},) or (m, {n}); got "
            f"{tuple(rows.shape)}"
        )
    if not rows.isfinite().all() or not rows.any():
        raise OptionError("an observable must be finite and not zero throughout")
    return rows


def _points(omega: Tensor, most: int) -> int:
    """The number of points of a trajectory that separates the lines, at most `most`."""
    lines = torch.cat([torch.zeros(1, dtype=omega.dtype), omega.sort().values])
    bin_width = float(torch.diff(lines).min()) / BINS_PER_GAP
    wanted = 2.0 * OVERTONE_ROOM * float(omega.max()) / max(bin_width, 1e-300)
    return min(next_fast_len(math.ceil(max(FEWEST_POINTS, min(wanted, most)))), most)


def _draw(omega: Tensor, shape: tuple[int, int], generator: torch.Generator) -> list[Tensor]:
    """P and Q from the latent density, (R, M, n) each: R replicates of M draws.

    Action and angle of each mode are stratified: M strata in each replicate and R · M in all (a
    sliced Latin hypercube). The error of the mean action, which is the weight of the mode's line,
    is then of order 1/RM instead of 1/√RM. The scatter of the replicates, 1/M√R, bounds that error.
    The scatter of independent replicates would depend on their few largest actions and would often
    be too small.
    """
    r, m = shape
    order, share, place = torch.rand(
        (3, 2, r, m, len(omega)), generator=generator, dtype=omega.dtype
    )
    coarse, fine = order.argsort(2), share.argsort(1)
    levels = r * coarse + fine.gather(2, coarse)
    action, turn = (levels + 1.0 - place) / (r * m)  # each in (0, 1]
    amplitude, angle = torch.sqrt(-2.0 * action.log()), 2.0 * math.pi * turn
    return [-amplitude * torch.sin(angle), amplitude * torch.cos(angle) / omega]


def _observe(model: PhaseSpaceModel, rows: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """A (..., m), float64, of latent points (..., n)."""
    flat_p, flat_q = (x.reshape(-1, x.shape[-1]).to(model.omega) for x in (p, q))
    values = []
    for some_p, some_q in zip(flat_p.split(BATCH), flat_q.split(BATCH), strict=True):
        if isinstance(model.flow, PointTransformation):
            coordinates = model.flow.inverse(some_q)[0]
        else:
            coordinates = model.flow.pull(some_p, some_q)[1]
        values.append(coordinates.to("cpu", torch.float64) @ rows.T)
    return torch.cat(values).unflatten(0, q.shape[:-1])
