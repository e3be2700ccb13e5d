"""The neural canonical transformation of a molecule: frame, flow and harmonic prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import mdtraj as md
import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.checks import check_whole
from symplectic_cv.data.handedness import handedness_of
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import ModelError, OptionError
from symplectic_cv.flows.options import Chart, FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.latent_draws import draw_latent_structures
from symplectic_cv.models.modes import Frames, MolecularModes, listed, locator, require_mapped
from symplectic_cv.models.phase_space import PhaseSpaceModel, in_float64
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.models.training_range import NO_RANGE, EncodedFrames, TrainingRange
from symplectic_cv.molecule import Molecule

BATCH = 8192
"""Structures of an array that are computed at once."""

NotTensor: TypeAlias = TrajectoryData | md.Trajectory | np.ndarray

Numbers = TypeVar("Numbers", Tensor, np.ndarray)
"""A tensor gives a tensor, an array gives a float64 array."""


class NeuralCanonicalTransformation(PhaseSpaceModel, MolecularModes):
    """Maps molecular phase space to independent harmonic oscillators.

    Args:
        molecule: The modelled atoms.
        temperature: The temperature of the data and of the units of q, in K.
        frame: The Eckart frame, between positions and q.
        flow: The flow q → Q, with its lift to momenta.
        prior: The latent oscillators, with frequencies in rad/ps.
        options: The options that `flow` was built from.

    Attributes:
        training_range: The likelihoods and latent radii of the training frames; None where the
            model has no record of them.

    Source: the paper (Phys. Rev. X 10, 021020), section III.
    """

    flow: PointTransformation

    def __init__(
        self,
        molecule: Molecule,
        temperature: float,
        frame: EckartFrame,
        flow: PointTransformation,
        prior: HarmonicPrior,
        options: FlowOptions,
    ) -> None:
        super().__init__(flow, prior, options)
        self.molecule = molecule
        self.temperature = temperature
        self.frame = frame
        self.training_range: TrainingRange | None = None

    @property
    def handedness(self) -> dict[int, int]:
        """The handedness, −1 or 1, of atoms of the mean structure, by their index."""
        return handedness_of(self.frame.reference.cpu().numpy()[None], self.molecule)

    @overload
    def encode(self, positions: Tensor) -> Tensor: ...

    @overload
    def encode(self, positions: NotTensor) -> np.ndarray: ...

    def encode(self, positions: Frames) -> Tensor | np.ndarray:
        """Latent coordinates of structures.

        Args:
            positions: Whole structures, shape (..., N, 3), in nm, as an array or a tensor; or
                frames from `read_trajectories` or MDTraj, which give an array.

        Returns:
            Q, shape (..., n), in ps: a float64 array for an array, a tensor for a tensor.

        Raises:
            OptionError: The positions have another shape.
        """
        return self._map(
            positions,
            "positions",
            (self.molecule.n_atoms, 3),
            lambda x: self.flow(self.frame.coordinates(x).to(self.dtype))[0],
        )

    def decode(self, latent: Numbers) -> Numbers:
        """Structures at latent coordinates.

        Args:
            latent: Q, shape (..., n), in ps, as an array or a tensor.

        Returns:
            Positions, shape (..., N, 3), in nm, superposed on the model's reference: a float64
            array for an array, a tensor for a tensor. They are NaN where a latent point of a
            model in internal coordinates is no structure.

        Raises:
            OptionError: The latent coordinates have another shape.
        """
        return self._map(
            latent,
            "latent",
            (self.dimension,),
            lambda z: self.frame.positions(self.flow.inverse(z.to(self.dtype))[0]),
        )

    @overload
    def collective_variables(
        self, positions: Tensor, modes: Sequence[int] | None = ...
    ) -> Tensor: ...

    @overload
    def collective_variables(
        self, positions: NotTensor, modes: Sequence[int] | None = ...
    ) -> np.ndarray: ...

    def collective_variables(
        self, positions: Frames, modes: Sequence[int] | None = None
    ) -> Tensor | np.ndarray:
        """Values ω_k Q_k of modes, dimensionless, of unit variance under the training data.

        Args:
            positions: Whole structures, shape (..., N, 3), in nm, as an array or a tensor; or
                frames from `read_trajectories` or MDTraj, which give an array.
            modes: The modes, 0 is the slowest; all of them where None.

        Returns:
            The values, shape (..., len(modes)): a float64 array for an array, a tensor for a
            tensor.

        Raises:
            OptionError: A mode does not exist, or the positions have another shape.
        """
        chosen = slice(None) if modes is None else self.check_modes(modes)
        return self._map(
            positions,
            "positions",
            (self.molecule.n_atoms, 3),
            lambda x: self.prior.to_normal(self.flow(self.frame.coordinates(x).to(self.dtype))[0])[
                ..., chosen
            ],
        )

    @overload
    def log_likelihood(self, positions: Tensor) -> Tensor: ...

    @overload
    def log_likelihood(self, positions: NotTensor) -> np.ndarray: ...

    def log_likelihood(self, positions: Frames) -> Tensor | np.ndarray:
        """ln ρ(q) of structures, the exact marginal over momenta (q in ps).

        Args:
            positions: Whole structures, shape (..., N, 3), in nm, as an array or a tensor; or
                frames from `read_trajectories` or MDTraj, which give an array.

        Returns:
            The values in nats, shape (...): a float64 array for an array, a tensor for a tensor.

        Raises:
            OptionError: The positions have another shape.
        """
        return self._map(
            positions,
            "positions",
            (self.molecule.n_atoms, 3),
            lambda x: self.log_likelihood_coordinates(self.frame.coordinates(x).to(self.dtype)),
        )

    def modes(
        self,
        data: Frames,
        which: Sequence[int] | int | None = None,
    ) -> np.ndarray:
        """Values of modes in the frames of a trajectory, dimensionless.

        Args:
            data: Frames from `read_trajectories` or MDTraj, or whole positions of the modelled
                atoms, shape (F, N, 3) or (N, 3), in nm.
            which: The modes, 0 is the slowest; all of them where None.

        Returns:
            ω_k Q_k, shape (F, len(which)), float64.

        Raises:
            OptionError: A mode does not exist, or the positions have another shape.
            SelectionError: The data are of other atoms than the model's.
            FrameError: The model maps a frame to infinity.

        Warns:
            DataWarning: The model does not know some of the frames; see `extrapolation`.
        """
        chosen = range(self.dimension) if which is None else self.check_modes(listed(which) or ())
        found = self.encoded(self.positions_of(data))
        require_mapped(np.column_stack([found.modes, found.log_likelihood]), data)
        if self.training_range is not None:
            self.training_range.warn(found.log_likelihood, found.extrapolation, locator(data))
        return found.modes[:, list(chosen)]

    def encoded(self, positions: np.ndarray) -> EncodedFrames:
        """The modes, the likelihood and the extrapolation of whole frames.

        Args:
            positions: Whole structures, shape (F, N, 3), in nm.
        """

        def both(x: Tensor) -> Tensor:
            latent, log_det = self.flow(self.frame.coordinates(x).to(self.dtype))
            value = self.prior.log_prob_coordinates(latent) + log_det
            return torch.cat([self.prior.to_normal(latent), value.unsqueeze(-1)], -1)

        values = self._map(positions, "positions", (self.molecule.n_atoms, 3), both)
        modes, likelihood = values[..., :-1], values[..., -1]
        extrapolation = None
        if self.training_range is not None:
            radius = np.linalg.norm(modes, axis=-1)
            extrapolation = self.training_range.extrapolation(likelihood, radius)
        return EncodedFrames(modes, likelihood, extrapolation)

    def extrapolation(self, data: Frames) -> np.ndarray:
        """The distance of frames beyond the training frames, shape (F,).

        It is 0 in the middle of the training frames and 1 at the farthest thousandth of them, in
        ln ρ or in the latent radius |ωQ|, whichever is farther. Above 2 the model does not know
        the frame.

        Args:
            data: Frames, as `modes` takes them.

        Raises:
            ModelError: The model has no record of its training frames.
            OptionError, SelectionError: See `modes`.
        """
        found = self.encoded(self.positions_of(data)).extrapolation
        if found is None:
            raise ModelError(NO_RANGE)
        return found

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Independent structures of the model.

        They are samples of the model's own density, not of the Boltzmann distribution: see
        `openmm_plugin.sample` for those.

        Args:
            n: The number of structures.
            seed: The seed of the random numbers.

        Returns:
            Positions, shape (n, N, 3), in nm, superposed on the model's reference.

        Raises:
            OptionError: A number that makes no sense.
            SamplingError: Hardly any latent point of the model is a structure.
        """
        check_whole(n, "n")
        check_whole(seed, "seed", least=0)
        exact = in_float64(self)
        u = draw_latent_structures(exact, n, seed)
        return exact.decode(exact.prior.from_normal(u).numpy())

    def _map(
        self,
        values: Frames,
        name: str,
        shape: tuple[int, ...],
        function: Callable[[Tensor], Tensor],
    ) -> Any:
        """The function of a tensor as a tensor; of others as a float64 array, in batches."""
        if isinstance(values, (TrajectoryData, md.Trajectory)):
            values = self.positions_of(values)
        found: tuple[int, ...] = tuple(np.shape(values))
        if found[len(found) - len(shape) :] != shape or len(found) < len(shape):
            wanted = ", ".join(map(str, shape))
            raise OptionError(f"`{name}` has shape {found}; give (..., {wanted})")
        if isinstance(values, Tensor):
            return function(values)
        array = np.asarray(values)
        if not np.issubdtype(array.dtype, np.number):
            raise OptionError(f"`{name}` must be numbers; they are of type {array.dtype}")
        flat = array.reshape(-1, *shape)
        device = self.prior.log_omega.device
        with torch.no_grad():
            parts = [
                function(torch.as_tensor(flat[start : start + BATCH]).to(device)).cpu().double()
                for start in range(0, max(1, len(flat)), BATCH)
            ]
        result: np.ndarray = torch.cat(parts).numpy()
        return result.reshape((*found[: len(found) - len(shape)], *result.shape[1:]))

    def require_smooth(self) -> None:
        """Raises ModelError where the modes cannot be biased because they jump."""
        if self.options.chart is not Chart.CARTESIAN:
            raise ModelError(
                "this model is in internal coordinates (`chart='internal'`): each torsion is "
                "cut somewhere, where its modes and the force of a bias would jump; such models "
                "are for `sample`; train one with `chart='cartesian'` for collective variables"
            )

    @torch.no_grad()
    def settle(self, coordinates: Tensor, weights: Tensor | None = None) -> None:
        """Ends a training: exact frequencies for the learned flow, slowest mode first.

        For a fixed flow the likelihood is greatest at ω_k² = 1/⟨Q_k²⟩, which also gives
        ω_k Q_k unit variance about zero under the training frames.

        Args:
            coordinates: q of the training frames, shape (F, n), in ps.
            weights: One weight per frame, or None.
        """
        share = torch.full((len(coordinates),), 1.0, dtype=torch.float64)
        if weights is not None:
            share = weights.to(torch.float64)
        share = (share / share.sum()).unsqueeze(-1).to(coordinates.device)
        square = torch.zeros(self.dimension, dtype=torch.float64, device=coordinates.device)
        for q, w in zip(coordinates.split(8192), share.split(8192), strict=True):
            square += (w * self.flow(q.to(self.dtype))[0].to(torch.float64) ** 2).sum(0)
        self.prior.log_omega.copy_(-0.5 * square.log())
        self.put_slowest_first()
