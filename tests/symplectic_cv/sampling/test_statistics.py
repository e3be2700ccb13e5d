"""Statistics of chains against processes whose autocorrelation is known."""

import math

import numpy as np
import pytest

from symplectic_cv.sampling.statistics import (
    autocorrelation_time,
    split_rhat,
    standard_error,
)


@pytest.mark.statistical
def test_autocorrelation_of_a_known_process():
    """AR(1) with coefficient a has g = (1 + a)/(1 − a); its estimate scatters by √(2W/N) g."""
    rng = np.random.default_rng(0)
    for a in (-0.5, 0.0, 0.9):
        x = np.zeros((4000, 16))
        for step in range(1, len(x)):
            x[step] = a * x[step - 1] + math.sqrt(1.0 - a * a) * rng.normal(size=16)
        expected = (1.0 + a) / (1.0 - a)
        scatter = expected * math.sqrt(2.0 * (2.0 * 5.0 * expected + 1.0) / x.size)
        assert abs(autocorrelation_time(x) - expected) < 4.0 * scatter
    assert autocorrelation_time(np.ones((50, 4))) == 200.0


def test_rhat_tells_chains_that_disagree():
    rng = np.random.default_rng(0)
    same = rng.normal(size=(1000, 8))
    assert split_rhat(same) < 1.01
    assert split_rhat(same + 0.5 * np.arange(8)) > 1.3
    drifting = same + np.linspace(0.0, 3.0, 1000)[:, None]
    assert split_rhat(drifting) > 1.2
    assert math.isinf(split_rhat(np.tile(np.arange(4.0), (10, 1))))
    assert math.isnan(split_rhat(same[:3]))


@pytest.mark.statistical
def test_the_standard_error_is_the_scatter_of_means():
    """Means of 300 AR(1) runs scatter by their stated error; χ² has the error √(2/300)."""
    rng = np.random.default_rng(1)
    a, runs = 0.7, 300
    x = np.zeros((1000, runs, 4))
    x[0] = rng.normal(size=(runs, 4))
    for step in range(1, len(x)):
        x[step] = a * x[step - 1] + math.sqrt(1.0 - a * a) * rng.normal(size=(runs, 4))
    scores = np.array([x[:, run].mean() / standard_error(x[:, run]) for run in range(runs)])
    assert abs(np.mean(scores**2) - 1.0) < 4.0 * math.sqrt(2.0 / runs)


def test_statistics_do_not_depend_on_unit_and_origin():
    x = np.random.default_rng(2).normal(size=(500, 3)).cumsum(0)
    assert autocorrelation_time(7.0 * x - 3.0) == pytest.approx(autocorrelation_time(x))
    assert split_rhat(7.0 * x - 3.0) == pytest.approx(split_rhat(x))
    assert standard_error(7.0 * x - 3.0) == pytest.approx(7.0 * standard_error(x))
