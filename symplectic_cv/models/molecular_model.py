"""The neural canonical transformation of a molecule: frame, flow and harmonic prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.errors import ModelError, OptionError
from symplectic_cv.flows.options import Chart, FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior
from symplectic_cv.molecule import Molecule


def check_modes(modes: Sequence[int], dimension: int, name: str = "modes") -> list[int]:
    """The modes as a list of ints.

    Args:
        modes: as a user names them, 0 is the slowest.
        dimension: how many modes the model has, or will have.
        name: The parameter that names them, for messages.

    Raises:
        OptionError: none, one that does not exist, or one that is named twice.
    """
    if len(modes) == 0:
        raise OptionError(f"`{name}` is empty: name at least one mode, for example 0")
    for mode in modes:
        if not 0 <= mode < dimension:
            raise OptionError(
                f"`{name}` {mode}: the model has {dimension} modes, "
                f"numbered 0 (slowest) to {dimension - 1}"
            )
    if len(set(modes)) != len(modes):
        raise OptionError(f"`{name}` names a mode twice: {' '.join(map(str, modes))}")
    return [int(mode) for mode in modes]


class NeuralCanonicalTransformation(PhaseSpaceModel):
    """Maps molecular phase space to independent harmonic oscillators.

    Args:
        molecule: the modelled atoms.
        temperature: in K, of the data and of the units of q.
        frame: chart between positions and q.
        flow: q → Q, with its lift to momenta.
        prior: frequencies of the latent oscillators, rad/ps.
        options: what `flow` was built from.

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

    def encode(self, positions: Tensor) -> Tensor:
        """Latent coordinates Q (..., n) in ps of whole positions (..., N, 3) in nm."""
        return self.flow(self.frame.coordinates(positions).to(self.dtype))[0]

    def decode(self, latent: Tensor) -> Tensor:
        """Positions (..., N, 3) in nm, superposed on the reference, of Q (..., n) in ps."""
        return self.frame.positions(self.flow.inverse(latent.to(self.dtype))[0])

    def collective_variables(self, positions: Tensor, modes: Sequence[int] | None = None) -> Tensor:
        """Dimensionless ω_k Q_k (..., len(modes)); all modes where None.

        They have unit variance under the training data.

        Raises:
            OptionError: a mode that the model does not have.
        """
        scaled = self.encode(positions) * self.omega
        if modes is None:
            return scaled
        return scaled[..., self.check_modes(modes)]

    def log_likelihood(self, positions: Tensor) -> Tensor:
        """ln ρ(q) in nats (q in ps): the exact marginal over momenta, (...)."""
        q = self.frame.coordinates(positions).to(self.dtype)
        return self.log_likelihood_coordinates(q)

    def check_modes(self, modes: Sequence[int], name: str = "modes") -> list[int]:
        """The modes as a list of ints; raises OptionError for one that does not exist."""
        return check_modes(modes, self.dimension, name)

    def require_smooth(self) -> None:
        """Raises ModelError where the modes cannot be biased because they jump."""
        if self.options.chart is Chart.INTERNAL:
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
            coordinates: q of the training frames, (F, n) in ps.
            weights: one per frame, or None.
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
