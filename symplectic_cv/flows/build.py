"""Flows by their options: what the commands build, and what a model folder describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.canonical import CanonicalTransformation, Composition
from symplectic_cv.flows.continuous import (
    ContinuousSymplectic,
    GeneralNetwork,
    Integrator,
    SeparableNetwork,
)
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.layers import ModeOrder, NormalModes, PointLayer, Rotation
from symplectic_cv.flows.linear import LinearSymplectic
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.flows.spline import REACH, SplineCoupling


class Coupling(str, Enum):
    """What bends the coordinates.

    AFFINE, SPLINE: one half of them at a time, given the other half.
    AUTOREGRESSIVE: each given all before it, by splines; internal coordinates only.
    """

    AFFINE = "affine"
    SPLINE = "spline"
    AUTOREGRESSIVE = "autoregressive"


class Chart(str, Enum):
    """Coordinates that a molecule's flow transforms.

    CARTESIAN: those of the Eckart frame; smooth, so right for collective variables.
    INTERNAL: bonds, angles and torsions; torsions on the circle, so right for sampling.
    """

    CARTESIAN = "cartesian"
    INTERNAL = "internal"


class Flow(str, Enum):
    """Which canonical transformations a model may use.

    POINT: coordinates change among themselves and momenta follow; the paper's own choice.
    LINEAR: exp(Y) of phase space.
    CONTINUOUS: the flow of a generating function, between two linear ones.
    """

    POINT = "point"
    LINEAR = "linear"
    CONTINUOUS = "continuous"


class Generator(str, Enum):
    SEPARABLE = "separable"
    GENERAL = "general"


@dataclass(frozen=True)
class FlowOptions:
    """What a user may choose about a flow.

    Attributes:
        flow: point, linear or continuous.
        coupling, layers, hidden, bins: kind, number and width of a point flow's couplings;
            bins of a spline. `hidden` is also the width of a generating function.
        rotation: whether a learned rotation precedes the couplings.
        generator, integrator, integration_steps, duration, order: of a continuous flow.
        chart: of a molecule; the layers of an internal one are those of
            `symplectic_cv.charts.build`.
    """

    flow: Flow = Flow.POINT
    coupling: Coupling = Coupling.AFFINE
    layers: int = 8
    hidden: int = 64
    bins: int = 8
    rotation: bool = False
    generator: Generator = Generator.GENERAL
    integrator: Integrator = Integrator.MIDPOINT
    integration_steps: int = 4
    duration: float = 1.0
    order: int = 2
    chart: Chart = Chart.CARTESIAN

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "integration_steps"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise OptionError(f"--{option} must be at least 1; got {getattr(self, name)}")
        if self.coupling is Coupling.AUTOREGRESSIVE and self.chart is not Chart.INTERNAL:
            raise OptionError("--coupling autoregressive is for --chart internal; use spline")
        if not 2 <= self.bins <= 128:
            raise OptionError(f"--bins must be from 2 to 128; got {self.bins}")

    def to_json(self) -> dict[str, Any]:
        return {
            key: value.value if isinstance(value, Enum) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FlowOptions:
        """Raises KeyError, TypeError or ValueError where the description is damaged."""
        kinds = {
            "flow": Flow,
            "coupling": Coupling,
            "generator": Generator,
            "integrator": Integrator,
            "chart": Chart,
        }
        return cls(**{key: kinds.get(key, lambda v: v)(value) for key, value in data.items()})


def build_flow(options: FlowOptions, start: NormalModes, spread: Tensor) -> CanonicalTransformation:
    """A flow that starts as its normal modes.

    It ends with an order of the modes, which `put_slowest_first` sets.

    Args:
        options: which flow.
        start: axes and centre of the data, or of a minimum.
        spread: typical size of each coordinate behind `start`, (n,).
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
