"""The cold start of a training on a Hamiltonian."""

import math

import pytest
import torch
from hamiltonians_by_hand import Own

from symplectic_cv.errors import HamiltonianError
from symplectic_cv.hamiltonians.base import COLD
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.hamiltonians.start import cold_start, find_start


def test_learning_starts_cold_in_a_minimum_as_narrow_as_its_stiffest_direction():
    start = cold_start(ReducedHamiltonian(Ringworld()))
    assert float(torch.linalg.vector_norm(start.shift)) == pytest.approx(2.0, abs=1e-4)
    assert start.omega.tolist() == pytest.approx([2.5, 2.5], rel=1e-3)  # √(2/0.32)
    assert start.cold == COLD
    assert start.energy == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("sign", [0.0, -1.0], ids=["flat", "bends down"])
def test_nothing_confines_a_particle(sign):
    with pytest.raises(HamiltonianError, match=r"flat or bends down|no minimum"):
        cold_start(ReducedHamiltonian(Own(lambda q: sign * (q * q).sum(-1))))


def test_a_known_start_is_taken_before_a_cold_one():
    known = cold_start(ReducedHamiltonian(DoubleWell()))

    class Known(DoubleWell):
        def known_start(self, beta=1.0, scale=None):
            return known

    assert find_start(ReducedHamiltonian(Known())) is known
    assert find_start(ReducedHamiltonian(DoubleWell())) is not known


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_start_is_a_minimum_with_the_curvature_there(beta):
    """In the scaled variables the curvature of βV is that of V, 16 in a well."""
    start = cold_start(ReducedHamiltonian(DoubleWell(), beta), seed=1)
    assert float(start.shift.abs()) == pytest.approx(math.sqrt(beta), rel=1e-4)
    assert float(start.omega) == pytest.approx(4.0, rel=1e-3)
