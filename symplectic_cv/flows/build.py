"""Builds flows from their options."""

from __future__ import annotations

import torch
from torch import Tensor

from symplectic_cv.flows.canonical import CanonicalTransformation, Composition
from symplectic_cv.flows.continuous import (
    ContinuousSymplectic,
    GeneralNetwork,
    SeparableNetwork,
)
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.layers import ModeOrder, NormalModes, PointLayer, Rotation
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.flows.options import Coupling, Flow, FlowOptions, Generator
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.flows.spline import REACH, SplineCoupling


def build_flow(options: FlowOptions, start: NormalModes, spread: Tensor) -> CanonicalTransformation:
    """A flow that starts as its normal modes.

    It ends with an order of the modes, which `put_slowest_first` sets.

    Args:
        options: The options of the flow.
        start: The axes and the centre of the data, or of a minimum.
        spread: The typical size of each coordinate after `start`, shape (n,).
    """
    n = spread.shape[0]
    last = ModeOrder(torch.arange(n))
    if options.flow is Flow.POINT:
        layers: list[PointLayer] = [Rotation(n), Rotation(n)] if options.rotation else []
        layers += [_coupling(options, spread, place) for place in range(options.layers)]
        return PointTransformation([start, *layers, last])
    parts: list[CanonicalTransformation] = [
        PointTransformation([start]),
        LinearSymplectic(2 * n),
        LinearSymplectic(2 * n),
    ]
    if options.flow is Flow.CONTINUOUS:
        network = SeparableNetwork if options.generator is Generator.SEPARABLE else GeneralNetwork
        parts.append(
            ContinuousSymplectic(
                network(2 * n, options.hidden),
                options.integrator,
                options.duration,
                options.integration_steps,
                options.order,
            )
        )
        parts.append(LinearSymplectic(2 * n))
    return Composition([*parts, PointTransformation([last])])


def put_slowest_first(transformation: CanonicalTransformation, omega: Tensor) -> Tensor:
    """Reorders the modes of a built flow; the order (n,) to apply to ω as well."""
    order = torch.argsort(omega)
    point = transformation
    if isinstance(transformation, Composition):
        point = transformation.parts[-1]  # type: ignore[assignment]
    assert isinstance(point, PointTransformation)
    last = point.layers[-1]
    assert isinstance(last, ModeOrder)
    point.layers[-1] = ModeOrder(last.order[order])
    return order


def mode_halves(n: int, coupling: int) -> tuple[Tensor, Tensor]:
    """Kept and moved modes of a coupling, out of n ordered from slow to fast.

    Two ways to halve the modes take turns, two couplings each: 0 1 4 5 8 9 … against
    2 3 6 7 …, then 0 3 4 7 8 … against 1 2 5 6 …. The half with the slowest mode is the
    first to condition.

    A slow torsion moves on a ring, which the normal modes show as two: the torsion and its
    curvature. The first way keeps the two slowest modes together and bends the next two,
    their curvature; the second also lets the two slowest bend one another. With 0 2 4 …
    against 1 3 5 … alone the ring was torn into two modes (alanine dipeptide's ψ).
    """
    index = torch.arange(n)
    way = coupling // 2 % 2 if n != 2 else 1  # the first way would leave two modes together
    first = (index + way) // 2 % 2 == 0
    halves = index[first], index[~first]
    if n == 1:  # nothing to condition on: the one coordinate is moved, always
        return halves[1][:0], index
    return halves if coupling % 2 == 0 else (halves[1], halves[0])


def _coupling(options: FlowOptions, spread: Tensor, place: int) -> PointLayer:
    halves = mode_halves(len(spread), place)
    if options.coupling is Coupling.AFFINE:
        return AffineCoupling(*halves, spread, options.hidden)
    return SplineCoupling(*halves, REACH * spread, options.hidden, options.bins)
