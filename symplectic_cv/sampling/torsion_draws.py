"""Draws of a torsion model as torsions and the rest, of which single torsions can be turned.

The latent density is a product, so that torsions can be turned while the latent oscillators of
bonds and angles stay: these follow the torsions as the density says. A mode that ring torsions
carry too would change on the way. There bonds, angles and ring torsions themselves stay, and the
density is that of all coordinates.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import FIXED
from symplectic_cv.charts.standard import StandardInternal
from symplectic_cv.charts.torsion_metric import torsion_angles
from symplectic_cv.charts.zmatrix import ZMatrix, torsion_rows
from symplectic_cv.flows.layers import ModeOrder, PointLayer
from symplectic_cv.flows.parts import SubsetLayer
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.models.prior import PendulumPrior
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.models.von_mises import log_von_mises

LAST = 2
"""Layers at the end that scale and number the latent coordinates; before them the angles are turned
by the oscillators."""


class TorsionDraws:
    """Torsions and the rest of structures of a torsion model, with their density.

    The rest of a structure are its latent oscillators, or, where ring torsions carry the mode, its
    whitened bonds, angles and stiff torsions.

    Args:
        model: The modes of torsions, with their density.
        mode: The mode that will be held.

    Attributes:
        turning: The places of bonds outside of rings, among all bonds of the modes.
        through_ring: Whether ring torsions carry the mode.
    """

    def __init__(self, model: TorsionModel, mode: int) -> None:
        self.model = model
        self.density = in_float64(model.require_density())
        layers = list(self.density.flow.layers)
        chart, standard = layers[:FIXED]
        assert isinstance(chart, InternalCoordinates)
        assert isinstance(standard, StandardInternal)
        self._chart, self._standard = chart, standard
        last = layers[-1]
        assert isinstance(last, ModeOrder)
        self._end = PointTransformation(layers[-LAST:])  # type: ignore[arg-type]
        self._learned = PointTransformation(layers[FIXED:])  # type: ignore[arg-type]
        self._given_line: PointLayer = layers[-LAST - 1]  # type: ignore[assignment]
        self._turns = PointTransformation([x.layer for x in layers if isinstance(x, SubsetLayer)])
        self.turning = [k for k, bond in enumerate(model.bonds) if not bond.in_ring]
        self.through_ring = any(
            bond.in_ring and np.abs(coefficients).max() > 0.0
            for bond, coefficients in zip(model.bonds, model.coefficients[mode], strict=True)
        )
        table = ZMatrix(chart.atoms.numpy(), chart.references.numpy())
        rows = torsion_rows(table, [model.bonds[k].atoms for k in self.turning])
        places = standard.round.tolist()
        first = 2 * chart.n_atoms - 6
        self._columns = {
            bond: places.index(first + row) for bond, row in zip(self.turning, rows, strict=True)
        }
        k = len(places)
        prior = self.density.prior
        assert isinstance(prior, PendulumPrior)
        self._prior = prior
        place = torch.searchsorted(prior.pendulums, torch.argsort(last.order)[:k])
        self._kappa = prior.kappa[place]
        self._n_angles = k

    def column(self, bond: int) -> int:
        """The column of a bond's torsion among the angles."""
        return self._columns[bond]

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Angles (n, k) and the rest (n, m) of independent structures."""
        u = torch.randn(n, self.density.dimension, generator=generator, dtype=torch.float64)
        latent, k = self._prior.from_normal(u), self._n_angles
        if self.through_ring:
            z = self._learned.inverse(latent)[0]
            return z[:, :k], z[:, k:]
        both = self._end.inverse(latent)[0]
        theta = self._given_line.inverse(both)[0][:, :k]
        return self._turns.inverse(theta)[0], both[:, k:]

    def log_density(self, angles: Tensor, rest: Tensor) -> Tensor:
        """ln ρ(angles, rest), (B,), up to a function of the rest."""
        if self.through_ring:
            latent, log_det = self._learned(torch.cat([angles, rest], -1))
            return self._prior.log_prob_coordinates(latent) + log_det
        theta, log_det = self._latent_angles(angles, rest)
        return log_von_mises(theta, self._kappa).sum(-1) + log_det

    def torsions(self, angles: Tensor, rest: Tensor) -> np.ndarray:
        """The torsions of all bonds of the modes in rad, shape (B, n_bonds)."""
        found = np.zeros((len(angles), len(self.model.bonds)))
        centre = self._standard.centre[self._standard.round].numpy()
        for bond, column in self._columns.items():
            found[:, bond] = angles[:, column].numpy() + centre[column]
        rings = [k for k, bond in enumerate(self.model.bonds) if bond.in_ring]
        if self.through_ring and rings:
            xi = self._standard.inverse(torch.cat([angles, rest], -1))[0]
            bonds = [self.model.bonds[k] for k in rings]
            found[:, rings] = torsion_angles(self._chart.place(xi).numpy(), bonds)
        return found

    def normal(self, angles: Tensor, rest: Tensor) -> Tensor:
        """Standard normal latent numbers u (B, n) of structures."""
        if self.through_ring:
            latent = self._learned(torch.cat([angles, rest], -1))[0]
        else:
            theta = self._latent_angles(angles, rest)[0]
            latent = self._end(torch.cat([theta, rest], -1))[0]
        return self._prior.to_normal(latent)

    def _latent_angles(self, angles: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
        """θ of the pendulums (B, k), and ln|det ∂θ/∂angles|, (B,), at given oscillators."""
        theta, first = self._turns(angles)
        both, second = self._given_line(torch.cat([theta, line], -1))
        return both[:, : self._n_angles], first + second
