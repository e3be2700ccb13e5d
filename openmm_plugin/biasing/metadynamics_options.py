"""The options of `openmm_plugin.metadynamics`, as a user gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from openmm_plugin.biasing.options import (
    CHECKPOINT_PS,
    HIGH,
    LOW,
    MAX_MODES,
    BiasOptions,
    check_count,
)
from symplectic_cv.checks import check_number
from symplectic_cv.errors import OptionError
from symplectic_cv.units import thermal_energy

AUTO = "auto"
SHARE_EVERY = 10
"""Hills between two exchanges of walkers, unless `checkpoint_ps` is given."""

Width = str | float | Sequence[str | float]


@dataclass(frozen=True)
class MetadynamicsOptions:
    """Options of a bias on the modes of a model. None means the default of the method.

    Attributes:
        modes: The modes to bias, one to three; 0 is the slowest.
        time_ns: The length of the run, of each walker's, in ns.
        bias_factor: The bias factor γ > 1; 10 where None, for OPES `barrier` over kT.
        height: The height of the first hill, in kJ/mol; 1 where None. Not with `opes`.
        fill: The value of c(t) in kJ/mol at which hills end; the bias then stands still, and
            nothing is driven much farther up. Hills never end where None. Not with `opes`.
        width: The width of a hill: one number for every mode, a number for each mode, or "auto" for
            0.7 of the fluctuation of each mode within the basin of the start (for OPES all of it),
            from the 20 ps of equilibration. Modes have unit variance in the training data.
        pace_ps: The time between hills, and between frames, in ps.
        range: The two ends of the grid, the same for every mode; walls stand there. Where None, the
            lowest and the highest value that modes of torsions can have, and -6 to 6 for modes of
            other charts, which have no bounds.
        opes: Whether OPES takes the place of metadynamics.
        barrier: The barrier that OPES is to overcome, in kJ/mol; 40 where None. Only with `opes`.
        walkers: The number of simulations that share one bias, each a process. A script that asks
            for more than one starts its run under `if __name__ == "__main__":`.
        scheduler: The address of a Dask scheduler whose workers run the walkers.
        timestep_fs: The time step, in fs.
        checkpoint_ps: The time between checkpoints, when walkers also share their hills, in ps;
            50 where None, for walkers ten hills.
        temperature: The temperature in K; the model's where None.
        seed: The seed of the thermostat.
        backend: How OpenMM evaluates the modes: "auto", "native", "torchforce" or "python", or, of
            torsions, "openmm".
        own_grid: Whether the native force holds the grid of the bias itself; it does where it can
            if None. Not with `opes`.
        platform: The name of OpenMM's platform; the fastest for this size where None.
        precision: The precision on a GPU: "single", "mixed" or "double"; mixed where None.
        device_index: The GPU, from 0, or several with commas; OpenMM's choice where None.

    Example:
        >>> MetadynamicsOptions(time_ns=5.0, width=0.3, range=(-4.0, 4.0)).range
        (-4.0, 4.0)
    """

    modes: Sequence[int] = (0, 1)
    time_ns: float = BiasOptions.time_ns
    bias_factor: float | None = None
    height: float | None = None
    fill: float | None = None
    width: Width = AUTO
    pace_ps: float = BiasOptions.pace_ps
    range: tuple[float, float] | None = None
    opes: bool = False
    barrier: float | None = None
    walkers: int = 1
    scheduler: str | None = None
    timestep_fs: float = BiasOptions.timestep_fs
    checkpoint_ps: float | None = None
    temperature: float | None = None
    seed: int = BiasOptions.seed
    backend: str = "auto"
    own_grid: bool | None = None
    platform: str | None = None
    precision: str | None = None
    device_index: str | None = None

    def bias_options(
        self,
        n_modes: int | None,
        temperature: float,
        backend: str,
        ends: Sequence[tuple[float, float]] | None = None,
    ) -> BiasOptions:
        """The options of the bias, checked as far as they can be without a model.

        An option that is given and has no effect is refused.

        Args:
            n_modes: The number of modes that are biased; None where a training is still to choose
                two or three of them.
            temperature: The temperature of the model in K, which `temperature` overrides.
            backend: The backend that will run, from `choose_backend`.
            ends: The lowest and the highest value of each mode, for the grid where `range` is None.

        Raises:
            OptionError: An option makes no sense, or the grid is too large.
        """
        if n_modes is not None:
            check_count(range(n_modes))
        if self.walkers < 1:
            raise OptionError(f"`walkers` must be at least 1; got {self.walkers}")
        self._check_method()
        native = backend == "native"
        if self.own_grid and not native:
            raise OptionError(
                f"`own_grid` needs the native force, and this run is through {backend}: leave it "
                "out, or give `backend` native"
            )
        kelvin = temperature if self.temperature is None else self.temperature
        barrier = BiasOptions.barrier if self.barrier is None else self.barrier
        bias_factor = self.bias_factor
        if bias_factor is None:
            kt = thermal_energy(kelvin)
            bias_factor = barrier / kt if self.opes else BiasOptions.bias_factor
        own_grid = BiasOptions.own_grid if self.own_grid is None else self.own_grid
        low, high = self._ends(ends)
        options = BiasOptions(
            time_ns=self.time_ns,
            bias_factor=bias_factor,
            height=BiasOptions.height if self.height is None else self.height,
            fill=self.fill,
            width=read_width(self.width, n_modes),
            pace_ps=self.pace_ps,
            low=low,
            high=high,
            timestep_fs=self.timestep_fs,
            temperature=kelvin,
            seed=self.seed,
            opes=self.opes,
            barrier=barrier,
            own_grid=own_grid,
        )
        if options.width is not None:
            own = own_grid and native
            for count in range(2, MAX_MODES + 1) if n_modes is None else [n_modes]:
                options.check_grid(count, own)
        return options

    def _ends(
        self, ends: Sequence[tuple[float, float]] | None
    ) -> tuple[float | tuple[float, ...], float | tuple[float, ...]]:
        """The ends of the grid, with few digits, so that records hold the very same numbers."""
        if self.range is not None:
            return read_range(self.range)
        if ends is None:
            return LOW, HIGH
        lows = tuple(floor(1000.0 * low) / 1000.0 for low, _ in ends)
        return lows, tuple(ceil(1000.0 * high) / 1000.0 for _, high in ends)

    def _check_method(self) -> None:
        """Raises OptionError for an option that the other method takes."""
        if self.opes and self.height is not None:
            raise OptionError(
                f"`height` {self.height:g} is of hills, and `opes` adds none: how high it fills is "
                "set by `barrier`, in kJ/mol; give that instead"
            )
        if self.opes and self.own_grid is not None:
            raise OptionError(
                "`own_grid` is for hills: the bias of `opes` always lies in a table of OpenMM; "
                "leave it out"
            )
        if not self.opes and self.barrier is not None:
            raise OptionError(
                f"`barrier` {self.barrier:g} is for `opes`; hills of metadynamics end by `fill`"
            )

    def checkpoint_time(self) -> float:
        """The time between checkpoints in ps; raises OptionError where it is not positive."""
        time = self.checkpoint_ps
        if time is None:
            time = CHECKPOINT_PS if self.walkers == 1 else SHARE_EVERY * self.pace_ps
        if not 0.0 < time < float("inf"):
            raise OptionError(f"`checkpoint_ps` must be positive; got {time}")
        return time


def read_range(ends: tuple[float, float]) -> tuple[float, float]:
    """The two ends of a grid as floats; raises OptionError unless there are two numbers."""
    if not isinstance(ends, (tuple, list)) or len(ends) != 2:
        raise OptionError(f"`range` must be two numbers, such as (-6.0, 6.0); got {ends!r}")
    low, high = (check_number(end, "range") for end in ends)
    return low, high


def read_width(given: Width, n_modes: int | None) -> float | tuple[float, ...] | None:
    """The argument `width` as numbers; None for "auto".

    Args:
        given: "auto", a number, or one number for each mode; numbers may be written as text.
        n_modes: The number of modes; None where it is not known yet.

    Raises:
        OptionError: Neither "auto" nor numbers, or another number of them than of modes.

    Example:
        >>> read_width("auto", 2), read_width(0.3, 2), read_width([0.3, 0.4], 2)
        (None, 0.3, (0.3, 0.4))
    """
    listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if listed == [AUTO]:
        return None
    words = f"`width` {' '.join(map(str, listed))}"
    try:
        numbers = tuple(float(number) for number in listed)
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"{words}: neither {AUTO} nor numbers, one or one for each mode"
        ) from error
    if n_modes is None and len(numbers) != 1:
        raise OptionError(
            f"{words}: without `modes` there may be two modes or three: give one width for all, "
            "or name the modes"
        )
    if n_modes is not None and len(numbers) not in (1, n_modes):
        raise OptionError(
            f"`width` has {len(numbers)} numbers for {n_modes} modes: give one, or one for each"
        )
    return numbers[0] if len(numbers) == 1 else numbers
