"""Weights that remove the bias from biased frames.

There are two ways. The frames of one metadynamics run have the weights exp((V(s, t) − c(t))/kT),
with the bias that each frame felt. The frames of one or several runs have MBAR weights: each
stretch of a run is a state with the bias in its middle, and every frame is weighted against all
states.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from scipy.special import logsumexp

from symplectic_cv.errors import OptionError

TOLERANCE = 1e-7
"""Relative tolerance of the free energies of the MBAR states."""


@contextmanager
def quiet_pymbar() -> Iterator[None]:
    """Hides the notes of pymbar about JAX while it is imported and used."""
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def running_weights(bias: np.ndarray, offset: np.ndarray, kt: float) -> np.ndarray:
    """Normalised weights ∝ exp((V − c)/kT) of the frames of a metadynamics run, (F,).

    Args:
        bias: The bias V(s(t), t) that each frame felt, (F,) in kJ/mol.
        offset: c(t) at each frame, (F,) in kJ/mol.
        kt: kT in kJ/mol.

    Source: P. Tiwary and M. Parrinello, J. Phys. Chem. B 119, 736 (2015).

    Example:
        >>> running_weights(np.array([2.0, 1.0]), np.array([1.0, 0.0]), 2.5)
        array([0.5, 0.5])
    """
    exponent = (np.asarray(bias, dtype=np.float64) - offset) / kt
    return np.exp(exponent - logsumexp(exponent))


def mbar_weights(reduced: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Normalised weights in the unbiased state of frames from several biased states, (F,).

    Args:
        reduced: V_k(x)/kT of every state k on every frame, (K, F).
        counts: The number of frames drawn from each state, (K,), with sum F.

    Raises:
        OptionError: Shapes that do not fit, or energies that are not finite.

    Source: M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), through pymbar.

    Example:
        >>> mbar_weights(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), [1, 2]).round(3)
        array([0.333, 0.333, 0.333])
    """
    reduced = np.asarray(reduced, dtype=np.float64)
    counts_ = np.asarray(counts, dtype=np.int64)
    if reduced.ndim != 2 or len(counts_) != len(reduced) or counts_.sum() != reduced.shape[1]:
        raise OptionError(
            f"{len(counts_)} states with {counts_.sum()} frames in all do not fit energies of "
            f"shape {reduced.shape}"
        )
    if not np.isfinite(reduced).all():
        raise OptionError("a bias is not finite on some frame: the frames belong to another run")
    # pymbar's default tolerance cannot be reached where a free energy is near 0, and takes minutes
    solver = ({"method": "adaptive", "tol": TOLERANCE, "options": {"maxiter": 500}},)
    with quiet_pymbar():
        from pymbar import MBAR

        solved = MBAR(reduced, counts_, solver_protocol=solver)
    # the unbiased state has no frames and zero energy: its weights are the mixture's inverse
    filled = counts_ > 0
    terms = solved.f_k[filled, None] - reduced[filled] + np.log(counts_[filled])[:, None]
    exponent = -logsumexp(terms, axis=0)
    return np.exp(exponent - logsumexp(exponent))


def settled_from(series: np.ndarray, most: float = 0.5) -> int:
    """The number of the first frame after the initial transient of a series.

    Of a hundred candidates the one is taken after which there are the most uncorrelated frames.

    Args:
        series: The values over time, (F,). For metadynamics this is the bias minus c(t), which
            drifts until the basins are full.
        most: The largest part of the series that may be given up.

    Source: J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), through pymbar.
    """
    n = len(series)
    if n < 20 or np.ptp(series) == 0.0:
        return 0
    with quiet_pymbar():
        from pymbar.timeseries import detect_equilibration

        start, _, _ = detect_equilibration(np.asarray(series), fast=True, nskip=max(1, n // 100))
    return min(int(start), int(most * n))
