"""The interface of a Hamiltonian, and the check that reports a faulty one early.

Your own is a subclass with a `dimension` and a `potential`; docs/own_hamiltonian.md is the
recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from symplectic_cv.errors import HamiltonianError
from symplectic_cv.flows.canonical import CanonicalTransformation
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior

COLD = 10.0
"""Factor on the potential at the start of a training, which begins this many times too cold."""


@dataclass(frozen=True)
class Descriptor:
    """A physical quantity to compare the modes with.

    Attributes:
        values: (B,).
        unit: The unit, for axes and tables; empty for pure numbers.
        circular: Whether the values are angles in radians.
    """

    values: Tensor
    unit: str = ""
    circular: bool = False


@dataclass(frozen=True)
class Start:
    """The Gaussian that a learning starts from, in scaled variables.

    Attributes:
        shift: The centre of the Gaussian, (n,).
        rotation: The axes of the Gaussian as columns, (n, n).
        omega: The frequencies of the Gaussian, (n,), before any cooling.
        spread: The typical size of each coordinate, (n,), the unit of the couplings.
        energy: The energy at the centre, in nats.
        cold: The factor on the potential at the first step.
        learn_rotation: Whether the axes are only a guess and are learned.
    """

    shift: Tensor
    rotation: Tensor
    omega: Tensor
    spread: Tensor
    energy: float
    cold: float = COLD
    learn_rotation: bool = True


class Mover(Protocol):
    """Short molecular dynamics with fresh momenta, reversible and volume-preserving.

    Attributes:
        timestep: The first time step.
    """

    timestep: float

    def move(
        self, q: Tensor, timestep: float, n_steps: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The end point of the dynamics from q (B, n), and the change of βH on the way, (B,)."""
        ...


class Hamiltonian:
    """H(p, q) of n coordinates with unit masses: ½|p|² + V(q) unless `energy` says otherwise.

    Energies are in units in which kT = 1/β; for an analytic Hamiltonian its own units.

    Attributes:
        name: The name in messages, files and figures.
        dimension: The number n of coordinates.
        time_unit, length_unit: for axes and tables; empty for reduced units.
        kinetic: Whether H is ½|p|² + V(q), so that momenta can be averaged exactly.
    """

    name: str = "hamiltonian"
    dimension: int = 0
    time_unit: str = ""
    length_unit: str = ""

    @property
    def kinetic(self) -> bool:
        return type(self).energy is Hamiltonian.energy

    def potential(self, q: Tensor) -> Tensor:
        """V(q), (B,), from coordinates (B, n); PyTorch must be able to differentiate it."""
        raise NotImplementedError

    def energy(self, p: Tensor, q: Tensor) -> Tensor:
        """H(p, q), (B,), from momenta and coordinates (B, n)."""
        return 0.5 * (p * p).sum(-1) + self.potential(q)

    def log_volume(self, q: Tensor) -> Tensor:
        """ln of the volume element of the coordinates, (B,); 0 for Cartesian ones."""
        return torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)

    def guess(self) -> Tensor:
        """A point (n,) near a minimum, from which the learning starts."""
        return torch.zeros(self.dimension, dtype=torch.float64)

    def known_start(self, beta: float = 1.0, scale: float | None = None) -> Start | None:
        """The Gaussian to start a learning from; None for a cold start in a minimum.

        Args:
            beta: The inverse temperature of the energy.
            scale: The inverse temperature by which the variables are scaled; `beta` where None.
        """
        return None

    def model(
        self, flow: CanonicalTransformation, prior: HarmonicPrior, options: FlowOptions
    ) -> PhaseSpaceModel:
        """The model that a flow makes of this Hamiltonian."""
        return PhaseSpaceModel(flow, prior, options)

    def mover(self) -> Mover | None:
        """Short dynamics of its own for the hybrid sampler; None for velocity Verlet in q."""
        return None

    def exact_free_energy(self, beta: float) -> float | None:
        """−ln Z = −ln ∫ dp dq exp(−βH) in nats from a calculation without a flow, or None."""
        return None

    def exact_omega(self) -> Tensor | None:
        """Frequencies (n,) of the normal modes, slowest first, for a harmonic Hamiltonian."""
        return None

    def descriptors(self, q: Tensor) -> Mapping[str, Descriptor]:
        """Quantities to compare the modes with, by name."""
        return {}


def check_hamiltonian(hamiltonian: Hamiltonian) -> None:
    """Raises HamiltonianError where a Hamiltonian cannot be learned from.

    It must have a positive whole dimension, and give one finite, differentiable energy for
    each phase-space point near its guess.
    """
    name, n = hamiltonian.name, hamiltonian.dimension
    if not isinstance(n, int) or n < 1:
        raise HamiltonianError(f"{name}: its dimension must be a whole number from 1 on; got {n}")
    guess = torch.as_tensor(hamiltonian.guess(), dtype=torch.float64)
    if guess.shape != (n,):
        raise HamiltonianError(
            f"{name}: guess() has shape {tuple(guess.shape)}; it must be ({n},), a point"
        )
    generator = torch.Generator().manual_seed(0)
    p, noise = torch.randn(2, 5, n, generator=generator, dtype=torch.float64)
    q = (guess + 1e-3 * noise).requires_grad_(True)
    p.requires_grad_(True)
    if hamiltonian.kinetic:  # before it is added to ½|p|², which would hide its shape
        require_energies(hamiltonian, hamiltonian.potential(q), 5)
    energy = require_energies(hamiltonian, hamiltonian.energy(p, q), 5)
    if not torch.isfinite(energy).all():
        raise HamiltonianError(
            f"{name}: the energy near its guess is infinite: give a finite starting point with "
            "guess()"
        )
    if not energy.requires_grad:
        raise HamiltonianError(
            f"{name}: PyTorch cannot differentiate its energy (no gradient reaches p or q): "
            "compute it from the tensors given, without .detach() or numpy"
        )
    for gradient in torch.autograd.grad(energy.sum(), (p, q), allow_unused=True):
        if gradient is not None and not torch.isfinite(gradient).all():
            raise HamiltonianError(f"{name}: the gradient of its energy is not finite near guess()")


def require_energies(hamiltonian: Hamiltonian, energy: object, n_points: int) -> Tensor:
    """The energies, if there is one for each point and none is NaN.

    Raises:
        HamiltonianError: anything else.
    """
    name = hamiltonian.name
    if not isinstance(energy, Tensor):
        raise HamiltonianError(f"{name}: energy must return a tensor; got {type(energy).__name__}")
    if energy.shape != (n_points,):
        raise HamiltonianError(
            f"{name}: energy has the wrong shape {tuple(energy.shape)} for {n_points} phase-space "
            f"points; it must be ({n_points},), one number per point: sum over the last dimension"
        )
    if torch.isnan(energy).any():
        raise HamiltonianError(
            f"{name}: the energy of {int(torch.isnan(energy).sum())} of {n_points} phase-space "
            "points is NaN: it must be a number (or +inf) for every p and q"
        )
    return energy


def gaussian_momenta_free_energy(dimension: int, beta: float) -> float:
    """−ln ∫ dp exp(−β|p|²/2) = −(n/2) ln(2π/β)."""
    return -0.5 * dimension * math.log(2.0 * math.pi / beta)
