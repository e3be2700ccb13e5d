"""The start of a model in internal coordinates or torsions: standard coordinates, units, prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.internal_flow import latent_scale, momentum_covariance
from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.standard import StandardInternal, along_normal_modes, standardise
from symplectic_cv.charts.symmetry import Turn, equivalent_turns, like_hydrogens
from symplectic_cv.charts.zmatrix import ZMatrix, molecule_z_matrix, torsion_rows
from symplectic_cv.errors import SelectionError
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.prior import HarmonicPrior, PendulumPrior
from symplectic_cv.models.von_mises import concentration
from symplectic_cv.molecule import Molecule

SCALE_FRAMES = 64
"""Frames that tell the units of the momenta."""
LEAST_KAPPA = 0.3
"""The least concentration of a pendulum at the start, so that it can still be learned."""


@dataclass(frozen=True)
class InternalTopology:
    """The part of internal coordinates that follows from the bond graph.

    Attributes:
        table: The Z-matrix.
        alike: The exchanges of equivalent atoms.
        angles: The places among all internal coordinates of torsions that stay angles.
    """

    table: ZMatrix
    alike: list[Turn]
    angles: list[int]


def internal_topology(molecule: Molecule, chart: Chart, reference: np.ndarray) -> InternalTopology:
    """The Z-matrix, equivalent atoms and rotatable torsions of a molecule.

    In the torsion chart the Z-matrix has the torsion of every rotatable bond outside of rings, and
    the atoms that turns of these bonds exchange are alike.

    Args:
        molecule: The modelled atoms.
        chart: `internal` or `torsion`.
        reference: A typical structure, shape (n_atoms, 3), in nm.

    Raises:
        SelectionError: The atoms are too few, or not joined by bonds.
    """
    alike = like_hydrogens(molecule)
    if chart is not Chart.TORSION:
        return InternalTopology(molecule_z_matrix(molecule), alike, [])
    bonds = find_rotatable_bonds(molecule, reference)
    turning = [bond for bond in bonds if not bond.in_ring]
    torsions = [bond.atoms for bond in turning]
    try:
        table = molecule_z_matrix(molecule, torsions)
    except SelectionError as error:
        raise SelectionError(
            f"the density of torsions (`density`) needs one connected molecule: {error}"
        ) from error
    # the torsions come last, after N−1 bonds and N−2 angles; the first has row 3
    angles = [2 * molecule.n_atoms - 6 + row for row in torsion_rows(table, torsions)]
    return InternalTopology(table, alike + equivalent_turns(molecule, turning, reference), angles)


def standard_start(
    chart: InternalCoordinates,
    internal: Tensor,
    q: Tensor,
    kind: Chart,
    weights: Tensor | None,
    angles: Sequence[int],
) -> tuple[StandardInternal, Tensor, HarmonicPrior]:
    """Standardised coordinates of training frames, the units of the latent ones, and the prior.

    Args:
        chart: Internal coordinates of q.
        internal: Internal coordinates ξ of the frames, shape (F, n).
        q: Eckart coordinates of the frames, shape (F, n), in ps.
        kind: `internal` or `torsion`.
        weights: One weight per frame, shape (F,), or None.
        angles: The indices of torsions that stay angles in any case.

    Raises:
        FrameError: A coordinate does not move, or the frames are too few.
    """
    chosen = q[:: max(1, len(q) // SCALE_FRAMES)][:SCALE_FRAMES]
    standard = standardise(internal, chart.n_atoms, weights, angles)
    if kind is not Chart.TORSION:
        scale = latent_scale(chart, standard, chosen)
        return standard, scale, HarmonicPrior(1.0 / scale)
    standard = along_normal_modes(standard, momentum_covariance(chart, standard, chosen))
    scale = momentum_covariance(chart, standard, chosen).diagonal().sqrt()
    k = len(standard.round)
    theta = standard(internal)[0][:, :k]
    share = torch.ones(len(theta), dtype=torch.float64) if weights is None else weights.double()
    mean = (share / share.sum()) @ theta.cos()
    kappa = concentration(mean).clamp(min=LEAST_KAPPA)
    omega = torch.cat([kappa.sqrt(), torch.ones(len(scale) - k, dtype=torch.float64)]) / scale
    scale = torch.cat([torch.ones_like(kappa), scale[k:]])
    return standard, scale, PendulumPrior(omega, torch.arange(k), kappa)
