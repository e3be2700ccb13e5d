"""Weights that take the bias out of biased frames.

Two ways. Of one metadynamics run: exp((V(s, t) − c(t))/kT), with the bias that each frame
felt. Of one or several runs together: their stretches are states of MBAR, each with the bias
in its middle, and every frame is weighed against all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from symplectic_cv.errors import OptionError

TOLERANCE = 1e-7
"""Relative, of the free energies of the states."""


def running_weights(bias: np.ndarray, offset: np.ndarray, kt: float) -> np.ndarray:
    """Normalised weights ∝ exp((V − c)/kT) of the frames of a metadynamics run, (F,).

    Args:
        bias: V(s(t), t) in kJ/mol that each frame felt, (F,).
        offset: c(t) in kJ/mol, (F,).
        kt: kT in kJ/mol.

    Source: P. Tiwary and M. Parrinello, J. Phys. Chem. B 119, 736 (2015).

    Example:
        >>> running_weights(np.array([2.0, 1.0]), np.array([1.0, 0.0]), 2.5)
        array([0.5, 0.5])
    """
    exponent = (np.asarray(bias, dtype=np.float64) - offset) / kt
    return np.exp(exponent - logsumexp(exponent))


def mbar_weights(reduced: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Normalised weights of frames from several biased states in the unbiased one, (F,).

    Args:
        reduced: V_k(x)/kT of every state k for every frame, (K, F).
        counts: frames of each state, (K,), which sum to F.

    Raises:
        OptionError: shapes that do not fit, or energies that are not finite.

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
    logging.getLogger("pymbar").setLevel(logging.ERROR)  # it advertises JAX
    from pymbar import MBAR

    # its default tolerance is out of reach where a free energy is near 0, and takes minutes then
    solver = ({"method": "adaptive", "tol": TOLERANCE, "options": {"maxiter": 500}},)
    solved = MBAR(reduced, counts_, solver_protocol=solver)
    # the unbiased state has no frames and zero energy: its weights are the mixture's inverse
    filled = counts_ > 0
    terms = solved.f_k[filled, None] - reduced[filled] + np.log(counts_[filled])[:, None]
    exponent = -logsumexp(terms, axis=0)
    return np.exp(exponent - logsumexp(exponent))


def settled_from(series: np.ndarray, most: float = 0.5) -> int:
    """First frame after the initial transient of a series.

    The start that leaves the most uncorrelated frames behind it, among a hundred candidates.

    Args:
        series: (F,), for metadynamics c(t) taken off the bias: it drifts until basins are full.
        most: part of the series that may be given up at most.

    Source: J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), through pymbar.
    """
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    from pymbar.timeseries import detect_equilibration

    n = len(series)
    if n < 20 or np.ptp(series) == 0.0:
        return 0
    start, _, _ = detect_equilibration(np.asarray(series), fast=True, nskip=max(1, n // 100))
    return min(int(start), int(most * n))
