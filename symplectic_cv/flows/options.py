"""Options of a flow, as a user gives them and a model folder keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from symplectic_cv.errors import OptionError
from symplectic_cv.flows.continuous import Integrator


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
            `symplectic_cv.charts.internal_flow`.
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
