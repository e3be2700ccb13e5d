"""Umbrella windows combined with MBAR: the free energy along a mode or along a latent path.

Window k holds the modes s near its centre c_k with the energy ½ κ |s − c_k|². All frames are
weighed against all windows (MBAR), and the free energy is −kT ln of their weighted histogram.

Along a path in several modes the windows confine the molecule across the path too, and say nothing
of what lies farther off. There the free energy is that in a tube around the path, with the energy
½ κ d² at the distance d from it.

Source: M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), through pymbar.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symplectic_cv.bias.free_energy import SURFACE
from symplectic_cv.bias.run import EXTRAPOLATION
from symplectic_cv.bias.weights import quiet_pymbar
from symplectic_cv.errors import OptionError, OutputError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.tables import read_table, write_table
from symplectic_cv.units import thermal_energy

TABLE = "umbrella.csv"
TRANSIENT = 0.1
"""The share of each window that is left out at its start."""
BINS_PER_WINDOW = 3
BEYOND = 1e3
"""The energy in kT that is given to frames beyond the ends of the axis, so that they take no part
in its free energy."""
LEAST_OVERLAP = 0.03
"""The smallest overlap of neighbours whose free energies can be joined; a rule of thumb."""


@dataclass(frozen=True)
class Windows:
    """The placement of umbrella windows.

    Attributes:
        modes: The names of the modes that are held, n of them.
        centres: The centres of the windows, (K, n), in order along the mode or the path.
        stiffness: The force constant κ, in kJ/mol per squared unit of a mode.
        temperature: The temperature, in K.

    Example:
        >>> two = Windows(["mode_0"], np.array([[0.0], [1.0]]), 10.0, 300.0)
        >>> two.energies(np.array([[0.0], [0.5]])).tolist()  # kJ/mol, windows x frames
        [[0.0, 1.25], [5.0, 1.25]]
    """

    modes: list[str]
    centres: np.ndarray
    stiffness: float
    temperature: float

    def __len__(self) -> int:
        return len(self.centres)

    def energies(self, modes: np.ndarray) -> np.ndarray:
        """Energy of each window at modes (F, n), (K, F) in kJ/mol."""
        gaps = np.asarray(modes, dtype=np.float64)[None] - self.centres[:, None]
        return 0.5 * self.stiffness * (gaps**2).sum(-1)

    @property
    def along(self) -> np.ndarray:
        """Place of each centre: the mode itself where there is one, else 0 … 1 along the path."""
        return self.project(self.centres)[0]

    def project(self, modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place of modes (F, n) along the windows, and squared distance from their line, (F,) each.

        With one mode the mode itself, and no distance; else the nearest point on the line through
        the centres, from 0 at the first to 1 at the last.
        """
        modes = np.asarray(modes, dtype=np.float64)
        if self.centres.shape[1] == 1:
            return modes[:, 0].copy(), np.zeros(len(modes))
        steps = np.diff(self.centres, axis=0)
        lengths = np.linalg.norm(steps, axis=1)
        before = np.concatenate([[0.0], np.cumsum(lengths)])
        nearest, place = np.full(len(modes), np.inf), np.zeros(len(modes))
        for start, step, length, done in zip(
            self.centres[:-1], steps, lengths, before[:-1], strict=True
        ):
            part = np.clip((modes - start) @ step / length**2, 0.0, 1.0)
            squared = ((modes - start - part[:, None] * step) ** 2).sum(1)
            closer = squared < nearest
            nearest[closer] = squared[closer]
            place[closer] = (done + part * length)[closer]
        return place / before[-1], nearest


@dataclass(frozen=True)
class UmbrellaResult:
    """The free energy along umbrella windows.

    Attributes:
        windows: The windows, K of them.
        axis: The centres of the bins, (B,): the mode, or the place along the path from 0 to 1.
        free_energy: The free energy in kJ/mol, (B,), least value 0, infinite in empty bins.
        error: The standard error of the difference to the lowest bin in kJ/mol, (B,).
        window_free_energy: The free energy of each window relative to the first in kJ/mol, (K,).
        window_error: Its standard error in kJ/mol, (K,).
        overlap: The overlap of each window with the next, (K − 1,).
        inefficiency: The number of frames per independent frame in each window, (K,).
        frames: The number of independent frames of each window, (K,).
        places: The places of the independent frames of each window on `axis`.
    """

    windows: Windows
    axis: np.ndarray
    free_energy: np.ndarray
    error: np.ndarray
    window_free_energy: np.ndarray
    window_error: np.ndarray
    overlap: np.ndarray
    inefficiency: np.ndarray
    frames: np.ndarray
    places: list[np.ndarray]

    @property
    def axis_name(self) -> str:
        """The name of the mode, or `progress` along a path in several modes."""
        modes = self.windows.modes
        return modes[0] if len(modes) == 1 else "progress"

    def save(self, folder: str | Path) -> None:
        """Writes umbrella.csv, a row per window, and free_energy.npz."""
        folder, windows = Path(folder), self.windows
        columns: dict[str, np.ndarray] = {"window": np.arange(1, len(windows) + 1)}
        for name, centre in zip(windows.modes, windows.centres.T, strict=True):
            columns[f"centre_{name}"] = centre
        columns |= {
            "independent_frames": self.frames.astype(np.float64),
            "statistical_inefficiency": self.inefficiency,
            "free_energy_kj_per_mol": self.window_free_energy,
            "error_kj_per_mol": self.window_error,
            "overlap_with_next": np.append(self.overlap, np.nan),
        }
        write_table(folder / TABLE, columns, "%.6g")
        content = io.BytesIO()
        arrays: dict[str, Any] = {self.axis_name: self.axis}
        np.savez(
            content,
            free_energy=self.free_energy,
            error=self.error,
            centres=windows.centres,
            force_constant=windows.stiffness,
            modes=np.array(windows.modes),
            method="umbrella",
            temperature_k=windows.temperature,
            **arrays,
        )
        write_atomically(folder / SURFACE, content.getvalue())


def even_windows(
    modes: list[str], low: float, high: float, count: int, stiffness: float | None, kelvin: float
) -> Windows:
    """Windows evenly along one mode.

    Args:
        stiffness: κ; None for the one with which a window spreads, on a flat landscape, over half
            of the distance to its neighbours.

    Raises:
        OptionError: Fewer than two windows, an empty range, or a κ that is not positive.
    """
    if not 0.0 < high - low < float("inf"):
        raise OptionError(f"`range` {low:g} {high:g} must be finite and not empty")
    _check_count(count)
    return _windows(modes, np.linspace(low, high, count)[:, None], stiffness, kelvin)


def path_windows(
    path: Path, modes: list[str], count: int, stiffness: float | None, kelvin: float
) -> Windows:
    """Windows evenly along a table of points, such as the path.csv of `LatentPath.save`.

    Args:
        path: CSV with a column for each of the modes; other columns are ignored.

    Raises:
        OptionError: An unreadable table, too few points, or a mode that it lacks.
    """
    _check_count(count)
    table = read_table(
        path,
        modes,
        text=_other_columns(path, modes),
        finite=modes,
        kind="a path",
        complete=False,
        error=OptionError,
    )
    points = table[modes].to_numpy(np.float64)
    if len(points) < 2:
        raise OptionError(f"{path}: not readable as a path (fewer than two points)")
    done = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if not done[-1] > 0.0:
        raise OptionError(f"{path}: its points do not differ in {', '.join(modes)}")
    even = np.linspace(0.0, done[-1], count)
    centres = np.stack([np.interp(even, done, column) for column in points.T], -1)
    return _windows(modes, centres, stiffness, kelvin)


def _other_columns(path: Path, modes: list[str]) -> list[str]:
    """Columns of a table that are not these modes; none where the file cannot be read."""
    try:
        with open(path, newline="") as handle:
            return [name for name in next(csv.reader(handle), []) if name not in modes]
    except (OSError, UnicodeDecodeError):
        return []


def _check_count(count: int) -> None:
    if count < 2:
        raise OptionError(f"`windows` must be at least 2; got {count}")


def _windows(
    modes: list[str], centres: np.ndarray, stiffness: float | None, kelvin: float
) -> Windows:
    kt = thermal_energy(kelvin)
    if stiffness is None:
        spacing = float(np.linalg.norm(np.diff(centres, axis=0), axis=1).mean())
        stiffness = float(f"{kt / (0.5 * spacing) ** 2:.3g}")
    if not 0.0 < stiffness < float("inf"):
        raise OptionError(f"`force_constant` must be positive; got {stiffness}")
    return Windows(modes, centres, stiffness, kelvin)


def window_header(modes: list[str], watched: bool = False) -> list[str]:
    """Columns of a window's colvar.csv.

    Args:
        modes: The columns of the modes.
        watched: Whether the extrapolation of each frame is recorded.
    """
    known = ["time_ps", *modes, "bias_kj_per_mol"]
    return [*known, EXTRAPOLATION] if watched else known


def read_window(path: Path, n_modes: int) -> np.ndarray:
    """The modes of the frames in a window's colvar.csv, (F, n_modes).

    Raises:
        OutputError: The table is missing, cut, of other modes or not finite.
    """
    kind = "the table of a window"
    frame = read_table(path, finite=True, kind=kind).drop(columns=EXTRAPOLATION, errors="ignore")
    table = frame.to_numpy(np.float64)
    if len(table) == 0 or table.shape[1] != n_modes + 2:
        raise OutputError(f"{path}: not readable as {kind} (no rows, or other modes)")
    return table[:, 1:-1]


def combine_windows(windows: Windows, series: Sequence[np.ndarray]) -> UmbrellaResult:
    """The free energy from the frames of all windows, by MBAR.

    Frames that are correlated in time are thinned out first.

    Args:
        windows: The windows.
        series: The modes of the frames of each window, (F, n) each.

    Raises:
        OptionError: A window with fewer than ten frames, or windows that do not overlap at all.
    """
    with quiet_pymbar():
        return _combine(windows, *_independent_frames(series))


def _independent_frames(series: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of each window that are independent, and the frames per independent frame, (K,)."""
    from pymbar.timeseries import statistical_inefficiency, subsample_correlated_data

    kept, inefficiency = [], []
    for number, modes in enumerate(series):
        settled = modes[int(TRANSIENT * len(modes)) :]
        if len(settled) < 10:
            raise OptionError(
                f"window {number + 1} has {len(modes)} frames, which are too few: give a larger "
                "`time_ns` or a smaller `stride_ps`"
            )
        g = max(
            statistical_inefficiency(column) if np.ptp(column) > 0 else float(len(column))
            for column in settled.T
        )
        inefficiency.append(g)
        kept.append(settled[subsample_correlated_data(settled[:, 0], g=g)])
    return kept, np.array(inefficiency)


def _combine(windows: Windows, kept: list[np.ndarray], inefficiency: np.ndarray) -> UmbrellaResult:
    """The result of `combine_windows`, from the independent frames of each window."""
    from pymbar import FES
    from pymbar.utils import ParameterError

    frames = np.concatenate(kept)
    counts = np.array([len(part) for part in kept])
    kt = thermal_energy(windows.temperature)
    place, squared = windows.project(frames)
    along = windows.along
    edges = np.linspace(along[0], along[-1], BINS_PER_WINDOW * (len(windows) - 1) + 1)
    axis = 0.5 * (edges[1:] + edges[:-1])
    inside = (place >= edges[0]) & (place <= edges[-1])
    filled = np.histogram(place[inside], edges)[0] > 0
    try:
        fes = FES(
            windows.energies(frames) / kt, counts, mbar_options={"maximum_iterations": 10_000}
        )
        fes.generate_fes(
            np.where(inside, 0.5 * windows.stiffness * squared / kt, BEYOND),
            np.clip(place, edges[0], edges[-1] - 1e-9),
            fes_type="histogram",
            histogram_parameters={"bin_edges": [edges]},
        )
        found = fes.get_fes(axis[filled], uncertainty_method="analytical")
        mbar = fes.get_mbar()
        differences = mbar.compute_free_energy_differences()
        overlap = mbar.compute_overlap()["matrix"]
    except (ParameterError, np.linalg.LinAlgError, FloatingPointError) as error:
        raise OptionError(
            f"MBAR does not converge on these windows ({error}): give more `windows`, a smaller "
            "`force_constant`, or a larger `time_ns`"
        ) from error
    free_energy, error_of = np.full(len(axis), np.inf), np.full(len(axis), np.inf)
    free_energy[filled] = kt * (found["f_i"] - np.min(found["f_i"]))
    error_of[filled] = kt * found["df_i"]
    return UmbrellaResult(
        windows=windows,
        axis=axis,
        free_energy=free_energy,
        error=error_of,
        window_free_energy=kt * differences["Delta_f"][0],
        window_error=kt * differences["dDelta_f"][0],
        overlap=np.diagonal(overlap, 1).copy(),
        inefficiency=inefficiency,
        frames=counts,
        places=[windows.project(part)[0] for part in kept],
    )
