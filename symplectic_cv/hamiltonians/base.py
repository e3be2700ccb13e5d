"""The interface of a Hamiltonian, and a check that finds a faulty one early.

A Hamiltonian of your own is a subclass with a `dimension` and a `potential`; see
docs/own_hamiltonian.md.
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
"""The factor on the potential at the start of a training, which makes it colder by this factor."""


@dataclass(frozen=True)
class Descriptor:
    """A physical quantity to compare the modes with.

    Attributes:
        values: The values at B points, shape (B,).
        unit: The unit, for axes and tables; empty for pure numbers.
        circular: Whether the values are angles in radians.
    """

    values: Tensor
    unit: str = ""
    circular: bool = False


@dataclass(frozen=True)
class Start:
    """The Gaussian that a training starts from, in scaled variables.

    Attributes:
        shift: The centre of the Gaussian, (n,).
        rotation: The axes of the Gaussian as columns, (n, n).
        omega: The frequencies of the Gaussian, (n,), before any cooling.
        spread: The typical size of each coordinate, (n,), the unit of the couplings.
        energy: The energy at the centre, in nats.
        cold: The factor on the potential at the first step.
        learn_rotation: Whether the axes are learned, because they are only a guess.
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
        """Runs the dynamics.

        Args:
            q: The starting points, shape (B, n).
            timestep: The time step.
            n_steps: The number of time steps.
            generator: The source of the random momenta.

        Returns:
            The end points, shape (B, n), and the change of βH on the way, shape (B,).
        """
        ...


class Hamiltonian:
    """A Hamiltonian H(p, q) of n coordinates with unit masses.

    It is ½|p|² + V(q), unless a subclass replaces `energy`. Energies are in units in which
    kT = 1/β.

    Attributes:
        name: The name in messages, files and figures.
        dimension: The number n of coordinates.
        time_unit, length_unit: The units on axes and in tables; empty for reduced units.
        kinetic: Whether H is ½|p|² + V(q), so that momenta can be averaged exactly.

    Example:
        >>> class Quartic(Hamiltonian):
        ...     name, dimension = "quartic", 1
        ...     def potential(self, q):
        ...         return (q**4).sum(-1)
        >>> Quartic().energy(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
        tensor([16.5000])
    """

    name: str = "hamiltonian"
    dimension: int = 0
    time_unit: str = ""
    length_unit: str = ""

    @property
    def kinetic(self) -> bool:
        return type(self).energy is Hamiltonian.energy

    def potential(self, q: Tensor) -> Tensor:
        """The potential V(q), which PyTorch must be able to differentiate.

        Args:
            q: The coordinates of B points, shape (B, n).

        Returns:
            The energies, shape (B,).
        """
        raise NotImplementedError

    def energy(self, p: Tensor, q: Tensor) -> Tensor:
        """The energy H(p, q).

        Args:
            p: The momenta of B points, shape (B, n).
            q: The coordinates of B points, shape (B, n).

        Returns:
            The energies, shape (B,).
        """
        return 0.5 * (p * p).sum(-1) + self.potential(q)

    def log_volume(self, q: Tensor) -> Tensor:
        """The logarithm of the volume element at q (B, n), shape (B,); 0 for Cartesian q."""
        return torch.zeros(q.shape[:-1], dtype=q.dtype, device=q.device)

    def guess(self) -> Tensor:
        """A point near a minimum, shape (n,), from which a training starts."""
        return torch.zeros(self.dimension, dtype=torch.float64)

    def known_start(self, beta: float = 1.0, scale: float | None = None) -> Start | None:
        """The Gaussian to start a training from; None for a cold start in a minimum.

        Args:
            beta: The inverse temperature of the energy.
            scale: The inverse temperature by which the variables are scaled; `beta` where None.
        """
        return None

    def model(
        self, flow: CanonicalTransformation, prior: HarmonicPrior, options: FlowOptions
    ) -> PhaseSpaceModel:
        """The model of this Hamiltonian with a given flow and prior."""
        return PhaseSpaceModel(flow, prior, options)

    def mover(self) -> Mover | None:
        """The short dynamics of the hybrid sampler; None for velocity Verlet in q."""
        return None

    def exact_free_energy(self, beta: float) -> float | None:
        """−ln Z = −ln ∫ dp dq exp(−βH) in nats, computed without a flow; None if unknown."""
        return None

    def exact_omega(self) -> Tensor | None:
        """The frequencies of the normal modes, (n,), slowest first; None unless H is harmonic."""
        return None

    def descriptors(self, q: Tensor) -> Mapping[str, Descriptor]:
        """Quantities to compare the modes with, by name, at coordinates q (B, n)."""
        return {}


def check_hamiltonian(hamiltonian: Hamiltonian) -> None:
    """Checks that a model can be trained on a Hamiltonian.

    It must have a positive whole dimension. For each phase-space point near its guess it must give
    one energy that is finite and differentiable.

    Raises:
        HamiltonianError: The Hamiltonian fails one of these conditions; the message names it.
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
    if hamiltonian.kinetic:  # adding ½|p|² would hide a wrong shape
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
    """Returns energies after checking that there is one for each point and none is NaN.

    Args:
        hamiltonian: The Hamiltonian, for its name in messages.
        energy: The value that its `energy` or `potential` returned.
        n_points: The number of points.

    Raises:
        HamiltonianError: The value is no tensor, has another shape, or holds NaN.
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
