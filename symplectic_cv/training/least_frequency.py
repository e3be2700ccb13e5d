"""Modes of least frequency in a space of torsion functions: slow modes without time order.

For a function χ of the configuration with momenta from Maxwell's distribution,

    ω²[χ] = ⟨χ̇²⟩ / Var χ = ⟨∇χ · kT M⁻¹ ∇χ⟩ / Var χ.

With χ = Σ_a w_a ψ_a this is a quotient of quadratic forms, A w = ω² C w, with A = ⟨∂ψ K ∂ψᵀ⟩ and
C = Cov ψ. The basis is ψ = {cos(m n_i s_i), sin(m n_i s_i)} over the torsions s_i of rotatable
bonds with their folds n_i, m = 1 … order (`charts.torsion_basis`). K is the metric of the torsions
(`charts.torsion_metric`).
Neither the order of the frames nor a lag time enters.

Sources: the frequency is that of the paper (Phys. Rev. X 10, 021020) for any function; the
quotient is the Dirichlet form of the generator of overdamped dynamics, S. Klus et al., J. Nonlinear
Sci. 30, 283 (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from symplectic_cv.errors import FrameError

SMALLEST_VARIANCE = 1e-6
"""Directions whose variance is below this part of the largest are dropped."""
BLOCKS = 10
"""Blocks of consecutive frames for standard errors and for held-out frequencies."""
CHUNK = 20_000
"""Frames whose products are formed at once."""


@dataclass(frozen=True)
class QuotientParts:
    """Weighted sums of one block of frames, from which A, C and the means follow.

    Attributes:
        weight: The sum of the weights.
        first: The weighted sum of the features, shape (n_features,).
        second: The weighted sum of their products, shape (n_features, n_features).
        kinetic: The weighted sum of ∂ψ K ∂ψᵀ, shape (n_features, n_features), in 1/ps².
    """

    weight: float
    first: np.ndarray
    second: np.ndarray
    kinetic: np.ndarray

    def __add__(self, other: QuotientParts) -> QuotientParts:
        return QuotientParts(
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            self.kinetic + other.kinetic,
        )

    @property
    def mean(self) -> np.ndarray:
        return self.first / self.weight

    @property
    def covariance(self) -> np.ndarray:
        return self.second / self.weight - np.outer(self.mean, self.mean)


@dataclass(frozen=True)
class LeastFrequencyModes:
    """Modes χ_k = Σ_a coefficients[k, a] (ψ_a − mean_a), with zero mean and unit variance.

    Attributes:
        coefficients: Shape (n_modes, n_features), slowest mode first.
        mean: The mean of the features, shape (n_features,).
        omega: Frequencies in rad/ps, shape (n_modes,).
        error: Their standard errors from blocks of frames, in rad/ps; NaN with a single block.
        held_out: Frequencies on frames that a mode was not fitted to, in rad/ps; NaN where there
            are too few blocks.
    """

    coefficients: np.ndarray
    mean: np.ndarray
    omega: np.ndarray
    error: np.ndarray
    held_out: np.ndarray


def quotient_parts(
    features: np.ndarray, slopes: np.ndarray, metric: np.ndarray, weights: np.ndarray
) -> QuotientParts:
    """The sums over one block of frames.

    Args:
        features: ψ, shape (n_frames, n_features).
        slopes: ∂ψ/∂s of each feature by its own torsion, shape (n_frames, n_features).
        metric: K, shape (n_frames, n_bonds, n_bonds), in 1/ps².
        weights: Weights of the frames, shape (n_frames,).
    """
    n_bonds, n = metric.shape[1], features.shape[1]
    size = n // n_bonds
    kinetic = np.zeros((n, n))
    second = np.zeros((n, n))
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        w, slope, k = weights[part], slopes[part], metric[part]
        second += (features[part] * w[:, None]).T @ features[part]
        for i in range(n_bonds):
            rows = slice(i * size, (i + 1) * size)
            weighted = slope[:, rows] * w[:, None]
            for j in range(i + 1):
                columns = slice(j * size, (j + 1) * size)
                block = (weighted * k[:, i, j, None]).T @ slope[:, columns]
                kinetic[rows, columns] += block
                if j < i:
                    kinetic[columns, rows] += block.T
    return QuotientParts(float(weights.sum()), weights @ features, second, kinetic)


def solve_quotient(parts: QuotientParts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies in rad/ps, coefficients (n_modes, n_features) and the mean of the features.

    Raises:
        FrameError: All features are constant.
    """
    covariance = parts.covariance
    variance, axes = np.linalg.eigh(covariance)
    kept = variance > SMALLEST_VARIANCE * max(float(variance[-1]), 1e-300)
    if not variance[-1] > 1e-12:
        raise FrameError("no torsion moves in the given frames: give frames of a longer run")
    white = axes[:, kept] / np.sqrt(variance[kept])
    square, vectors = eigh(white.T @ (parts.kinetic / parts.weight) @ white)
    coefficients = (white @ vectors).T
    # the sign is arbitrary: the largest coefficient is positive, so that a refit repeats it
    largest = np.abs(coefficients).argmax(1)
    coefficients *= np.sign(coefficients[np.arange(len(coefficients)), largest])[:, None]
    return np.sqrt(np.maximum(square, 0.0)), coefficients, parts.mean


def quotients(parts: QuotientParts, coefficients: np.ndarray) -> np.ndarray:
    """ω² of given modes on the frames of some blocks, in rad²/ps², shape (n_modes,)."""
    kinetic = np.einsum("ka,ab,kb->k", coefficients, parts.kinetic / parts.weight, coefficients)
    variance = np.einsum("ka,ab,kb->k", coefficients, parts.covariance, coefficients)
    return kinetic / np.maximum(variance, 1e-300)


def least_frequency_modes(blocks: Sequence[QuotientParts], n_modes: int) -> LeastFrequencyModes:
    """The slowest modes of all blocks, with errors and held-out frequencies.

    Args:
        blocks: Sums over blocks of consecutive frames, at least one.
        n_modes: How many modes to keep.

    Raises:
        FrameError: No torsion moves.
    """
    total = blocks[0]
    for block in blocks[1:]:
        total = total + block
    omega, coefficients, mean = solve_quotient(total)
    omega, coefficients = omega[:n_modes], coefficients[:n_modes]
    error = np.full(len(omega), np.nan)
    held_out = np.full(len(omega), np.nan)
    if len(blocks) > 2:
        left_out = [_difference(total, block) for block in blocks]
        jackknife = np.array([np.sqrt(quotients(rest, coefficients)) for rest in left_out])
        n = len(blocks)
        error = np.sqrt((n - 1) / n * ((jackknife - jackknife.mean(0)) ** 2).sum(0))
        kinetic, variance = np.zeros(len(omega)), np.zeros(len(omega))
        for rest, block in zip(left_out, blocks, strict=True):
            found = solve_quotient(rest)[1][: len(omega)]
            kinetic[: len(found)] += np.einsum("ka,ab,kb->k", found, block.kinetic, found)
            # about the mean of the frames it was fitted to, as the mode is used
            shift = rest.mean
            square = (
                block.second
                - np.outer(block.first, shift)
                - np.outer(shift, block.first)
                + block.weight * np.outer(shift, shift)
            )
            variance[: len(found)] += np.einsum("ka,ab,kb->k", found, square, found)
        held_out = np.sqrt(kinetic / variance)
    return LeastFrequencyModes(coefficients, mean, omega, error, held_out)


def _difference(total: QuotientParts, block: QuotientParts) -> QuotientParts:
    return QuotientParts(
        total.weight - block.weight,
        total.first - block.first,
        total.second - block.second,
        total.kinetic - block.kinetic,
    )
