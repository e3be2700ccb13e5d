"""Structures of a torsion model at a value of one of its modes: samples of a level set.

A mode χ(s) of torsions is no latent coordinate. Its conditional density is that of the random
variable, ρ(z | χ = c) ∝ ρ(z) δ(χ(s) − c). A move draws z from ρ, forgets one torsion s_j and solves
χ = c for it. Of n roots one is taken at random; it is a weighted point of the level set,

    w = ρ(s') h(s_j | s') n / (α_j ρ(s) Σ_k |∂χ/∂s_k|),

with α_j the chance of torsion j. The Jacobian factor 1/|∂χ/∂s_j| is shared among the torsions,
τ_j = |∂_jχ| / Σ_k |∂_kχ|, so that no weight grows where a single slope vanishes. h is any
normalised density of the forgotten value; it is piecewise linear here and near ρ(s_j | the rest),
and the weights are exact for every h. Independence Metropolis with these weights samples the level
set.

Source: the delta function on a level set, G. Ciccotti, T. Lelièvre and E. Vanden-Eijnden, Commun.
Pure Appl. Math. 61, 371 (2008); forgotten variables as auxiliary ones, M. A. Beaumont, Genetics
164, 1139 (2003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.standard import wrap
from symplectic_cv.charts.torsion_basis import torsion_features
from symplectic_cv.errors import OptionError, SamplingError
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.sampling.torsion_draws import TorsionDraws
from symplectic_cv.sampling.trigonometric import trigonometric_roots

GRID = 36
"""Nodes of the piecewise linear density of a forgotten torsion."""
POOL, EXTRA = 4, 512
"""Proposals of the pool that a sample starts from: so many for each sample, and these besides."""
STEPS = 8
"""Independence moves of each sample after its start."""
BATCH = 4096
"""Proposals at once."""
ROUNDS = 20
"""Times that points of no structure are drawn again."""
FEWEST = 10
"""Fewer points of a pool than this are none."""
LEAST_SLOPE = 1e-9
"""A torsion whose coefficients are below this part of the largest is never solved for."""


@dataclass(frozen=True)
class LevelPoints:
    """Weighted points of a level set.

    Attributes:
        angles: The latent torsions' angles z of standardised coordinates, shape (B, k).
        rest: What else makes the structures; see `TorsionDraws`.
        log_weight: ln w, shape (B,); −∞ where there is no root.
    """

    angles: Tensor
    rest: Tensor
    log_weight: Tensor

    def where(self, chosen: Tensor, other: LevelPoints) -> LevelPoints:
        """Own points where `chosen` (B,), those of `other` elsewhere."""
        mask = chosen.unsqueeze(-1)
        return LevelPoints(
            torch.where(mask, self.angles, other.angles),
            torch.where(mask, self.rest, other.rest),
            torch.where(chosen, self.log_weight, other.log_weight),
        )

    def __getitem__(self, index: Tensor) -> LevelPoints:
        return LevelPoints(self.angles[index], self.rest[index], self.log_weight[index])


class TorsionLevel:
    """The level set χ = c of one mode of a torsion model, and proposals on it.

    Args:
        model: The modes of torsions, with their density.
        mode: The mode that is held.
        value: Its value c, dimensionless.

    Raises:
        ModelError: The modes have no density.
        OptionError: No conformation has this value, or only ring torsions carry the mode.
    """

    def __init__(self, model: TorsionModel, mode: int, value: float) -> None:
        self.model, self.mode, self.value = model, mode, value
        self.coefficients = model.coefficients[mode]
        bound, constant = model.bound[mode], model.constant[mode]
        if not abs(value + constant) <= bound:
            raise OptionError(
                f"`fix` mode {mode} = {value:g}: the mode lies between {-bound - constant:.2f} and "
                f"{bound - constant:.2f} in every conformation"
            )
        self.draws = TorsionDraws(model, mode)
        sizes = np.abs(self.coefficients).sum((1, 2))
        self.solved = [
            k for k in self.draws.turning if sizes[k] > LEAST_SLOPE * max(sizes.max(), 1e-300)
        ]
        if not self.solved:
            raise OptionError(
                f"`fix` mode {mode}: only torsions of rings carry it, and none of them turns alone"
            )
        folds = np.array(model.folds)
        harmonics = np.arange(1, model.order + 1)[None] * folds[:, None]
        chances = (np.abs(self.coefficients).sum(2) * harmonics).sum(1)[self.solved]
        self.chances = torch.from_numpy(chances / chances.sum())

    def propose(self, n_points: int, generator: torch.Generator) -> LevelPoints:
        """Independent weighted points, from draws of the density."""
        angles, rest = self.draws.draw(n_points, generator)
        which = torch.multinomial(self.chances, n_points, True, generator=generator)
        dice = torch.rand(n_points, generator=generator, dtype=torch.float64)
        log_weight = torch.full((n_points,), -math.inf, dtype=torch.float64)
        found = angles.clone()
        for place, bond in enumerate(self.solved):
            rows = torch.nonzero(which == place)[:, 0]
            if len(rows):
                there, log_w = self._solve(bond, angles[rows], rest[rows], dice[rows])
                found[rows] = there
                log_weight[rows] = log_w - float(self.chances[place].log())
        return LevelPoints(found, rest, log_weight)

    def _solve(
        self, bond: int, angles: Tensor, rest: Tensor, dice: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Angles on the level set with one torsion solved for, and ln w without ln α."""
        torsions = self.draws.torsions(angles, rest)
        column = self.draws.column(bond)
        own, fold = self.coefficients[bond], self.model.folds[bond]
        level = self.value - self._mode(torsions) + _series(own, fold * torsions[:, bond])
        roots, real = trigonometric_roots(own, level)
        count = fold * real.sum(1)
        chosen = np.floor(dice.numpy() * count).astype(int).clip(0, np.maximum(count - 1, 0))
        order = np.argsort(~real, axis=1, kind="stable")
        root = np.take_along_axis(roots, order, 1)[np.arange(len(roots)), chosen // fold]
        turned = (root + 2.0 * math.pi * (chosen % fold)) / fold
        has_root = torch.from_numpy(count > 0)
        shift = np.where(count > 0, turned - torsions[:, bond], 0.0)
        moved = angles.clone()
        moved[:, column] = wrap(angles[:, column] + torch.from_numpy(shift))
        torsions[:, bond] += shift
        slopes = torch.from_numpy(np.abs(self._slopes(torsions)).sum(1))
        log_weight = torch.full((len(angles),), -math.inf, dtype=torch.float64)
        rows = torch.nonzero(has_root)[:, 0]
        if len(rows):
            here, there, others = angles[rows], moved[rows], rest[rows]
            ratio = self.draws.log_density(there, others) - self.draws.log_density(here, others)
            known = self._log_forgotten(column, here, others)
            factor = torch.from_numpy(count)[rows].double() / slopes[rows]
            log_weight[rows] = ratio + known + factor.log()
        return moved, log_weight

    def _log_forgotten(self, column: int, angles: Tensor, rest: Tensor) -> Tensor:
        """ln h of the present value of one angle given all else, (B,)."""
        n = len(angles)
        nodes = -math.pi + 2.0 * math.pi / GRID * torch.arange(GRID, dtype=torch.float64)
        many = angles.repeat_interleave(GRID, 0)
        many[:, column] = nodes.repeat(n)
        values = self.draws.log_density(many, rest.repeat_interleave(GRID, 0)).view(n, GRID)
        heights = (values - values.max(1, keepdim=True).values).exp()
        at = (angles[:, column] + math.pi) * GRID / (2.0 * math.pi)
        low = at.floor().long().clamp(0, GRID - 1)
        share = at - low
        first = heights.gather(1, low.unsqueeze(1))[:, 0]
        last = heights.gather(1, ((low + 1) % GRID).unsqueeze(1))[:, 0]
        height = (1.0 - share) * first + share * last
        return (height / (heights.sum(1) * 2.0 * math.pi / GRID)).log()

    def _mode(self, torsions: np.ndarray) -> np.ndarray:
        return self.model.modes_of_torsions(torsions, [self.mode])[:, 0]

    def _slopes(self, torsions: np.ndarray) -> np.ndarray:
        """∂χ/∂s of the torsions that can be solved for, (B, n)."""
        _, slopes = torsion_features(torsions, self.model.folds, self.model.order)
        by_bond = slopes.reshape(len(torsions), len(self.model.bonds), -1)
        own = self.coefficients.reshape(len(self.model.bonds), -1)
        return np.asarray(np.einsum("fia,ia->fi", by_bond, own)[:, self.solved])


def _series(coefficients: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Σ_m [a_m cos mt + b_m sin mt] at phases t (B,), with coefficients (order, 2)."""
    turns = np.arange(1, len(coefficients) + 1) * phase[:, None]
    return np.asarray(np.cos(turns) @ coefficients[:, 0] + np.sin(turns) @ coefficients[:, 1])


@torch.no_grad()
def latent_on_level(
    model: TorsionModel, mode: int, value: float, n_samples: int, seed: int
) -> Tensor:
    """Standard normal latent numbers u of structures at a value of a mode, shape (n_samples, n).

    Args:
        model: The modes of torsions, with their density.
        mode: The mode that is held.
        value: Its value, dimensionless.
        n_samples: The number of structures.
        seed: The seed of the random numbers.

    Raises:
        ModelError: The modes have no density.
        OptionError: No conformation has this value.
        SamplingError: Next to no draw of the density leads to this value.
    """
    level = TorsionLevel(model, mode, value)
    generator = torch.Generator().manual_seed(seed)
    flow, prior = level.draws.density.flow, level.draws.density.prior
    kept: list[Tensor] = []
    left = n_samples
    for _ in range(ROUNDS):
        u = _samples(level, n_samples, generator)
        real = torch.isfinite(flow.inverse(prior.from_normal(u))[1])
        kept.append(u[real][:left])
        left -= len(kept[-1])
        if left == 0:
            return torch.cat(kept)
    raise SamplingError(
        f"`fix`: only {n_samples - left} of {ROUNDS * n_samples} latent points with mode {mode} = "
        f"{value:g} are structures: train the model longer, or with more frames"
    )


def _samples(level: TorsionLevel, count: int, generator: torch.Generator) -> Tensor:
    """u (count, n) of samples of a level set: a pool, then moves of each sample."""
    pool = _proposals(level, POOL * count + EXTRA, generator)
    usable = torch.isfinite(pool.log_weight)
    if int(usable.sum()) < FEWEST:
        raise SamplingError(
            f"`fix`: only {int(usable.sum())} of {len(usable)} draws of the density lead to mode "
            f"{level.mode} = {level.value:g}: take a value nearer to 0"
        )
    weights = torch.softmax(pool.log_weight, 0)
    points = pool[torch.multinomial(weights, count, True, generator=generator)]
    for _ in range(STEPS):
        there = _proposals(level, count, generator)
        dice = torch.rand(count, generator=generator, dtype=torch.float64).log()
        points = there.where(dice < there.log_weight - points.log_weight, points)
    return level.draws.normal(points.angles, points.rest)


def _proposals(level: TorsionLevel, count: int, generator: torch.Generator) -> LevelPoints:
    parts = [
        level.propose(min(BATCH, count - start), generator) for start in range(0, count, BATCH)
    ]
    return LevelPoints(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in LevelPoints.__annotations__
        )
    )
