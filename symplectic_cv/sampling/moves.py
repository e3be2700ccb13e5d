"""Markov moves in the latent space of a model, each exact for any flow.

A move takes C chains at once and leaves the target invariant. A move with a step size adapts it
while the chains warm up. After that it is fixed, so that all samples come from one Markov chain.

Sources: independence Metropolis with flows: F. Noé et al., Science 365, eaaw1147 (2019);
M. Gabrié et al., PNAS 119, e2109420119 (2022). Preconditioned Crank–Nicolson: S. L. Cotter
et al., Stat. Sci. 28, 424 (2013). Hamiltonian Monte Carlo that turns the Gaussian part
exactly: A. Beskos et al., Stoch. Proc. Appl. 121, 2201 (2011). Adapted steps: C. Andrieu and
J. Thoms, Stat. Comput. 18, 343 (2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.sampling.target import LatentTarget, Points

PROPOSALS_AT_ONCE = 4096
"""The number of proposals that the independence sampler makes at once; they do not depend on the
current points."""
TURNS = 6
"""The number of leapfrog steps of a Hamiltonian move."""
DYNAMICS_STEPS = 25
"""The number of steps of the short dynamics of the hybrid sampler."""


class Method(str, Enum):
    """The methods of sampling.

    INDEPENDENCE: Metropolis with proposals from the flow.
    PCN: Preconditioned Crank–Nicolson, a local move in the latent space.
    HMC: Hamiltonian Monte Carlo in the latent space; the learned ω precondition it.
    HYBRID: Independence moves alternate with short molecular dynamics.
    IMPORTANCE: Samples of the flow with weights.
    REJECTION: Samples of the flow, each kept with a probability in proportion to its weight.
    """

    INDEPENDENCE = "independence"
    PCN = "pcn"
    HMC = "hmc"
    HYBRID = "hybrid"
    IMPORTANCE = "importance"
    REJECTION = "rejection"


@dataclass(frozen=True)
class Step:
    """One step of all chains.

    Attributes:
        points: The points of the C chains after the step.
        accepted: Whether each chain moved, (C,) bool.
        chance: The probability of acceptance, (C,).
        proposed: ln w of the proposals of the flow, (C,); None where the flow made none.
    """

    points: Points
    accepted: Tensor
    chance: Tensor
    proposed: Tensor | None = None


class Move:
    """A Markov move of all chains.

    Attributes:
        size: The step size, which `adapt` changes; None for a move without one.
        goal: The share of accepted proposals at which `adapt` aims.
        largest: The largest step size.
    """

    size: float | None = None
    goal = 0.0
    largest = math.inf

    def __init__(self, target: LatentTarget) -> None:
        self.target = target

    def steps(self, points: Points, n_steps: int, generator: torch.Generator) -> Iterator[Step]:
        """Takes a number of steps from the given points, one after another.

        Args:
            points: The points of the chains.
            n_steps: The number of steps.
            generator: The source of the random numbers.
        """
        for _ in range(n_steps):
            step = self.step(points, generator)
            points = step.points
            yield step

    def step(self, points: Points, generator: torch.Generator) -> Step:
        """Takes one step from the given points."""
        raise NotImplementedError

    def adapt(self, chance: Tensor, n_before: int) -> None:
        """Changes the step size, so that the share of accepted proposals nears its goal.

        ln(size) changes by the distance to the goal times a gain that falls with the steps.

        Args:
            chance: The probabilities of acceptance in the last step, (C,).
            n_before: The number of steps before the last one.
        """
        if self.size is not None:
            gain = 2.0 / (1.0 + n_before) ** 0.6
            factor = math.exp(gain * (float(chance.mean()) - self.goal))
            self.size = min(self.largest, max(1e-4, self.size * factor))


def decide(here: Points, there: Points, log_chance: Tensor, generator: torch.Generator) -> Step:
    """The Metropolis decision of each chain. A point without weight is never accepted.

    Args:
        here: The points of the chains.
        there: The proposed points.
        log_chance: ln of the ratio that decides, (C,).
        generator: The source of the random numbers.
    """
    usable = torch.isfinite(there.log_weight) & ~torch.isnan(log_chance)
    log_chance = torch.where(usable, log_chance, -math.inf).clamp(max=0.0)
    dice = torch.rand(len(here), generator=generator, dtype=torch.float64)
    accepted = dice.log() < log_chance
    return Step(there.where(accepted, here), accepted, log_chance.exp())


class Independence(Move):
    """Independence Metropolis: u' ~ N(0, 1), accepted with probability min(1, w'/w)."""

    def steps(self, points: Points, n_steps: int, generator: torch.Generator) -> Iterator[Step]:
        chains, done = len(points), 0
        while done < n_steps:
            count = min(n_steps - done, max(1, PROPOSALS_AT_ONCE // chains))
            proposed = self.target.decode(self.target.draw(count * chains, generator))
            for row in range(count):
                there = proposed[slice(row * chains, (row + 1) * chains)]
                step = decide(points, there, there.log_weight - points.log_weight, generator)
                points = step.points
                yield replace(step, proposed=there.log_weight)
            done += count

    def step(self, points: Points, generator: torch.Generator) -> Step:
        return next(self.steps(points, 1, generator))


class CrankNicolson(Move):
    """Preconditioned Crank–Nicolson: u' = √(1−s²) u + s ξ, accepted with probability min(1, w'/w).

    The step size s = 1 gives the independence sampler.
    """

    size = 0.2
    goal = 0.3
    largest = 1.0

    def step(self, points: Points, generator: torch.Generator) -> Step:
        assert self.size is not None
        noise = self.target.draw(len(points), generator)
        u = math.sqrt(1.0 - self.size**2) * points.u + self.size * noise
        there = self.target.decode(u)
        return decide(points, there, there.log_weight - points.log_weight, generator)


class LatentHamiltonian(Move):
    """Hamiltonian Monte Carlo: dynamics of ½|v|² + ½|u|² − ln w(u), accepted by its error.

    The oscillators ½(v² + u²) are turned exactly. All have the period 2π, because u is scaled by
    the learned ω. The force ∂ ln w/∂u changes v between two turns. It vanishes for a perfect flow,
    so that every step size is accepted.
    """

    size = 0.1
    goal = 0.75
    largest = 1.5

    def step(self, points: Points, generator: torch.Generator) -> Step:
        assert self.size is not None
        target = self.target
        v = target.draw(len(points), generator)
        # with a fixed length a trajectory could return to its start
        angle = self.size * (0.8 + 0.4 * float(torch.rand((), generator=generator)))
        cos, sin = math.cos(angle), math.sin(angle)
        u, (there, slope) = points.u, target.slope(points.u)
        begin = 0.5 * (v * v + u * u).sum(-1) - points.log_weight
        for _ in range(TURNS):
            v = v + 0.5 * angle * slope
            u, v = cos * u + sin * v, cos * v - sin * u
            there, slope = target.slope(u)
            v = v + 0.5 * angle * slope
        end = 0.5 * (v * v + u * u).sum(-1) - there.log_weight
        return decide(points, there, begin - end, generator)


class ShortDynamics(Move):
    """Dynamics of the physical system with fresh thermal momenta, accepted by its error.

    OpenMM moves a molecule in all its Cartesian coordinates. Another Hamiltonian moves in q by
    velocity Verlet. The Metropolis decision removes the error of the time step.
    """

    goal = 0.85

    def __init__(self, target: LatentTarget) -> None:
        super().__init__(target)
        if not target.only_coordinates:
            raise OptionError(
                "`method` hybrid: its dynamics needs H = ½|p|² + V(q) and a model that transforms "
                "coordinates among themselves; use `method` pcn or hmc"
            )
        self.mover = target.reduced.hamiltonian.mover()
        self.size = 0.05 if self.mover is None else self.mover.timestep

    def step(self, points: Points, generator: torch.Generator) -> Step:
        assert self.size is not None
        if self.mover is None:
            x, change = self._verlet(points.x, generator)
        else:
            x, change = self.mover.move(points.x, self.size, DYNAMICS_STEPS, generator)
        there = self.target.encode(x)
        return decide(points, there, -change, generator)

    def _verlet(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The end point of velocity Verlet, (C, n), and the change of ½|p|² − ln π, (C,)."""
        assert self.size is not None
        p = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        density, slope = self._slope(x)
        begin = 0.5 * (p * p).sum(-1) - density
        for _ in range(DYNAMICS_STEPS):
            p = p + 0.5 * self.size * slope
            x = x + self.size * p
            density, slope = self._slope(x)
            p = p + 0.5 * self.size * slope
        return x, 0.5 * (p * p).sum(-1) - density - begin

    def _slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            density = self.target.log_density(x)
            usable = torch.isfinite(density)
            (slope,) = torch.autograd.grad(torch.where(usable, density, 0.0).sum(), x)
        return density.detach(), torch.where(torch.isfinite(slope), slope, 0.0)


class Hybrid(Move):
    """An independence move, which may change the state, then short dynamics within it."""

    def __init__(self, target: LatentTarget) -> None:
        super().__init__(target)
        self.jump, self.dynamics = Independence(target), ShortDynamics(target)
        self.size, self.goal = self.dynamics.size, self.dynamics.goal

    def steps(self, points: Points, n_steps: int, generator: torch.Generator) -> Iterator[Step]:
        for _ in range(n_steps):
            jump = self.jump.step(points, generator)
            self.dynamics.size = self.size
            step = self.dynamics.step(jump.points, generator)
            points = step.points
            yield Step(points, jump.accepted, step.chance, jump.proposed)

    def adapt(self, chance: Tensor, n_before: int) -> None:
        super().adapt(chance, n_before)
        self.dynamics.size = self.size


MOVES: dict[Method, type[Move]] = {
    Method.INDEPENDENCE: Independence,
    Method.PCN: CrankNicolson,
    Method.HMC: LatentHamiltonian,
    Method.HYBRID: Hybrid,
}
