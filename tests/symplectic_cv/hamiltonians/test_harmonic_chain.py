"""The harmonic chain against a grid, its formula and its matrix."""

import math

import numpy as np
import pytest
import torch
from hamiltonians_by_hand import grid_free_energy

from symplectic_cv.errors import OptionError
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.hamiltonians.library import find_hamiltonian


@pytest.mark.parametrize("beta", [0.6, 1.0, 2.5])
def test_its_free_energy_is_that_of_a_grid(beta):
    axes = [np.linspace(-9.0, 9.0, 601)] * 2
    exact = HarmonicChain(2).exact_free_energy(beta)
    assert exact == pytest.approx(grid_free_energy(HarmonicChain(2), beta, axes), abs=2e-4)


def test_the_chain_has_the_modes_of_the_formula():
    chain = HarmonicChain(7)
    k = torch.arange(1, 8, dtype=torch.float64)
    torch.testing.assert_close(chain.exact_omega(), 2.0 * torch.sin(math.pi * k / 16.0))
    modes = chain.normal_modes()
    torch.testing.assert_close(modes.T @ modes, torch.eye(7, dtype=torch.float64))
    q = torch.randn(9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_modes = 0.5 * ((chain.exact_omega() * (q @ modes)) ** 2).sum(-1)
    torch.testing.assert_close(chain.potential(q), by_modes)


@pytest.mark.parametrize("size", [0, -3])
def test_a_chain_needs_a_particle(size):
    with pytest.raises(OptionError, match="at least one particle"):
        find_hamiltonian("harmonic-chain", size)


def test_its_frequencies_are_those_of_its_second_derivatives():
    chain = HarmonicChain(6)
    origin = torch.zeros(6, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda q: chain.potential(q[None])[0], origin)
    torch.testing.assert_close(torch.linalg.eigvalsh(hessian).sqrt(), chain.exact_omega())
