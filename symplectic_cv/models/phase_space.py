"""A density in phase space: a canonical transformation to independent oscillators."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from symplectic_cv.flows.build import put_slowest_first
from symplectic_cv.flows.canonical import CanonicalTransformation
from symplectic_cv.flows.options import FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.prior import HarmonicPrior


class PhaseSpaceModel(nn.Module):
    """ρ(x) = N(T(x); ω): because T keeps the volume there is no Jacobian (the paper, III.A).

    Args:
        flow: The transformation T from phase space to the latent space.
        prior: The latent oscillators with their frequencies.
        options: The options that `flow` was built from, so that it can be stored.
    """

    def __init__(
        self, flow: CanonicalTransformation, prior: HarmonicPrior, options: FlowOptions
    ) -> None:
        super().__init__()
        self.flow = flow
        self.prior = prior
        self.options = options

    @property
    def dimension(self) -> int:
        """Number of modes, n."""
        return self.prior.log_omega.shape[0]

    @property
    def omega(self) -> Tensor:
        """ω (n,), slowest first once the model is trained."""
        return self.prior.omega.detach()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network."""
        return self.prior.log_omega.dtype

    @property
    def is_point(self) -> bool:
        """Whether Q depends on q alone, so that momenta can be integrated by hand."""
        return isinstance(self.flow, PointTransformation)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        return self.log_prob(p, q)

    def log_prob(self, p: Tensor, q: Tensor) -> Tensor:
        """ln ρ(p, q) in nats, (...), of momenta and coordinates (..., n)."""
        return self.prior.log_prob(*self.flow.push(p, q))

    def log_likelihood_coordinates(self, q: Tensor) -> Tensor:
        """ln ρ(q) = ln N(Q; 0, ω⁻²) + ln|det ∂Q/∂q| in nats, (...), of a point transformation."""
        latent, log_det = self.flow(q)
        return self.prior.log_prob_coordinates(latent) + log_det

    def put_slowest_first(self) -> None:
        """Ends a training: numbers the modes from slow to fast."""
        order = put_slowest_first(self.flow, self.omega)
        self.prior.reorder(order)


Model = TypeVar("Model", bound=nn.Module)


def in_float64(model: Model) -> Model:
    """A copy of a model in double precision: on the CPU, for evaluation, with constant weights.

    Args:
        model: The model; it is not changed.
    """
    return copy.deepcopy(model).to("cpu").double().eval().requires_grad_(False)
