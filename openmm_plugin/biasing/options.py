"""Options of a bias, the record of each hill, and the interface of all bias engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import openmm
from openmm import app

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.run import METADYNAMICS, OPES, BiasRecord
from symplectic_cv.checks import check_number, check_whole
from symplectic_cv.errors import OptionError
from symplectic_cv.units import thermal_energy

Progress = Callable[[int, np.ndarray], None]
"""Called with the step reached and the values of the modes there."""


@dataclass(frozen=True)
class BiasProgress:
    """Progress of a biased run.

    Attributes:
        time_ps: The simulated time, summed over the walkers, in ps.
        total_ps: The time at which the run ends, summed over the walkers, in ps.
        modes: The values of the biased modes, (n_modes,); None for walkers and before the start.
        record: What bias.json says of the bias: method, modes, grid and widths.
        n_atoms: The number of atoms of the system.
        platform: The name of OpenMM's platform.
    """

    time_ps: float
    total_ps: float
    modes: np.ndarray | None
    record: BiasRecord
    n_atoms: int
    platform: str


MAX_MODES = 3
LOW, HIGH = -6.0, 6.0
"""The grid of modes without bounds of their own. They have unit variance in the training data."""
CHECKPOINT_PS = 50.0
"""The time between checkpoints, where nothing else is given, in ps."""
COARSEST, COARSEST_OWN = 32, 64
"""Three modes: widths chosen from the data are at least the range over this (41 points an axis); a
grid that native forces hold themselves can be finer (81 points)."""

MOST_REFITTED = 300_000
"""Points of a grid whose spline OpenMM fits anew at each hill; above this it needs seconds."""

HILL_SHARE = 0.7
"""Width of a hill in units of a mode's fluctuation within a basin. Alanine dipeptide in vacuum, two
trainings on the same frames, 5 ns: with hills of half the fluctuation 28 crossings between C7eq and
C7ax, with hills about as wide as it 78 (single runs). Wider ones fill the space of the modes
sooner, and weights undo the blur."""


@dataclass(frozen=True)
class BiasOptions:
    """Options of a biased run.

    Attributes:
        time_ns: The length of the whole run, in ns.
        bias_factor: The bias factor γ > 1 of the well-tempered target.
        height: The height of the first hill, in kJ/mol (metadynamics).
        fill: The value of c(t) in kJ/mol at which hills end and the bias stands still
            (metadynamics only); hills never end where None. Structures are driven up by little
            more than this.
        width: The width of a hill along every mode, or along each; for OPES that of the first
            kernel. Where None, 0.7 of the fluctuation of each mode within the basin of the start,
            for OPES all of it.
        pace_ps: The time between hills, in ps.
        low: The lower end of the grid along every mode, or along each; a wall is placed there.
        high: The upper end of the grid along every mode, or along each; a wall is placed there.
        wall: The force constant of the walls, in kJ/mol per squared unit of a mode.
        timestep_fs: The time step, in fs.
        temperature: The temperature, in K.
        seed: The seed of the thermostat.
        opes: Whether on-the-fly probability enhanced sampling takes the place of metadynamics.
        barrier: The free-energy barrier that OPES is to overcome, in kJ/mol.
        own_grid: Whether native forces hold the grid of metadynamics themselves.
    """

    time_ns: float = 1.0
    bias_factor: float = 10.0
    height: float = 1.0
    fill: float | None = None
    width: float | tuple[float, ...] | None = None
    pace_ps: float = 1.0
    low: float | tuple[float, ...] = LOW
    high: float | tuple[float, ...] = HIGH
    wall: float = 100.0
    timestep_fs: float = 2.0
    temperature: float = 300.0
    seed: int = 0
    opes: bool = False
    barrier: float = 40.0
    own_grid: bool = True

    def __post_init__(self) -> None:
        self._check_numbers()
        kt = thermal_energy(self.temperature)
        if not kt < self.barrier < float("inf"):
            raise OptionError(
                f"`barrier` must be above kT ({kt:.2f} kJ/mol); got {self.barrier:g} kJ/mol"
            )
        if not 1.0 < self.bias_factor < float("inf"):
            raise OptionError(f"`bias_factor` must be above 1; got {self.bias_factor}")
        for name in ("time_ns", "height", "pace_ps", "wall", "timestep_fs"):
            check_number(getattr(self, name), name, above=0.0)
        self._check_pace()
        if self.fill is not None and self.opes:
            raise OptionError(
                f"`fill` {self.fill:g} ends hills, and `opes` adds none: its bias is bounded by "
                "`barrier`, in kJ/mol; give that instead"
            )
        if self.fill is not None and not kt < self.fill < float("inf"):
            raise OptionError(
                f"`fill` must be above kT ({kt:.2f} kJ/mol); got {self.fill:g} kJ/mol"
            )
        self._check_range()

    def _check_numbers(self) -> None:
        """Raises OptionError for a value of another type than a number."""
        for name in ("temperature", "barrier", "bias_factor"):
            if not isinstance(getattr(self, name), (int, float, np.number)):
                raise OptionError(f"`{name}` must be a number; got {getattr(self, name)!r}")
        check_whole(self.seed, "seed", least=0)

    def _check_range(self) -> None:
        """Raises OptionError for ends in the wrong order, or widths that do not fit between."""
        lows, highs = np.atleast_1d(self.low).tolist(), np.atleast_1d(self.high).tolist()
        if not all(isinstance(end, (int, float)) for end in (*lows, *highs)):
            raise OptionError(f"`range` must be numbers; got {self.low!r} {self.high!r}")
        for low, high in zip(lows, highs, strict=True):
            if not 0.0 < high - low < float("inf"):
                raise OptionError(
                    f"`range` {low:g} {high:g}: LOW must be below HIGH, and both finite"
                )
        for width in self._given_widths:
            if not 0.0 < width < float("inf"):
                raise OptionError(f"`width` must be positive; got {width:g}")
        n_modes = max(len(lows), len(self._given_widths))
        if len(lows) not in (1, n_modes):
            raise OptionError(f"`range` has the ends of {len(lows)} modes, for {n_modes} modes")
        for (low, high), width in zip(
            self.ends(n_modes), self.widths(n_modes) if self._given_widths else (), strict=False
        ):
            if not 4 * width < high - low:
                raise OptionError(
                    f"`range` {low:g} {high:g} must hold more than four hill widths ({width:g})"
                )

    def ends(self, n_modes: int) -> list[tuple[float, float]]:
        """The ends of the grid along each mode."""
        lows, highs = np.broadcast_to(self.low, n_modes), np.broadcast_to(self.high, n_modes)
        return [(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]

    def _check_pace(self) -> None:
        """Raises OptionError for a pace that no number of time steps makes up."""
        step = 1e-3 * self.timestep_fs
        count = self.pace_ps / step
        if abs(count - round(count)) > 1e-6 * count:
            near = [f"{whole * step:g}" for whole in (int(count), int(count) + 1) if whole > 0]
            raise OptionError(
                f"`pace_ps` {self.pace_ps:g} ps is not a whole number of time steps of "
                f"{self.timestep_fs:g} fs: give `pace_ps` {' or '.join(near)}, or another "
                "`timestep_fs`"
            )

    @property
    def _given_widths(self) -> tuple[float, ...]:
        if self.width is None:
            return ()
        return self.width if isinstance(self.width, tuple) else (self.width,)

    def widths(self, n_modes: int) -> tuple[float, ...]:
        """The width along each mode; raises OptionError unless there is one for all or for each."""
        given = self._given_widths
        assert given, "the widths are still to be chosen"
        if len(given) == 1:
            return given * n_modes
        if len(given) != n_modes:
            raise OptionError(
                f"`width` has {len(given)} numbers for {n_modes} modes: give one, or one for each"
            )
        return given

    def hill_height(self, bias: float, offset: float) -> float:
        """The height h exp(−V/(γ−1)kT) of the next hill in kJ/mol; 0 once the bias is filled up.

        Args:
            bias: The bias V at the place of the hill, in kJ/mol.
            offset: The value of c(t), in kJ/mol.
        """
        if self.fill is not None and offset >= self.fill:
            return 0.0
        scale = thermal_energy(self.temperature) * (self.bias_factor - 1.0)
        return self.height * float(np.exp(-bias / scale))

    def grid(self, n_modes: int) -> BiasGrid:
        """The grid of the bias, as fine as the widths need it."""
        return BiasGrid.for_widths(self.low, self.high, self.widths(n_modes))

    def check_grid(self, n_modes: int, own: bool) -> None:
        """Raises OptionError for a grid that is too large, or that OpenMM cannot fit anew in time.

        Args:
            n_modes: The number of modes that are biased.
            own: Whether native forces hold the grid.
        """
        points = int(np.prod(self.grid(n_modes).shape))
        if not own and not self.opes and points > MOST_REFITTED:
            raise OptionError(
                f"a grid of {points:,} points takes OpenMM seconds to fit anew at each hill: give "
                "a larger `width`, a smaller `range`, fewer `modes`, or `backend=native`"
            )

    def with_fluctuation(self, fluctuation: Sequence[float], own: bool = False) -> BiasOptions:
        """The options with widths from the fluctuation of the modes within a basin.

        Hills of metadynamics are `HILL_SHARE` as wide. The first kernels of OPES are as wide, as
        its papers have it; later ones shrink.

        Args:
            fluctuation: The fluctuation of each mode, (n_modes,).
            own: Whether native forces hold the grid.
        """
        n_modes = len(fluctuation)
        coarsest = COARSEST_OWN if own else COARSEST
        part = 1.0 if self.opes else HILL_SHARE
        widths = []
        for (low, high), spread in zip(self.ends(n_modes), fluctuation, strict=True):
            least = (high - low) / coarsest if n_modes == MAX_MODES else 0.0
            # few digits, so that the table, the record and the run have the very same number
            widths.append(float(f"{max(part * spread, least):.3g}"))
        return replace(self, width=tuple(widths))

    def record(self, mode_names: Sequence[str]) -> BiasRecord:
        """The content of bias.json for modes of these names."""
        n_modes = len(mode_names)
        own = {"barrier_kj_per_mol": self.barrier} if self.opes else {"height": self.height}
        if self.fill is not None:
            own["fill_kj_per_mol"] = self.fill
        return BiasRecord(
            method=OPES if self.opes else METADYNAMICS,
            modes=list(mode_names),
            grid=self.grid(n_modes),
            widths=list(self.widths(n_modes)),
            wall=self.wall,
            bias_factor=self.bias_factor,
            temperature=self.temperature,
            pace_ps=self.pace_ps,
            settings=own,
        )

    def settings(self) -> dict[str, Any]:
        """The options that cannot change when a run is resumed; only its length can."""
        return {key: value for key, value in asdict(self).items() if key != "time_ns"}


@dataclass(frozen=True)
class Deposit:
    """A frame at which a hill was added.

    Attributes:
        modes: The values of the modes, (n_modes,).
        bias: The energy of bias and walls before the hill, in kJ/mol.
        weight: The weight exp((bias − c(t))/kT) of the frame in unbiased averages.
        height: The height of the hill in kJ/mol; 0 where none was added.
    """

    modes: np.ndarray
    bias: float
    weight: float
    height: float = 0.0

    def offset(self, kt: float) -> float:
        """The value of c(t), in kJ/mol."""
        # rounded, so that a bias minus itself is 0
        return round(self.bias - kt * float(np.log(self.weight)), 9)


class BiasEngine(Protocol):
    """The engine of a biased run: steps, deposits, and a state that can be restored."""

    last: Deposit | None

    @property
    def bias(self) -> np.ndarray:
        """V in kJ/mol on the grid; the first mode runs along the first axis."""

    def step(self, simulation: app.Simulation, steps: int) -> None:
        """Moves on, and deposits a hill each time the pace is reached."""

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for a checkpoint, `bias` among them."""

    def load(self, arrays: dict[str, np.ndarray], context: openmm.Context) -> None:
        """Puts back what `state` gave."""


def clamped(options: BiasOptions, n_modes: int, table: str = "table") -> str:
    """Energy of a CustomCVForce of variables cv0, …: the table held at its edge, and walls.

    OpenMM's tables are zero outside of their range.
    """
    inside, walls = [], []
    for k, (low, high) in enumerate(options.ends(n_modes)):
        inside.append(f"max({low}, min({high}, cv{k}))")
        walls.append(f"0.5*{options.wall}*(max(0, cv{k}-({high}))^2+max(0, ({low})-cv{k})^2)")
    return f"{table}({', '.join(inside)}) + {' + '.join(walls)}"


def variables(options: BiasOptions, forces: list[openmm.Force]) -> list[app.BiasVariable]:
    """The modes as OpenMM's biased variables."""
    n = len(forces)
    axes = zip(forces, options.ends(n), options.widths(n), options.grid(n).points, strict=True)
    return [
        app.BiasVariable(force, low, high, width, False, points)
        for force, (low, high), width, points in axes
    ]


def check_count(modes: Sequence[Any]) -> None:
    """Raises OptionError for more modes than a grid can hold."""
    if not 1 <= len(modes) <= MAX_MODES:
        raise OptionError(f"`modes` names {len(modes)} modes; metadynamics takes 1 to {MAX_MODES}")
