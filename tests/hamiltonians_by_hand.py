"""Hamiltonians for tests: one written by a user, and free energies on a grid."""

import math

import torch
from scipy.special import logsumexp

from symplectic_cv.hamiltonians.base import Hamiltonian


class Own(Hamiltonian):
    """A Hamiltonian as a user writes one, from a function of q."""

    name = "own"

    def __init__(self, potential, dimension=2, guess=None):
        self.dimension = dimension
        self._potential = potential
        self._guess = guess

    def potential(self, q):
        return self._potential(q)

    def guess(self):
        return super().guess() if self._guess is None else self._guess


def grid_free_energy(hamiltonian, beta, axes):
    """−ln Z by the midpoint rule on a grid of q; momenta by hand."""
    grids = torch.meshgrid(*[torch.as_tensor(axis) for axis in axes], indexing="ij")
    q = torch.stack([grid.reshape(-1) for grid in grids], -1)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    configurations = logsumexp(-beta * hamiltonian.potential(q).numpy()) + math.log(cell)
    return -0.5 * len(axes) * math.log(2.0 * math.pi / beta) - configurations
