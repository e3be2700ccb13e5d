"""Ringworld: a particle in the plane, held near a circle (the paper, section IV.A)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from scipy.integrate import quad
from torch import Tensor

from symplectic_cv.hamiltonians.base import Descriptor, Hamiltonian, gaussian_momenta_free_energy


class Ringworld(Hamiltonian):
    """H = ½|p|² + (|q| − 2)²/0.32, n = 2.

    The angle turns freely. The radius is a stiff oscillator.
    """

    name = "ringworld"
    dimension = 2
    radius = 2.0
    width = 0.32

    def potential(self, q: Tensor) -> Tensor:
        return (torch.linalg.vector_norm(q, dim=-1) - self.radius) ** 2 / self.width

    def guess(self) -> Tensor:
        return torch.tensor([self.radius, 0.0], dtype=torch.float64)

    def exact_free_energy(self, beta: float) -> float:
        """−ln Z in nats, by quadrature over the radius; the other integrals are known."""
        radial, _ = quad(
            lambda r: r * math.exp(-beta * (r - self.radius) ** 2 / self.width),
            0.0,
            self.radius + 40.0 * math.sqrt(self.width / beta),
            points=[self.radius],
            epsabs=0.0,
            epsrel=1e-12,
        )
        return gaussian_momenta_free_energy(2, beta) - math.log(2.0 * math.pi * radial)

    def descriptors(self, q: Tensor) -> Mapping[str, Descriptor]:
        return {
            "angle": Descriptor(torch.atan2(q[..., 1], q[..., 0]), "rad", circular=True),
            "radius": Descriptor(torch.linalg.vector_norm(q, dim=-1)),
        }
