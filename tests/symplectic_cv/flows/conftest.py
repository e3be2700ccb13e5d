"""Spline couplings on an interval and on circles."""

import pytest
import torch
from couplings import spline_of


@pytest.fixture
def interval(perturb):
    """A spline coupling on an interval."""
    return spline_of(perturb, seed=1)


@pytest.fixture
def circle(perturb):
    """A spline coupling of four angles."""
    return spline_of(perturb, seed=2, circular=torch.ones(4, dtype=torch.bool))
