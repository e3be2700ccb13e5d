"""Options of a flow, as a user gives them and a model folder keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from symplectic_cv.checks import check_number, check_whole, set_choices
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.continuous import Integrator


class Coupling(str, Enum):
    """The kinds of couplings of a point flow.

    AFFINE: One half of the coordinates is scaled and shifted, given the other half.
    SPLINE: One half of the coordinates goes through splines, given the other half.
    AUTOREGRESSIVE: Each coordinate goes through a spline, given all earlier ones; for internal
        coordinates only.
    """

    AFFINE = "affine"
    SPLINE = "spline"
    AUTOREGRESSIVE = "autoregressive"


class Chart(str, Enum):
    """The coordinates of a molecule that its modes are functions of.

    CARTESIAN: The coordinates of the Eckart frame; smooth, so right for collective variables.
    INTERNAL: Bonds, angles and torsions, with torsions on the circle; right for sampling.
    TORSION: Torsions of rotatable bonds, with modes of least frequency that are found in seconds;
        right for collective variables of flexible molecules. Its flow, where one is wanted, is
        that of internal coordinates with the torsions as latent pendulums.
    """

    CARTESIAN = "cartesian"
    INTERNAL = "internal"
    TORSION = "torsion"


class Flow(str, Enum):
    """The kinds of canonical transformations.

    POINT: New coordinates are functions of the coordinates alone, and momenta follow; the choice
        of the paper for molecules.
    LINEAR: The linear symplectic map exp(Y) of phase space.
    CONTINUOUS: The flow of a generating function, between two linear maps.
    """

    POINT = "point"
    LINEAR = "linear"
    CONTINUOUS = "continuous"


class Generator(str, Enum):
    """The generating function of a continuous flow.

    SEPARABLE: A function of the momenta plus a function of the coordinates.
    GENERAL: A function of both.
    """

    SEPARABLE = "separable"
    GENERAL = "general"


_CHOICES: dict[str, type[Enum]] = {
    "flow": Flow,
    "coupling": Coupling,
    "generator": Generator,
    "integrator": Integrator,
    "chart": Chart,
}


@dataclass(frozen=True)
class FlowOptions:
    """Options of a flow.

    Choices are given as strings or as members of their enumerations.

    Attributes:
        flow: The kind of canonical transformation: `point`, `linear` or `continuous`.
        coupling: The kind of a point flow's couplings: `affine`, `spline` or `autoregressive`.
        layers: The number of a point flow's couplings.
        hidden: The width of the networks in couplings and generating functions.
        bins: The number of bins of each spline.
        rotation: Whether a learned rotation precedes the couplings.
        generator: The generating function of a continuous flow: `general` or `separable`.
        integrator: The integrator of a continuous flow: `midpoint` or `leapfrog`.
        integration_steps: The number of time steps of a continuous flow.
        duration: The time over which a continuous flow runs.
        order: The order of the integrator: 2 or 4.
        chart: The coordinates of a molecule that the flow transforms: `cartesian`, `internal` or
            `torsion` (the layers of both are those of `symplectic_cv.charts.internal_flow`).

    Raises:
        OptionError: A value that makes no sense; the message names the parameter.

    Example:
        >>> FlowOptions(flow="continuous").flow
        <Flow.CONTINUOUS: 'continuous'>
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
        set_choices(self, **_CHOICES)
        for name in ("layers", "hidden", "integration_steps"):
            check_whole(getattr(self, name), name)
        check_whole(self.bins, "bins", 2, 128)
        check_number(self.duration, "duration")
        if self.order not in (2, 4):
            raise OptionError(f"`order` must be 2 or 4; got {self.order}")
        if self.coupling is Coupling.AUTOREGRESSIVE and self.chart is not Chart.INTERNAL:
            raise OptionError("`coupling='autoregressive'` is for `chart='internal'`; use spline")

    def to_json(self) -> dict[str, Any]:
        """The options as JSON, for config.json of a model folder."""
        return {
            key: value.value if isinstance(value, Enum) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FlowOptions:
        """Raises KeyError, TypeError or ValueError where the description is damaged."""
        return cls(**data)
