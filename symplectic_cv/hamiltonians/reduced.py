"""A Hamiltonian at a temperature, in nats and in the variables that flows are learned in.

With β ≠ 1 both p and q are scaled by √β. That leaves frequencies as they are, makes
momenta N(0, 1), and is what the units of a molecule already do; the volume element brings
−n ln β to ln Z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.hamiltonians.base import Hamiltonian, require_energies

ENERGY_CAP = 1000.0
"""Energies that lie this much (nats) above the start grow only as their logarithm from there, so
that a clash cannot throw a training off its course."""


@dataclass(frozen=True)
class ReducedHamiltonian:
    """βH − ln(volume element) in nats, as a function of x = √β_units (p, q).

    Args:
        hamiltonian: H.
        beta: inverse temperature β.
        units_beta: β of the variables, where it is not that of the energy; a model learned
            at one temperature is asked about another one so.
        floor: The energy in nats above which the cap counts: that of the start.
    """

    hamiltonian: Hamiltonian
    beta: float = 1.0
    units_beta: float | None = None
    floor: float = -math.inf

    def __post_init__(self) -> None:
        for value in (self.beta, self.scale):
            if not 0.0 < value < math.inf:
                raise OptionError(f"`beta` must be positive; got {value}")

    @property
    def dimension(self) -> int:
        return self.hamiltonian.dimension

    @property
    def scale(self) -> float:
        """β of the variables."""
        return self.beta if self.units_beta is None else self.units_beta

    @property
    def log_volume_of_units(self) -> float:
        """ln(dp dq / dx) = −n ln β_units."""
        return -self.dimension * math.log(self.scale)

    @property
    def log_momentum_volume(self) -> float:
        """ln ∫ exp(−βp²/2) over the scaled momenta, where they can be integrated by hand."""
        return 0.5 * self.dimension * math.log(2.0 * math.pi * self.scale / self.beta)

    def energy(self, p: Tensor, q: Tensor, heat: float = 1.0) -> Tensor:
        """βH − ln(volume element) in nats, (B,), at scaled momenta and coordinates (B, n).

        Args:
            heat: multiplies the potential (of a Hamiltonian that has one) while it cools.
        """
        if self.hamiltonian.kinetic:
            moving = 0.5 * self.beta / self.scale * (p * p).sum(-1)
            return moving + self.configuration(q, heat)
        root = math.sqrt(self.scale)
        found = self.hamiltonian.energy(p / root, q / root)
        energy = self.beta * require_energies(self.hamiltonian, found, len(q))
        return energy - self.hamiltonian.log_volume(q / root)

    def configuration(self, q: Tensor, heat: float = 1.0) -> Tensor:
        """βV − ln(volume element) in nats, (B,), for a Hamiltonian ½|p|² + V(q)."""
        real = q / math.sqrt(self.scale)
        found = self.hamiltonian.potential(real)
        energy = self.beta * require_energies(self.hamiltonian, found, len(q))
        return heat * energy - self.hamiltonian.log_volume(real)

    def capped(self, energy: Tensor, heat: float = 1.0) -> Tensor:
        """Energies whose excess over the cap grows as its logarithm only."""
        limit = heat * (self.floor + ENERGY_CAP) if math.isfinite(self.floor) else math.inf
        over = energy > limit
        excess = torch.where(over, energy - limit, torch.zeros_like(energy))
        return torch.where(over, limit + torch.log1p(excess.clamp(max=1e30)), energy)

    def over_cap(self, energy: Tensor) -> Tensor:
        """Which energies the cap would change, (B,) bool."""
        return energy > self.floor + ENERGY_CAP
