"""Continuous symplectic flows: dλ/dt = ∇G(λ) J for a scalar generating function G.

With λ = (p, q) these are Hamilton's equations of G, ṗ = −∂G/∂q and q̇ = ∂G/∂p; integrating
them from 0 to τ is a canonical transformation if the integrator is symplectic. Both
integrators here are, they are symmetric in time, so that the step −h undoes the step h, and
both rise to order 4 by composition:

* leapfrog, explicit and exact to rounding, for a separable G = T(p) + U(q);
* the implicit midpoint rule for any G, solved by Newton's method to a tolerance near rounding.

Sources: the paper, appendix A.2; E. Hairer, C. Lubich, G. Wanner, Geometric Numerical
Integration (2006), sections II.4 and VI.4; H. Yoshida, Phys. Lett. A 150, 262 (1990).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

import torch
from torch import Tensor, nn

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.canonical import CanonicalTransformation, half_dimension

MOST_ITERATIONS = 30
"""Newton steps of the midpoint rule before it is reported as not converging."""

WEIGHT_BOUND = 4.0
"""Softly bounds the output weights of a generating function, so that training cannot leave the
step sizes at which the midpoint rule converges."""


MOST_STEPS = 256
"""The largest number of steps that `refine` doubles."""


class MidpointError(OptionError):
    """The midpoint rule's equation was not solved: its time step is too long for its G."""


class Integrator(str, Enum):
    LEAPFROG = "leapfrog"
    MIDPOINT = "midpoint"


class ScalarNetwork(nn.Module):
    """x (..., d) → a scalar, two hidden tanh layers, with its gradient written by hand.

    It starts at zero with zero gradient, so that a flow it generates starts as the identity.
    """

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(dimension, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.second(torch.tanh(self.first(x))))
        return h @ self._weights()

    def gradient(self, x: Tensor) -> Tensor:
        """∂/∂x, (..., d)."""
        h1 = torch.tanh(self.first(x))
        h2 = torch.tanh(self.second(h1))
        back = ((1.0 - h2 * h2) * self._weights()) @ self.second.weight
        return ((1.0 - h1 * h1) * back) @ self.first.weight

    def hessian(self, x: Tensor) -> Tensor:
        """∂²/∂x², (..., d, d)."""
        h1 = torch.tanh(self.first(x))
        h2 = torch.tanh(self.second(h1))
        s1, s2 = 1.0 - h1 * h1, 1.0 - h2 * h2
        outer = self._weights() * s2
        inner = outer @ self.second.weight
        w1 = self.first.weight
        chain = self.second.weight @ (s1.unsqueeze(-1) * w1)
        bend2 = (-2.0 * h2 * outer).unsqueeze(-1) * chain
        bend1 = (-2.0 * h1 * s1 * inner).unsqueeze(-1) * w1
        return chain.transpose(-1, -2) @ bend2 + w1.T @ bend1

    def _weights(self) -> Tensor:
        return WEIGHT_BOUND * torch.tanh(self.last / WEIGHT_BOUND)


class GeneratingFunction(nn.Module):
    """G(p, q) and its partial derivatives; your own G implements `gradients`.

    Attributes:
        separable: Whether G = T(p) + U(q), which leapfrog needs.
    """

    separable = False

    def gradients(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """(∂G/∂p, ∂G/∂q), (..., n) each."""
        raise NotImplementedError

    def hessian(self, p: Tensor, q: Tensor) -> Tensor:
        """∂²G/∂(p, q)², (..., 2n, 2n); by autograd unless a subclass overrides it."""
        n = p.shape[-1]
        x = torch.cat([p, q], -1).detach().requires_grad_(True)
        with torch.enable_grad():
            gradient = torch.cat(self.gradients(x[..., :n], x[..., n:]), -1)
            rows = [
                torch.autograd.grad(gradient[..., k].sum(), x, retain_graph=True)[0]
                for k in range(2 * n)
            ]
        return torch.stack(rows, -2)


class SeparableNetwork(GeneratingFunction):
    """G = T(p) + U(q), a network each."""

    separable = True

    def __init__(self, phase_space_dimension: int, hidden: int = 32) -> None:
        super().__init__()
        n = half_dimension(phase_space_dimension)
        self.kinetic = ScalarNetwork(n, hidden)
        self.potential = ScalarNetwork(n, hidden)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        return self.kinetic(p) + self.potential(q)

    def gradients(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return self.kinetic.gradient(p), self.potential.gradient(q)

    def hessian(self, p: Tensor, q: Tensor) -> Tensor:
        by_p, by_q = self.kinetic.hessian(p), self.potential.hessian(q)
        zero = torch.zeros_like(by_p)
        return torch.cat([torch.cat([by_p, zero], -1), torch.cat([zero, by_q], -1)], -2)


class GeneralNetwork(GeneratingFunction):
    """G(p, q), one network of all of phase space."""

    def __init__(self, phase_space_dimension: int, hidden: int = 32) -> None:
        super().__init__()
        half_dimension(phase_space_dimension)
        self.network = ScalarNetwork(phase_space_dimension, hidden)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        return self.network(torch.cat([p, q], -1))

    def gradients(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        n = p.shape[-1]
        both = self.network.gradient(torch.cat([p, q], -1))
        return both[..., :n], both[..., n:]

    def hessian(self, p: Tensor, q: Tensor) -> Tensor:
        return self.network.hessian(torch.cat([p, q], -1))


class ContinuousSymplectic(CanonicalTransformation):
    """The flow of a generating function over a time τ.

    Args:
        generator: The generating function G.
        integrator: The integrator: leapfrog for a separable G only, midpoint for any.
        duration: The time τ.
        steps: The number of time steps, of size τ / steps; `refine` doubles it.
        order: The order of the integrator: 2, or 4 (three times the work per step).
        tolerance: The tolerance of the midpoint rule's solver, in units of rounding of the
            largest coordinate.

    Raises:
        OptionError: Leapfrog with a G that is not separable, or an order, duration or number
            of steps that makes no sense.

    The midpoint rule has one solution where ½h‖∂f/∂x‖ < 1, which a learned G can exceed.
    `push` and `pull` then raise MidpointError, and a training refines the steps.

    Example:
        >>> flow = ContinuousSymplectic(GeneralNetwork(4), Integrator.MIDPOINT, steps=4)
        >>> p, q = torch.randn(2, 5, 2)
        >>> back = flow.pull(*flow.push(p, q))
    """

    n_steps: Tensor

    def __init__(
        self,
        generator: GeneratingFunction,
        integrator: Integrator = Integrator.MIDPOINT,
        duration: float = 1.0,
        steps: int = 4,
        order: int = 2,
        tolerance: float = 8.0,
    ) -> None:
        super().__init__()
        integrator = Integrator(integrator)
        if integrator is Integrator.LEAPFROG and not generator.separable:
            raise OptionError(
                "leapfrog integrates only a separable generating function, G = T(p) + U(q): use "
                "`generator='separable'`, or `integrator='midpoint'` for a general one"
            )
        if order not in (2, 4):
            raise OptionError(f"`order` must be 2 or 4; got {order}")
        if steps < 1 or not 0.0 < duration < float("inf"):
            raise OptionError(
                f"a continuous flow needs a positive duration and at least one step; got "
                f"{duration} and {steps}"
            )
        self.generator = generator
        self.integrator = integrator
        self.duration = duration
        self.order = order
        self.tolerance = tolerance
        # a buffer, so that it is stored with the weights that need it
        self.register_buffer("n_steps", torch.tensor(steps))

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return int(self.n_steps)

    def refine(self) -> bool:
        """Halves the time step; returns False where the number of steps is at its limit."""
        if 2 * self.steps > MOST_STEPS:
            return False
        self.n_steps *= 2
        return True

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrate(p, q, self.duration / self.steps)

    def pull(self, p_latent: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrate(p_latent, latent, -self.duration / self.steps)

    def _integrate(self, p: Tensor, q: Tensor, h: float) -> tuple[Tensor, Tensor]:
        step = self._leapfrog if self.integrator is Integrator.LEAPFROG else self._midpoint
        for _ in range(self.steps):
            for part in substeps(self.order):
                p, q = step(p, q, part * h)
        return p, q

    def _leapfrog(self, p: Tensor, q: Tensor, h: float) -> tuple[Tensor, Tensor]:
        p = p - 0.5 * h * self.generator.gradients(p, q)[1]
        q = q + h * self.generator.gradients(p, q)[0]
        return p - 0.5 * h * self.generator.gradients(p, q)[1], q

    def _midpoint(self, p: Tensor, q: Tensor, h: float) -> tuple[Tensor, Tensor]:
        """x' = x + h f(m) with m = (x + x')/2, which solves m = x + ½h f(m)."""
        n = p.shape[-1]
        x = torch.cat([p, q], -1)
        with torch.no_grad():
            m = self._solve_midpoint(x, h)
        if torch.is_grad_enabled():
            m = self._with_gradient(x, m, h)
        moved = 2.0 * m - x
        return moved[..., :n], moved[..., n:]

    def _field(self, x: Tensor) -> Tensor:
        """f(x) = ∇G(x) J = (−∂G/∂q, ∂G/∂p)."""
        n = x.shape[-1] // 2
        by_p, by_q = self.generator.gradients(x[..., :n], x[..., n:])
        return torch.cat([-by_q, by_p], -1)

    def _newton_matrix(self, m: Tensor, h: float) -> Tensor:
        """1 − ½h ∂f/∂m, (..., 2n, 2n)."""
        n = m.shape[-1] // 2
        second = self.generator.hessian(m[..., :n], m[..., n:])
        turned = torch.cat([-second[..., n:, :], second[..., :n, :]], -2)
        return torch.eye(2 * n, dtype=m.dtype, device=m.device) - 0.5 * h * turned

    def _solve_midpoint(self, x: Tensor, h: float) -> Tensor:
        m = x
        if x.numel() == 0:
            return m
        last = math.inf
        limit = self.tolerance * torch.finfo(x.dtype).eps
        for _ in range(MOST_ITERATIONS):
            residual = m - x - 0.5 * h * self._field(m)
            step = torch.linalg.solve(self._newton_matrix(m, h), residual.unsqueeze(-1))
            m = m - step.squeeze(-1)
            change = float(step.abs().max() / m.abs().max().clamp(min=1.0))
            # a little above the tolerance, rounding can end the progress: that is as good
            if change <= limit or (change < 64 * limit and change >= last):
                return m
            if not change < math.inf:
                break
            last = change
        raise MidpointError(
            f"the midpoint rule does not converge with a time step of {abs(h):g}: give more "
            "integration steps (`integration_steps`)"
        )

    def _with_gradient(self, x: Tensor, m: Tensor, h: float) -> Tensor:
        """The solved m as a function of x and of the weights.

        By the implicit function theorem a cotangent g of m becomes v = (1 − ½h ∂f/∂m)⁻ᵀ g,
        which then goes to x and to the weights.
        """
        solved = x + 0.5 * h * self._field(m.detach())
        if not solved.requires_grad:
            return solved
        with torch.no_grad():
            matrix = self._newton_matrix(m, h).transpose(-1, -2)

        def solve(g: Tensor) -> Tensor:
            if torch.is_grad_enabled():  # only under create_graph=True
                raise RuntimeError("the midpoint rule has first derivatives only")
            return torch.linalg.solve(matrix, g.unsqueeze(-1)).squeeze(-1)

        solved.register_hook(solve)
        return solved


def substeps(order: int) -> tuple[float, ...]:
    """Fractions of one step: one for order 2, Yoshida's three for order 4."""
    if order == 2:
        return (1.0,)
    outer = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
    return (outer, 1.0 - 2.0 * outer, outer)


T = TypeVar("T")


def refined(flow: nn.Module, compute: Callable[[], T]) -> T:
    """The result of `compute`, with the steps of a flow refined as often as it takes.

    Args:
        flow: The flow, any part of which may be a `ContinuousSymplectic`; its number of steps is
            changed in place.
        compute: A function that pushes or pulls through the flow; it is called again after each
            refinement.

    Raises:
        MidpointError: The steps cannot become shorter.
    """
    while True:
        try:
            return compute()
        except MidpointError:
            parts = [part for part in flow.modules() if isinstance(part, ContinuousSymplectic)]
            if not any([part.refine() for part in parts]):
                raise
