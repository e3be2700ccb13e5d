"""Weights that remove a bias, at their limits and against exact answers."""

import logging

import numpy as np
import pytest

from symplectic_cv.bias.weights import mbar_weights, running_weights, settled_from
from symplectic_cv.errors import OptionError
from symplectic_cv.statistics import effective_size
from symplectic_cv.units import thermal_energy

KT = thermal_energy(300.0)


@pytest.mark.statistical
def test_mbar_of_umbrellas_is_exact():
    """Two harmonic umbrellas on a harmonic well: the unbiased mean and variance are known."""
    rng = np.random.default_rng(0)
    centres, n = [-1.5, 1.5], 20_000
    # exp(−x²/2 − (x − c)²/2) is a Gaussian of mean c/2 and variance 1/2
    x = np.concatenate([rng.normal(c / 2, np.sqrt(0.5), n) for c in centres])
    w = mbar_weights(np.array([0.5 * (x - c) ** 2 for c in centres]), [n, n])
    assert w.sum() == pytest.approx(1.0)
    assert (w * x).sum() == pytest.approx(0.0, abs=0.04)
    assert (w * x * x).sum() == pytest.approx(1.0, abs=0.06)


def test_running_weights_do_not_overflow():
    assert running_weights(np.array([5000.0, 5000.0]), np.zeros(2), KT) == pytest.approx(0.5)


def test_effective_size_and_transients_at_their_limits():
    assert effective_size(np.ones(7)) == pytest.approx(7.0)
    assert settled_from(np.zeros(100)) == 0
    rng = np.random.default_rng(0)
    drift = np.concatenate([np.linspace(-20, 0, 300), np.zeros(700)]) + rng.normal(size=1000)
    assert 200 < settled_from(drift) < 400
    assert settled_from(drift, most=0.1) == 100


def test_energies_that_fit_no_state_are_told():
    with pytest.raises(OptionError, match="2 states with 3 frames in all"):
        mbar_weights(np.zeros((2, 4)), [1, 2])
    with pytest.raises(OptionError, match="not finite"):
        mbar_weights(np.full((1, 2), np.inf), [2])


def test_the_logger_of_pymbar_keeps_its_level():
    logger = logging.getLogger("pymbar")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        mbar_weights(np.zeros((2, 4)), [1, 3])
        settled_from(np.random.default_rng(0).normal(size=50))
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)
