"""A particle in a symmetric double well."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy.integrate import quad
from torch import Tensor

from symplectic_cv.hamiltonians.base import Descriptor, Hamiltonian, gaussian_momenta_free_energy


class DoubleWell(Hamiltonian):
    """H = ½p² + 2(q² − 1)², with wells at q = ±1 and a barrier of 2 between them; n = 1."""

    name = "double-well"
    dimension = 1
    barrier = 2.0

    def potential(self, q: Tensor) -> Tensor:
        return self.barrier * ((q * q - 1.0) ** 2).sum(-1)

    def exact_free_energy(self, beta: float) -> float:
        """−ln Z in nats, by quadrature over the coordinate."""
        reach = 1.0 + (40.0 / (beta * self.barrier)) ** 0.25 + 1.0
        half, _ = quad(
            lambda q: math.exp(-beta * self.barrier * (q * q - 1.0) ** 2),
            0.0,
            reach,
            points=[1.0],
            epsabs=0.0,
            epsrel=1e-12,
        )
        return gaussian_momenta_free_energy(1, beta) - math.log(2.0 * half)

    def descriptors(self, q: Tensor) -> Mapping[str, Descriptor]:
        return {"position": Descriptor(q[..., 0])}
