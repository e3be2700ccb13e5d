"""Options of a training on frames of a trajectory, and their defaults for each chart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from symplectic_cv.checks import check_number, check_whole, choose, set_choices
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.options import Chart, Coupling, FlowOptions
from symplectic_cv.training.devices import check_device
from symplectic_cv.training.momenta import Momenta

CHART_DEFAULTS: dict[Chart, dict[str, Any]] = {
    Chart.CARTESIAN: {
        "steps": 5000,
        "batch": 512,
        "coupling": Coupling.AFFINE,
        "momentum_weight": 1.0,
    },
    Chart.INTERNAL: {
        "steps": 2000,
        "batch": 256,
        "coupling": Coupling.SPLINE,
        "momentum_weight": 0.0,
    },
    Chart.TORSION: {
        "steps": 2000,
        "batch": 256,
        "coupling": Coupling.SPLINE,
        "momentum_weight": 1.0,
    },
}
"""Defaults that depend on the chart. Collective variables (Cartesian) and pendulums (torsion) learn
the likelihood of phase space; models for sampling (internal) learn that of structures alone."""

ENERGY_WEIGHT = 1.0
"""Default of `energy_weight` where the energies of the frames are given."""

_OF_CHART: Any = None
"""Default of a field whose value depends on the chart: `CHART_DEFAULTS` replaces it."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training on frames.

    Choices are given as strings or as members of their enumerations. A field that is None takes
    the default of the chart.

    Attributes:
        steps: The largest number of optimizer steps; 5000, or 2000 in internal coordinates and
            torsions.
        batch: The number of frames per step; 512, or 256 in internal coordinates and torsions.
        coupling: The kind of coupling: `affine`, or `spline` (monotone rational-quadratic
            splines, stronger and slower), or `autoregressive` splines (internal coordinates
            only). The default is affine, or spline in internal coordinates and torsions.
        layers: The number of coupling layers.
        hidden: The width of the two hidden layers of each coupling's network.
        bins: The number of bins of each spline.
        momenta: How momenta are drawn in training: `rademacher` or `maxwell`.
        momentum_weight: The weight of the momentum part of the loss. 1 gives the paper's
            negative log-likelihood of phase space, 0 the likelihood of structures alone. The
            default is 1, or 0 in internal coordinates.
        seed: The seed of the initial weights, the batches and the momenta.
        device: Where to train: `auto`, `cpu` or `cuda`.
        chart: The coordinates that the flow transforms: `cartesian` (those of the Eckart frame,
            for collective variables), `internal` (bonds, angles and torsions, for sampling) or
            `torsion` (the same, with the torsions of rotatable bonds as latent pendulums).
        energy_weight: The weight of half the variance of ln w over the frames, from their
            energies; internal coordinates only.

    Raises:
        OptionError: A value that makes no sense; the message names the parameter.

    Example:
        >>> TrainingOptions(chart="internal").steps
        2000
    """

    steps: int = _OF_CHART
    batch: int = _OF_CHART
    coupling: Coupling = _OF_CHART
    layers: int = 8
    hidden: int = 64
    bins: int = 8
    momenta: Momenta = Momenta.RADEMACHER
    momentum_weight: float = _OF_CHART
    seed: int = 0
    device: str = "auto"
    chart: Chart = Chart.CARTESIAN
    energy_weight: float = 0.0

    @property
    def flow(self) -> FlowOptions:
        """The options of the flow that is trained."""
        return FlowOptions(
            coupling=self.coupling,
            layers=self.layers,
            hidden=self.hidden,
            bins=self.bins,
            chart=self.chart,
        )

    def __post_init__(self) -> None:
        chart = choose(Chart, self.chart, "chart")
        for name, default in CHART_DEFAULTS.get(chart, CHART_DEFAULTS[Chart.CARTESIAN]).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        set_choices(self, chart=Chart, coupling=Coupling, momenta=Momenta)
        _ = self.flow  # checks what it is made of
        for name in ("steps", "batch"):
            check_whole(getattr(self, name), name)
        check_whole(self.seed, "seed", least=0)
        for name in ("momentum_weight", "energy_weight"):
            check_number(getattr(self, name), name, least=0.0)
        if self.chart is not Chart.INTERNAL and self.energy_weight > 0.0:
            raise OptionError(
                "`energy_weight` needs `chart='internal'`; a Cartesian model learns from energies "
                "alone by variational training"
            )
        if self.chart is not Chart.CARTESIAN and self.coupling is Coupling.AFFINE:
            raise OptionError("`coupling='affine'` has no angles on the circle; use spline")
        check_device(self.device)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON, for the model folder and the record of a run."""
        return asdict(self) | {
            "momenta": self.momenta.value,
            "coupling": self.coupling.value,
            "chart": self.chart.value,
        }
