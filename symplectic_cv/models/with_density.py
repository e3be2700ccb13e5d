"""Likelihoods, samples and latent coordinates of models with a density beside their modes."""

from __future__ import annotations

from typing import overload

import numpy as np
from torch import Tensor

from symplectic_cv.errors import ModelError
from symplectic_cv.models.modes import Frames
from symplectic_cv.models.molecular_model import (
    NeuralCanonicalTransformation,
    NotTensor,
    Numbers,
)


class WithDensity:
    """The base of models whose modes are not the latent coordinates of their density.

    Attributes:
        density: The canonical transformation, or None where none was trained.
    """

    density: NeuralCanonicalTransformation | None

    def require_density(self) -> NeuralCanonicalTransformation:
        """The density; raises ModelError where there is none."""
        if self.density is None:
            raise ModelError(
                "these modes of torsions have no density, so that there is no likelihood and no "
                "sample: fit them with `density=True`, or use a model of the cartesian or the "
                "internal chart here"
            )
        return self.density

    @overload
    def encode(self, positions: Tensor) -> Tensor: ...

    @overload
    def encode(self, positions: NotTensor) -> np.ndarray: ...

    def encode(self, positions: Frames) -> Tensor | np.ndarray:
        """Latent coordinates of structures: angles of pendulums in rad, the others in ps.

        Args:
            positions: Whole structures, shape (..., n_atoms, 3), in nm, as an array or a tensor; or
                frames from `read_trajectories` or MDTraj, which give an array.

        Raises:
            ModelError: The modes have no density.
            OptionError: The positions have another shape.
        """
        return self.require_density().encode(positions)

    def decode(self, latent: Numbers) -> Numbers:
        """Structures at latent coordinates, shape (..., n_atoms, 3), in nm.

        Args:
            latent: Latent coordinates as `encode` gives them, shape (..., 3 n_atoms − 6).

        Raises:
            ModelError: The modes have no density.
            OptionError: The latent coordinates have another shape.
        """
        return self.require_density().decode(latent)

    @overload
    def log_likelihood(self, positions: Tensor) -> Tensor: ...

    @overload
    def log_likelihood(self, positions: NotTensor) -> np.ndarray: ...

    def log_likelihood(self, positions: Frames) -> Tensor | np.ndarray:
        """ln ρ(q) of structures in nats, the exact marginal over momenta (q in ps).

        Args:
            positions: Whole structures, shape (..., n_atoms, 3), in nm, as an array or a tensor; or
                frames from `read_trajectories` or MDTraj, which give an array.

        Raises:
            ModelError: The modes have no density.
            OptionError: The positions have another shape.
        """
        return self.require_density().log_likelihood(positions)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Independent structures of the density, shape (n, n_atoms, 3), in nm.

        They are samples of the model's own density, not of the Boltzmann distribution.

        Args:
            n: The number of structures.
            seed: The seed of the random numbers.

        Raises:
            ModelError: The modes have no density.
            OptionError: A number that makes no sense.
        """
        return self.require_density().sample(n, seed)
