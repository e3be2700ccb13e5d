"""The options of `openmm_plugin.Adaptation`, with their defaults and the reasons for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import openmm

from openmm_plugin.biasing.metadynamics_options import (
    AUTO,
    MetadynamicsOptions,
    Width,
    read_range,
)
from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.platforms import choose_platform
from openmm_plugin.versions import ON_CPU, choose_backend, choose_torsion_backend
from symplectic_cv.adaptation.convergence import TOLERANCE
from symplectic_cv.adaptation.flattening import FLATTEN, FLATTEN_TORSIONS, check_flatten
from symplectic_cv.adaptation.judging import LEAST_GROWTH
from symplectic_cv.charts.torsion_basis import check_order
from symplectic_cv.checks import check_number, check_whole, choose
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.options import Chart
from symplectic_cv.training.options import TrainingOptions

# Where the bias of a round differs from that of a single run of metadynamics
BIAS_FACTOR = 15.0
"""Above the 10 of a single run: a round that knows one basin only must still leave it."""
FILL_KJ = 40.0
"""A single run may go on filling. A round must not drive the molecule where it should not go,
because the next model learns from it: peptide bonds turn to cis from 40 to 50 kJ/mol on."""
PACE_PS = 0.2
"""Below the 1 ps of a single run: hills fill the space of the modes early in a short round, and the
frames, one per hill, are what the next model learns from."""
RANGE = (-9.0, 9.0)
"""Wider than the -6 to 6 of a single run: modes have unit variance in the training data, and the
first rounds have not seen the basins far from it."""
FLOW_ONLY = ("steps", "batch", "layers", "hidden", "growth", "device")
TORSION_ONLY = ("order", "amides", "tolerance")
"""Options that have an effect in one chart alone."""
_TRAINING = TrainingOptions()
DATA_REACH = 3.0
"""The range must reach this far to both sides of 0. The modes have unit variance in the training
data, and each training chooses their signs anew."""


@dataclass(frozen=True)
class AdaptationOptions:
    """Options of an adaptive loop: training, biasing and the end.

    Attributes:
        chart: The coordinates that the modes are functions of: `torsion`, `cartesian` for a flow
            in the Eckart frame, or "auto" for torsions where the molecule has two rotatable bonds
            or more.
        order: The highest harmonic of a torsion, 1 to 3. Higher harmonics cross barriers more often
            and make modes steeper, so that free energies converge more slowly.
        amides: Whether the torsions of peptide and amide bonds take part in modes of torsions. A
            bias on them turns the bonds to cis.
        rounds: The most rounds of training and biasing.
        time_ns: The length of the biased run of each round, in ns.
        final_ns: The time that is added to the run of the best round at the end, in ns.
        start_ns: The length of the unbiased run that a loop without data begins with, in ns.
        modes: The modes to bias, one to three, or "auto": the three slowest of torsions, and of a
            flow those below the widest gap in frequency, two or three.
        flatten: The power by which frames count more in training where they are few: their weight
            is density^(−flatten) along the slow modes. With 0 all frames count the same. With
            torsions the density is the unbiased one, and unbiased weights enter too. Where None,
            0.8 for torsions and 0.5 for a flow.
        tolerance: With torsions, the loop ends when a round changes the free energies along all
            torsions by less than this, in kJ/mol (root mean square below 20 kJ/mol).
        growth: With a flow, the loop ends when crossings per ns grow by less than this share twice
            in a row.
        steps: The number of optimizer steps of each training.
        batch: The number of frames in each step.
        layers: The number of coupling layers.
        hidden: The width of the hidden layers.
        bias_factor: The bias factor γ > 1.
        height: The height of the first hill, in kJ/mol.
        fill: The value of c(t) in kJ/mol at which the hills of a round end: enough for barriers of
            this height, and too little for what should stay as it is.
        width: The width of a hill: one number, a number for each mode, or "auto", as for
            metadynamics.
        pace_ps: The time between hills, and between frames, in ps.
        range: The two ends of the grid; walls stand there. They must hold -3 to 3. Where None,
            the bounds of modes of torsions, and -9 to 9 for a flow.
        timestep_fs: The time step, in fs.
        backend: How OpenMM evaluates the modes: "auto", "native", "torchforce" or "python", or, of
            torsions, "openmm".
        platform: The name of OpenMM's platform; the fastest for this size where None.
        precision: The precision on a GPU: "single", "mixed" or "double"; mixed where None.
        device_index: The GPU, from 0, or several with commas; OpenMM's choice where None.
        temperature: The temperature, in K.
        seed: The seed of the first training and the first run; each round adds one.
        device: Where models are trained: "auto", "cpu" or "cuda".
        atoms: An MDTraj selection of the modelled atoms; the heavy atoms of the solute where None.

    Raises:
        OptionError: an option makes no sense.
        BackendError: the backend is not installed.

    Example:
        >>> AdaptationOptions(rounds=2, time_ns=1.0).fill
        40.0
    """

    chart: Chart | str = AUTO
    order: int = 1
    amides: bool = False
    rounds: int = 3
    time_ns: float = 5.0
    final_ns: float = 0.0
    start_ns: float = 1.0
    modes: str | Sequence[int | str] = AUTO
    flatten: float | None = None
    tolerance: float = TOLERANCE
    growth: float = LEAST_GROWTH
    steps: int = _TRAINING.steps
    batch: int = _TRAINING.batch
    layers: int = _TRAINING.layers
    hidden: int = _TRAINING.hidden
    bias_factor: float = BIAS_FACTOR
    height: float = BiasOptions.height
    fill: float = FILL_KJ
    width: Width = AUTO
    pace_ps: float = PACE_PS
    range: tuple[float, float] | None = None
    timestep_fs: float = BiasOptions.timestep_fs
    backend: str = MetadynamicsOptions.backend
    platform: str | None = None
    precision: str | None = None
    device_index: str | None = None
    temperature: float = BiasOptions.temperature
    seed: int = 0
    device: str = _TRAINING.device
    atoms: str | None = None

    def __post_init__(self) -> None:
        check_whole(self.rounds, "rounds")
        check_number(self.final_ns, "final_ns", least=0.0)
        check_number(self.growth, "growth", least=0.0)
        check_number(self.tolerance, "tolerance", least=0.0)
        check_order(self.order)
        if self.flatten is not None:
            check_flatten(self.flatten)
        if self.chart != AUTO and choose(Chart, self.chart, "chart") is Chart.INTERNAL:
            raise OptionError(
                "`chart` internal cannot be biased, because its modes jump where a torsion passes "
                "180 degrees: give torsion, cartesian or auto"
            )
        chosen = self.chosen_modes()
        if self.range is not None:
            low, high = read_range(self.range)
            if low < high and not low <= -DATA_REACH < DATA_REACH <= high:
                raise OptionError(
                    f"`range` {low:g} {high:g} must hold {-DATA_REACH:g} to {DATA_REACH:g}: every "
                    "mode has unit variance about 0 in the training data, and either sign from "
                    "round to round"
                )
        self.training()
        self.metadynamics(1, chosen or (0, 1), self.time_ns).bias_options(
            None if chosen is None else len(chosen), self.temperature, self._backend()
        )

    def _backend(self) -> str:
        """The backend of the rounds, as far as it is known before the chart and the system are."""
        if self.chart != AUTO and choose(Chart, self.chart, "chart") is Chart.CARTESIAN:
            return choose_backend(self.backend)
        return choose_torsion_backend(self.backend, self.platform or ON_CPU[0])

    def chosen_modes(self) -> list[int] | None:
        """The modes as numbers; None for "auto".

        Raises:
            OptionError: `modes` is neither "auto" nor whole numbers.
        """
        given = [self.modes] if isinstance(self.modes, str) else list(self.modes)
        if given == [AUTO]:
            return None
        try:
            return [int(mode) for mode in given]
        except ValueError as error:
            raise OptionError(
                f"`modes` {' '.join(map(str, given))}: neither {AUTO} nor numbers"
            ) from error

    def training(self) -> TrainingOptions:
        """The options of the training of the first round; later ones have other seeds."""
        return TrainingOptions(
            steps=self.steps,
            batch=self.batch,
            layers=self.layers,
            hidden=self.hidden,
            seed=self.seed,
            device=self.device,
        )

    def flattening(self, chart: Chart) -> float:
        """The power by which frames count more where they are few, in a chart."""
        if self.flatten is not None:
            return self.flatten
        return FLATTEN_TORSIONS if chart is Chart.TORSION else FLATTEN

    def refuse_without_effect(self, chart: Chart) -> None:
        """Raises OptionError for an option other than its default that has no effect in a chart.

        Raises BackendError for a backend that its modes cannot have.
        """
        torsion = chart is Chart.TORSION
        if not torsion:
            choose_backend(self.backend)
        names = FLOW_ONLY if torsion else TORSION_ONLY
        given = [name for name in names if getattr(self, name) != getattr(type(self), name)]
        if given:
            other = Chart.CARTESIAN if torsion else Chart.TORSION
            raise OptionError(
                f"`{given[0]}` has no meaning with `chart='{chart.value}'`: leave it out, or give "
                f"`chart='{other.value}'`"
            )

    def metadynamics(
        self,
        number: int,
        modes: Sequence[int],
        time_ns: float,
        chart: Chart = Chart.CARTESIAN,
    ) -> MetadynamicsOptions:
        """The options of the biased run of a round.

        Args:
            number: The number of the round, from 1.
            modes: The modes to bias.
            time_ns: The length of the run, in ns.
            chart: The chart of the modes.
        """
        return MetadynamicsOptions(
            modes=list(modes),
            time_ns=time_ns,
            bias_factor=self.bias_factor,
            height=self.height,
            fill=self.fill,
            width=self.width,
            pace_ps=self.pace_ps,
            range=self._range(chart),
            timestep_fs=self.timestep_fs,
            backend=self.backend,
            platform=self.platform,
            precision=self.precision,
            device_index=self.device_index,
            temperature=self.temperature,
            seed=self.seed + number - 1,
        )

    def chosen_platform(self, n_atoms: int) -> openmm.Platform:
        """The platform of all rounds, for a system of so many atoms."""
        return choose_platform(self.platform, n_atoms, self.precision, self.device_index)

    def _range(self, chart: Chart) -> tuple[float, float] | None:
        """The ends of the grid; None where modes have ends of their own."""
        if self.range is None and chart is not Chart.TORSION:
            return RANGE
        return self.range

    def settings(self, chart: Chart = Chart.CARTESIAN) -> dict[str, object]:
        """The settings that a resumed loop must share, as run.json keeps them.

        Rounds may be added, and the last run may be made longer.

        Args:
            chart: The chart of the modes.
        """
        listed = [self.width] if isinstance(self.width, str | float | int) else list(self.width)
        ends = self._range(chart)
        if chart is Chart.TORSION:
            learned: dict[str, object] = {
                "chart": chart.value,
                "order": self.order,
                "amides": self.amides,
            }
        else:
            learned = {name: getattr(self, name) for name in ("steps", "batch", "layers", "hidden")}
        return {
            **learned,
            "atoms": self.atoms,
            "time_ns": self.time_ns,
            "start_ns": self.start_ns,
            "modes": self.chosen_modes(),
            "flatten": self.flattening(chart),
            "bias_factor": self.bias_factor,
            "height": self.height,
            "fill": self.fill,
            "width": [str(width) for width in listed],
            "pace_ps": self.pace_ps,
            "range": None if ends is None else list(ends),
            "timestep_fs": self.timestep_fs,
            "temperature_k": self.temperature,
            "seed": self.seed,
        }
