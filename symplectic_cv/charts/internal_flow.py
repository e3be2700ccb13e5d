"""The flow of a model in internal coordinates, as one point transformation of q."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal import InternalCoordinates
from symplectic_cv.charts.standard import StandardInternal
from symplectic_cv.charts.zmatrix import ZMatrix
from symplectic_cv.flows.autoregressive import AutoregressiveSpline
from symplectic_cv.flows.layers import ModeOrder, PointLayer
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions
from symplectic_cv.flows.parts import AngleToLine, ConditionalGaussian, Scale, SubsetLayer
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.flows.spline import REACH, SplineCoupling
from symplectic_cv.molecule import Molecule

ANGLE_LAYERS = 6
"""Couplings among the round torsions; there are few of them, with many bins each."""
ANGLE_BINS = 2
"""Factor on the number of bins, relative to other coordinates."""
FIXED = 2
"""Layers at the start that are not learned: the chart and its scaling."""


def internal_flow(
    options: FlowOptions,
    chart: InternalCoordinates,
    standard: StandardInternal,
    scale: Tensor,
) -> PointTransformation:
    """The layers of the flow: chart, scaling, stiff coordinates given the angles, then the angles.

    The density it describes is ρ(angles) ρ(stiff | angles): a conditional Gaussian whose
    residuals go through couplings, and spline couplings on the circle. The flow starts with
    independent coordinates: normal ones (stiff) and uniform ones (round). In the torsion chart
    round coordinates stay angles, the latent pendulums, and a last coupling turns them by the
    stiff ones: ρ(angles | stiff latent) ρ(stiff latent).

    Args:
        options: The options of the flow; `chart`, `coupling`, `layers`, `hidden` and `bins` are
            used.
        scale: The scale of each latent variable, shape (n,), in ps per unit; 1 for angles that
            stay angles.
    """
    k, n = len(standard.round), len(standard.centre)
    angles, line = torch.arange(k), torch.arange(k, n)
    layers: list[PointLayer] = [chart, standard]
    if k:
        layers.append(ConditionalGaussian(angles, line, options.hidden))
    if options.coupling is Coupling.AUTOREGRESSIVE:
        layers.append(
            AutoregressiveSpline(angles, line, options.layers, options.hidden, options.bins)
        )
    else:
        layers += stiff_couplings(options, angles, line)
    if k:
        for place in range(ANGLE_LAYERS if k > 1 else 1):
            layers.append(SubsetLayer(_angle_coupling(options, k, place), angles, n))
        if options.chart is Chart.TORSION:  # the latent angles are pendulums
            layers.append(_angles_given_line(options, angles, line))
        else:
            layers.append(SubsetLayer(AngleToLine(), angles, n))
    return PointTransformation([*layers, Scale(scale), ModeOrder(torch.arange(n))])


def empty_internal_flow(
    options: FlowOptions, frame: EckartFrame, molecule: Molecule, state: Mapping[str, Tensor]
) -> PointTransformation:
    """A flow of the right shape for the weights of a stored model, which it does not hold yet."""
    rows = (state[f"flow.layers.0.{name}"].numpy() for name in ("atoms", "references"))
    chart = InternalCoordinates(frame, ZMatrix(*rows))
    stored = {name: state[f"flow.layers.1.{name}"] for name in ("round", "line", "whitening")}
    standard = StandardInternal(
        stored["round"],
        stored["line"],
        molecule.n_atoms - 3,
        torch.zeros(frame.dimension, dtype=torch.float64),
        stored["whitening"],
    )
    return internal_flow(options, chart, standard, torch.ones(frame.dimension))


def stiff_couplings(options: FlowOptions, angles: Tensor, line: Tensor) -> list[PointLayer]:
    """Spline couplings among the stiff coordinates, all conditioned on the angles too."""
    k, n = len(angles), len(angles) + len(line)
    half_width = torch.full((n,), REACH)
    half_width[:k] = math.pi
    circular = torch.arange(n) < k
    couplings: list[PointLayer] = []
    for place in range(options.layers):
        kept, moved = halves_by_bits(len(line), place)
        couplings.append(
            SplineCoupling(
                torch.cat([angles, line[kept]]),
                line[moved],
                half_width,
                options.hidden,
                options.bins,
                circular,
            )
        )
    return couplings


def _angles_given_line(options: FlowOptions, angles: Tensor, line: Tensor) -> SplineCoupling:
    """Turns the angles by the stiff coordinates, which frees the momenta of both of each other.

    A bond angle that opens moves the atoms that a torsion turns. Their momenta are correlated until
    the torsion is counted from where the other coordinates have gone.
    """
    n = len(angles) + len(line)
    half_width = torch.full((n,), REACH)
    half_width[angles] = math.pi
    circular = torch.arange(n) < len(angles)
    return SplineCoupling(line, angles, half_width, options.hidden, options.bins, circular)


def _angle_coupling(options: FlowOptions, k: int, place: int) -> SplineCoupling:
    kept, moved = halves_by_bits(k, place)
    return SplineCoupling(
        kept,
        moved,
        torch.full((k,), math.pi),
        options.hidden,
        ANGLE_BINS * options.bins,
        torch.ones(k, dtype=torch.bool),
    )


def halves_by_bits(n: int, place: int) -> tuple[Tensor, Tensor]:
    """Kept and moved coordinates of a coupling: by one binary digit of their number.

    Two couplings, one for each half, share a digit; after all digits have been used, any two
    coordinates have been in different halves.

    Example:
        >>> [half.tolist() for half in halves_by_bits(5, 0)]
        [[0, 2, 4], [1, 3]]
        >>> [half.tolist() for half in halves_by_bits(5, 3)]
        [[2, 3], [0, 1, 4]]
    """
    index = torch.arange(n)
    if n == 1:
        return index[:0], index
    digits = max(1, (n - 1).bit_length())
    first = (index >> (place // 2 % digits)) % 2 == 0
    halves = index[first], index[~first]
    return halves if place % 2 == 0 else (halves[1], halves[0])


def latent_scale(chart: InternalCoordinates, standard: StandardInternal, q: Tensor) -> Tensor:
    """ps per unit of each standardised coordinate, (n,): where P then has unit variance.

    With p ~ N(0, 1), P_k = p · ∂q/∂z_k has the variance |∂q/∂z_k|², averaged over frames q
    (F, n). Frequencies of the start are then those of the coordinates, in rad/ps.
    """
    z, back = _there_and_back(chart, standard, q)
    square = torch.zeros(z.shape[1], dtype=torch.float64)
    probes = torch.Generator().manual_seed(0)
    # Hutchinson's trace of each column: few frames and probes suffice for a unit
    n_probes = 16
    for _ in range(n_probes):
        p = torch.randint(0, 2, z.shape, generator=probes).double() * 2.0 - 1.0
        (slope,) = torch.autograd.grad(back, z, p, retain_graph=True)
        square += (slope**2).mean(0) / n_probes
    return square.sqrt()


def momentum_covariance(
    chart: InternalCoordinates, standard: StandardInternal, q: Tensor
) -> Tensor:
    """The covariance of the momenta of z, ⟨(∂q/∂z)ᵀ ∂q/∂z⟩ over frames q (F, n), (n, n)."""
    z, back = _there_and_back(chart, standard, q)
    n = z.shape[1]
    total = torch.zeros(n, n, dtype=torch.float64)
    for k in range(n):
        (slope,) = torch.autograd.grad(back[:, k].sum(), z, retain_graph=True)
        total += slope.T @ slope / len(z)
    return total


def _there_and_back(
    chart: InternalCoordinates, standard: StandardInternal, q: Tensor
) -> tuple[Tensor, Tensor]:
    """z of frames q (F, n), and q again as a function of z."""
    start = PointTransformation([chart, standard])
    z = start(q)[0].detach().requires_grad_(True)
    return z, start.inverse(z)[0]
