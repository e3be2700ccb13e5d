"""The neural canonical transformation of a molecule: frame, flow and harmonic prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from symplectic_cv.errors import OptionError
from symplectic_cv.flow import PointTransformation
from symplectic_cv.frame import EckartFrame
from symplectic_cv.layers import ModeOrder
from symplectic_cv.molecule import Molecule
from symplectic_cv.prior import HarmonicPrior


class NeuralCanonicalTransformation(nn.Module):
    """Maps molecular phase space to independent harmonic oscillators.

    Args:
        molecule: the modelled atoms.
        temperature: in K, of the data and of the units of q.
        frame: chart between positions and q.
        flow: q → Q, with its lift to momenta.
        prior: frequencies of the latent oscillators.

    Source: the paper (Phys. Rev. X 10, 021020), section III.
    """

    def __init__(
        self,
        molecule: Molecule,
        temperature: float,
        frame: EckartFrame,
        flow: PointTransformation,
        prior: HarmonicPrior,
    ) -> None:
        super().__init__()
        self.molecule = molecule
        self.temperature = temperature
        self.frame = frame
        self.flow = flow
        self.prior = prior

    @property
    def dimension(self) -> int:
        """Number of modes, 3N − 6."""
        return self.frame.dimension

    @property
    def omega(self) -> Tensor:
        """ω (n,) in rad/ps, slowest first once the model is trained."""
        return self.prior.omega.detach()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network; the frame is always float64."""
        return self.prior.log_omega.dtype

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

    def log_likelihood_coordinates(self, q: Tensor) -> Tensor:
        """ln ρ(q) = ln N(Q; 0, ω⁻²) + ln|det ∂Q/∂q| in nats, (...)."""
        latent, log_det = self.flow(q)
        return self.prior.log_prob_coordinates(latent) + log_det

    def log_prob(self, p: Tensor, q: Tensor) -> Tensor:
        """ln of the phase-space density at (p, q), (...), in nats."""
        p_latent, q_latent, _ = self.flow.push(p, q)
        return self.prior.log_prob(p_latent, q_latent)

    def check_modes(self, modes: Sequence[int]) -> list[int]:
        """The modes as a list of ints; raises OptionError for one that does not exist."""
        if len(modes) == 0:
            raise OptionError("--modes is empty: name at least one mode, for example --modes 0")
        for mode in modes:
            if not 0 <= mode < self.dimension:
                raise OptionError(
                    f"--modes {mode}: the model has {self.dimension} modes, "
                    f"numbered 0 (slowest) to {self.dimension - 1}"
                )
        if len(set(modes)) != len(modes):
            raise OptionError(f"--modes names a mode twice: {' '.join(map(str, modes))}")
        return [int(mode) for mode in modes]

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
        omega = square.rsqrt()
        order = torch.argsort(omega)
        last = self.flow.layers[-1]
        assert isinstance(last, ModeOrder)
        self.flow.layers[-1] = ModeOrder(last.order[order])
        self.prior.log_omega.copy_(omega[order].log())
