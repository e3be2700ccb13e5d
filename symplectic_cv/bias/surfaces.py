"""Free energies of weighted frames along any descriptors, with errors from blocks of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from symplectic_cv.bias.blocks import log_ratio_error, log_share_error
from symplectic_cv.errors import OptionError

BINS = 36
"""Default number of bins along each descriptor; 10 degrees of a torsion."""


@dataclass(frozen=True)
class BinnedSurface:
    """A free energy on bins of one or two descriptors.

    Attributes:
        names: The names of the descriptors.
        axes: The centres of the bins along each descriptor, (B,) each.
        free_energy: The free energy in kJ/mol, one axis per descriptor. Its least value is 0; it
            is infinite in bins without a frame.
        error: The standard error of −kT ln p, kJ/mol; NaN where too few blocks hold a frame.
        frames: The number of frames in each bin, unweighted.
    """

    names: list[str]
    axes: list[np.ndarray]
    free_energy: np.ndarray
    error: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class RegionDifference:
    """The free energy of one region minus that of another, kJ/mol.

    Attributes:
        value: The difference in kJ/mol.
        error: The standard error of the difference, in kJ/mol.
        interval: Half the width of its 95 % confidence interval, kJ/mol.
    """

    value: float
    error: float
    interval: float


def binned_surface(
    values: np.ndarray,
    weights: np.ndarray,
    ranges: Sequence[tuple[float, float]],
    names: Sequence[str],
    kt: float,
    blocks: np.ndarray,
    bins: int = BINS,
    seed: int = 0,
) -> BinnedSurface:
    """The free energy −kT ln p on even bins of one or two descriptors.

    Args:
        values: The descriptors of the frames, (F, D), with D 1 or 2.
        weights: The weights of the frames, (F,), not negative.
        ranges: The low and high end along each descriptor; frames outside are left out.
        names: The names of the descriptors.
        kt: kT in kJ/mol.
        blocks: The block of time that each frame belongs to, (F,), from `block_of_frames`.
        bins: The number of bins along each descriptor.
        seed: The seed of the bootstrap resamples.

    Raises:
        OptionError: Weights that do not fit the frames, or no frame in the ranges.

    Example:
        >>> values, blocks = np.array([[0.2], [0.3], [0.7], [0.8]]), np.array([0, 1, 0, 1])
        >>> weights = np.array([2.0, 2.0, 1.0, 1.0])
        >>> found = binned_surface(values, weights, [(0, 1)], ["x"], 1.0, blocks, bins=2)
        >>> found.free_energy.round(3), found.error.round(3)
        (array([0.   , 0.693]), array([0., 0.]))
    """
    require_blocks(values, weights, blocks)
    edges = [np.linspace(low, high, bins + 1) for low, high in ranges]
    places = np.zeros(len(values), dtype=np.int64)
    inside = np.ones(len(values), dtype=bool)
    for column, edge in zip(values.T, edges, strict=True):
        place = np.minimum(np.searchsorted(edge, column, side="right") - 1, bins - 1)
        inside &= (column >= edge[0]) & (column <= edge[-1])
        places = places * bins + place
    size = bins ** len(edges)
    n_blocks = int(blocks.max()) + 1
    cells = blocks[inside] * size + places[inside]
    per_block = np.bincount(cells, weights[inside], n_blocks * size).reshape(n_blocks, size)
    if not per_block.sum() > 0.0:
        raise OptionError(f"no frame with a weight is in the range of {', '.join(names)}")
    frames = np.bincount(places[inside], minlength=size)
    total = per_block.sum(0)
    with np.errstate(divide="ignore"):
        free_energy = -kt * np.log(total / total.sum())
    error = kt * log_share_error(per_block, seed)
    shape = (bins,) * len(edges)
    return BinnedSurface(
        names=list(names),
        axes=[0.5 * (edge[1:] + edge[:-1]) for edge in edges],
        free_energy=(free_energy - free_energy.min()).reshape(shape),
        error=error.reshape(shape),
        frames=frames.reshape(shape),
    )


def region_difference(
    inside: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray,
    kt: float,
    blocks: np.ndarray,
    seed: int = 0,
) -> RegionDifference:
    """G(inside) − G(reference) = −kT ln of the ratio of their populations, in kJ/mol.

    Args:
        inside: The mask of the frames in the region, (F,).
        reference: The mask of the frames in the region to compare with, (F,).
        weights: The weights of the frames, (F,).
        kt: kT in kJ/mol.
        blocks: The block of time that each frame belongs to, (F,).
        seed: The seed of the bootstrap resamples.

    Returns:
        The difference. It is infinite where a region holds no weight; its error is infinite
        where too few blocks hold either region.

    Example:
        >>> inside = np.array([True, False, True, False])
        >>> w, blocks = np.array([1.0, 2.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
        >>> round(region_difference(inside, ~inside, w, 1.0, blocks).value, 4)
        0.6931
    """
    require_blocks(inside, weights, blocks)
    n_blocks = int(blocks.max()) + 1
    a = np.bincount(blocks[inside], weights[inside], n_blocks)
    b = np.bincount(blocks[reference], weights[reference], n_blocks)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(-kt * np.log(a.sum() / b.sum()))
    error = kt * log_ratio_error(a, b, seed)
    if not np.isfinite(value) or not np.isfinite(error):
        return RegionDifference(value, np.inf, np.inf)
    return RegionDifference(value, error, float(student.ppf(0.975, n_blocks - 1)) * error)


def require_blocks(values: np.ndarray, weights: np.ndarray, blocks: np.ndarray) -> None:
    """Raises OptionError unless values, weights and blocks belong to the same frames."""
    if not len(values) == len(weights) == len(blocks):
        raise OptionError(
            f"{len(weights)} weights and {len(blocks)} block numbers do not match "
            f"{len(values)} frames"
        )
    if len(blocks) == 0 or int(blocks.max()) < 1:
        raise OptionError("errors need at least two blocks of frames: the runs are too short")
    if not np.isfinite(weights).all() or (weights < 0.0).any():
        raise OptionError("a weight is negative, infinite or NaN")
