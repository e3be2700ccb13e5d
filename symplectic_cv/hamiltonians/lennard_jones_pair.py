"""Two particles in the plane that attract one another, each in a weak trap."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from scipy.integrate import quad
from torch import Tensor

from symplectic_cv.hamiltonians.base import Descriptor, Hamiltonian, gaussian_momenta_free_energy


class LennardJonesPair(Hamiltonian):
    """H = ½|p|² + ½k Σ|x_i|² + 4ε(s⁶ − s³), s = σ²/(r² + δ²), n = 4.

    q holds x₁ and x₂. The core is softened by δ, so that it is high but finite: a training samples
    clashes at first. The pair turns freely, vibrates, and moves as a whole in the trap.
    """

    name = "lennard-jones-pair"
    dimension = 4
    depth = 6.0
    diameter = 1.5
    softness = 0.5
    trap = 0.25

    def _pair(self, r2: Tensor) -> Tensor:
        cube = (self.diameter**2 / (r2 + self.softness**2)) ** 3
        return 4.0 * self.depth * (cube * cube - cube)

    def potential(self, q: Tensor) -> Tensor:
        apart = q[..., 2:] - q[..., :2]
        return 0.5 * self.trap * (q * q).sum(-1) + self._pair((apart * apart).sum(-1))

    def guess(self) -> Tensor:
        half = 0.5 * math.sqrt(2.0 ** (1.0 / 3.0) * self.diameter**2 - self.softness**2)
        return torch.tensor([-half, 0.0, half, 0.0], dtype=torch.float64)

    def exact_free_energy(self, beta: float) -> float:
        """−ln Z in nats, by quadrature over the distance; the other integrals are known.

        With R = (x₁ + x₂)/2 and r = x₂ − x₁ the trap is k|R|² + ¼k|r|², and dx₁dx₂ = dR dr.
        """
        centre = math.pi / (beta * self.trap)

        def weight(r: float) -> float:
            pair = float(self._pair(torch.tensor(r * r, dtype=torch.float64)))
            return r * math.exp(-beta * (0.25 * self.trap * r * r + pair))

        nearest = float(2.0 * self.guess()[2])
        far = nearest + 40.0 / math.sqrt(beta * self.trap)
        apart = quad(weight, 0.0, nearest, epsabs=0.0, epsrel=1e-11, limit=200)[0]
        apart += quad(weight, nearest, far, epsabs=0.0, epsrel=1e-11, limit=200)[0]
        configurations = math.log(centre) + math.log(2.0 * math.pi * apart)
        return gaussian_momenta_free_energy(4, beta) - configurations

    def descriptors(self, q: Tensor) -> Mapping[str, Descriptor]:
        apart = q[..., 2:] - q[..., :2]
        return {
            "angle": Descriptor(torch.atan2(apart[..., 1], apart[..., 0]), "rad", circular=True),
            "distance": Descriptor(torch.linalg.vector_norm(apart, dim=-1)),
        }
