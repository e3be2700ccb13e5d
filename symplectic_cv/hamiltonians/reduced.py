"""A Hamiltonian at a temperature, in nats and in the variables of a flow.

With β ≠ 1 both p and q are scaled by √β. Frequencies stay the same, and momenta become N(0, 1). The
volume element adds −n ln β to ln Z. The units of a molecule include this scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.hamiltonians.base import Hamiltonian, require_energies

ENERGY_CAP = 1000.0
"""The energy above the start, in nats, from which on the excess counts by its logarithm only. A
clash would otherwise dominate the gradient of a training."""


@dataclass(frozen=True)
class ReducedHamiltonian:
    """βH − ln(volume element) in nats, as a function of x = √β_units (p, q).

    Args:
        hamiltonian: The Hamiltonian H.
        beta: The inverse temperature β of the energy.
        units_beta: The inverse temperature that scales the variables; `beta` where None. It differs
            where a model of one temperature is used at another one.
        floor: The energy of the start in nats, from which the cap of energies counts.
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
        """The inverse temperature that scales the variables."""
        return self.beta if self.units_beta is None else self.units_beta

    @property
    def log_volume_of_units(self) -> float:
        """ln(dp dq / dx) = −n ln β_units."""
        return -self.dimension * math.log(self.scale)

    @property
    def log_momentum_volume(self) -> float:
        """ln ∫ exp(−βp²/2) over the scaled momenta of a Hamiltonian ½|p|² + V(q)."""
        return 0.5 * self.dimension * math.log(2.0 * math.pi * self.scale / self.beta)

    def energy(self, p: Tensor, q: Tensor, heat: float = 1.0) -> Tensor:
        """βH − ln(volume element) in nats, shape (B,).

        Args:
            p: Scaled momenta, shape (B, n).
            q: Scaled coordinates, shape (B, n).
            heat: The factor on the potential of a Hamiltonian ½|p|² + V(q).
        """
        if self.hamiltonian.kinetic:
            moving = 0.5 * self.beta / self.scale * (p * p).sum(-1)
            return moving + self.configuration(q, heat)
        root = math.sqrt(self.scale)
        found = self.hamiltonian.energy(p / root, q / root)
        energy = self.beta * require_energies(self.hamiltonian, found, len(q))
        return energy - self.hamiltonian.log_volume(q / root)

    def configuration(self, q: Tensor, heat: float = 1.0) -> Tensor:
        """βV − ln(volume element) in nats, shape (B,), for a Hamiltonian ½|p|² + V(q).

        Args:
            q: Scaled coordinates, shape (B, n).
            heat: The factor on the potential.
        """
        real = q / math.sqrt(self.scale)
        found = self.hamiltonian.potential(real)
        energy = self.beta * require_energies(self.hamiltonian, found, len(q))
        return heat * energy - self.hamiltonian.log_volume(real)

    def capped(self, energy: Tensor, heat: float = 1.0) -> Tensor:
        """Energies of which the excess over the cap counts by its logarithm, shape (B,)."""
        limit = heat * (self.floor + ENERGY_CAP) if math.isfinite(self.floor) else math.inf
        over = energy > limit
        excess = torch.where(over, energy - limit, torch.zeros_like(energy))
        return torch.where(over, limit + torch.log1p(excess.clamp(max=1e30)), energy)

    def over_cap(self, energy: Tensor) -> Tensor:
        """The mask of the energies that the cap would change, shape (B,)."""
        return energy > self.floor + ENERGY_CAP
