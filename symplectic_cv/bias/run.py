"""The files of a biased run: read, checked against one another, and evaluated.

A run's folder holds `bias.json` (method, modes, grid, temperature), `colvar.csv` with one row
per frame of `trajectory.xtc` (time_ps, the modes, bias_kj_per_mol, c_kj_per_mol, weight), and
for metadynamics `hills.csv`. Where the model has a record of its training frames, colvar.csv also
has the column `extrapolation`. The weight of a frame in unbiased averages is
exp((bias − c)/kT) with the bias that the frame has felt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import RegularGridInterpolator

from symplectic_cv.bias.free_energy import SURFACE, FreeEnergy, read_surface
from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import HILLS, Hills, hills_header, read_hills
from symplectic_cv.errors import OutputError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.tables import read_table
from symplectic_cv.models.training_range import warn_of_unknown
from symplectic_cv.units import thermal_energy

RECORD, COLVAR = "bias.json", "colvar.csv"
EXTRAPOLATION = "extrapolation"
"""The column of colvar.csv that says how far a frame lies beyond the training frames."""
METADYNAMICS, OPES = "metadynamics", "opes"
WEIGHT_TOLERANCE = 1e-4
"""The largest relative difference between a weight in the table and exp((bias − c)/kT) of the same
row; the table has 8 digits."""


@dataclass(frozen=True)
class BiasRecord:
    """`bias.json`: the settings that define a run's bias, fixed when the run begins.

    Attributes:
        method: `metadynamics` or `opes`.
        modes: The column of each biased mode, such as `mode_0`.
        grid: The grid of the bias.
        widths: The widths of the hills along each mode (OPES: of the first kernels).
        wall: The force constant of the walls at the ends of the grid, in kJ/mol.
        bias_factor: The bias factor γ.
        temperature: The temperature, in K.
        pace_ps: The time between hills, and between frames, in ps.
        settings: The settings of the method, for the record.
    """

    method: str
    modes: list[str]
    grid: BiasGrid
    widths: list[float]
    wall: float
    bias_factor: float
    temperature: float
    pace_ps: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def kt(self) -> float:
        return thermal_energy(self.temperature)

    def write(self, folder: Path) -> None:
        content = {
            "method": self.method,
            "modes": self.modes,
            **self.grid.to_json(),
            "width": self.widths,
            "wall_kj_per_mol": self.wall,
            "bias_factor": self.bias_factor,
            "temperature_k": self.temperature,
            "pace_ps": self.pace_ps,
            "settings": self.settings,
        }
        write_atomically(folder / RECORD, (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> BiasRecord:
        """Raises OutputError where bias.json is missing or damaged."""
        path = folder / RECORD
        try:
            content = json.loads(path.read_text())
            return cls(
                method=str(content["method"]),
                modes=[str(name) for name in content["modes"]],
                grid=BiasGrid.from_json(content),
                widths=[float(width) for width in content["width"]],
                wall=float(content["wall_kj_per_mol"]),
                bias_factor=float(content["bias_factor"]),
                temperature=float(content["temperature_k"]),
                pace_ps=float(content["pace_ps"]),
                settings=dict(content["settings"]),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise OutputError(
                f"{path}: missing or damaged ({type(error).__name__}: {error}): is this the folder "
                "of a biased run?"
            ) from error

    def walls_at(self, modes: np.ndarray) -> np.ndarray:
        """Energy of the walls at modes (F, n), (F,) in kJ/mol."""
        beyond = np.asarray(modes, dtype=np.float64) - self.grid.clamp(modes)
        return 0.5 * self.wall * (beyond**2).sum(-1)


@dataclass(frozen=True)
class BiasedFrames:
    """`colvar.csv`, one row per frame of the trajectory beside it.

    Attributes:
        time_ps: The times of the frames, (F,), in ps.
        modes: The biased modes, (F, n), dimensionless.
        bias: The energy of bias and walls that the frame has felt, (F,), in kJ/mol.
        offset: The offset c(t) of the bias, (F,), in kJ/mol.
        weight: The weight exp((bias − c)/kT), (F,).
        walker: The number of the walker, (F,); all 1 where there was one.
        extrapolation: How far each frame lies beyond the training frames of the model, (F,): above
            2 the model does not know it; None where the run has no record of it.
    """

    time_ps: np.ndarray
    modes: np.ndarray
    bias: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    walker: np.ndarray
    extrapolation: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.time_ps)

    def __getitem__(self, rows: slice | np.ndarray) -> BiasedFrames:
        return BiasedFrames(
            self.time_ps[rows],
            self.modes[rows],
            self.bias[rows],
            self.offset[rows],
            self.weight[rows],
            self.walker[rows],
            None if self.extrapolation is None else self.extrapolation[rows],
        )


def join_frames(parts: Sequence[BiasedFrames]) -> BiasedFrames:
    """Frames of several walkers, walker after walker; the walkers are numbered from 1."""
    watched = [part.extrapolation for part in parts if part.extrapolation is not None]
    return BiasedFrames(
        np.concatenate([part.time_ps for part in parts]),
        np.concatenate([part.modes for part in parts]),
        np.concatenate([part.bias for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.repeat(np.arange(1, len(parts) + 1), [len(part) for part in parts]),
        np.concatenate(watched) if len(watched) == len(parts) else None,
    )


def colvar_header(names: list[str], watched: bool = False) -> list[str]:
    """Columns of colvar.csv for modes of these names.

    Args:
        names: The columns of the modes.
        watched: Whether the extrapolation of each frame is recorded.
    """
    known = ["time_ps", *names, "bias_kj_per_mol", "c_kj_per_mol", "weight"]
    return [*known, EXTRAPOLATION] if watched else known


def read_colvar(path: Path, kt: float | None = None) -> BiasedFrames:
    """Reads colvar.csv.

    Args:
        path: The table.
        kt: kT in kJ/mol, to check that each weight is the one of its frame; no check where None.

    Raises:
        OutputError: The table is missing, cut, not finite, or has weights of other frames.
    """
    kind = "a table of frames"
    frame = read_table(path, finite=True, kind=kind)
    header = list(frame.columns)
    walkers = header[-1:] == ["walker"]
    columns = header[:-1] if walkers else header
    watched = columns[-1:] == [EXTRAPOLATION]
    n = len(columns) - 4 - watched
    if n < 1 or columns != colvar_header(columns[1 : 1 + n], watched):
        raise OutputError(f"{path}: not readable as {kind} (not the columns of a biased run)")
    if len(frame) == 0:
        raise OutputError(f"{path}: not readable as {kind} (it has no rows)")
    table = np.ascontiguousarray(frame.to_numpy(np.float64))
    bias, offset, weight = table[:, 1 + n : 4 + n].T
    if kt is not None:
        wrong = ~np.isclose(weight, np.exp((bias - offset) / kt), rtol=WEIGHT_TOLERANCE, atol=0)
        if wrong.any():
            raise OutputError(
                f"{path}: the weight in row {int(wrong.argmax()) + 2} is not exp((bias - c)/kT) of "
                "its own frame: the table was altered, or written at another temperature"
            )
    walker = table[:, -1].astype(int) if walkers else np.ones(len(table), dtype=int)
    extrapolation = table[:, 4 + n] if watched else None
    modes = table[:, 1 : 1 + n]
    return BiasedFrames(table[:, 0], modes, bias, offset, weight, walker, extrapolation)


@dataclass(frozen=True)
class BiasedRun:
    """A finished or unfinished biased run, or the common folder of several walkers.

    Attributes:
        folder: The folder of the run.
        record: What bias.json says: method, modes, grid, widths and temperature.
        frames: The frames as arrays, one row per frame of trajectory.xtc.
        hill_list: The hills of metadynamics as arrays; None for OPES.

    Example::

        run = BiasedRun.read("metadynamics")
        run.colvar.plot(x="time_ps", y="mode_0")
        surface = run.free_energy()
        surface.axes[0], surface.values  # kJ/mol
    """

    folder: Path
    record: BiasRecord
    frames: BiasedFrames
    hill_list: Hills | None

    @property
    def colvar(self) -> pd.DataFrame:
        """The columns of colvar.csv: time_ps, the modes, bias_kj_per_mol, c_kj_per_mol, weight.

        Runs of a model with a record of its training frames have `extrapolation` too. The frames
        of several walkers also have the column walker.
        """
        frames = self.frames
        table = {
            "time_ps": frames.time_ps,
            **dict(zip(self.record.modes, frames.modes.T, strict=True)),
            "bias_kj_per_mol": frames.bias,
            "c_kj_per_mol": frames.offset,
            "weight": frames.weight,
        }
        if frames.extrapolation is not None:
            table[EXTRAPOLATION] = frames.extrapolation
        if (frames.walker > 1).any():
            table["walker"] = frames.walker
        return pd.DataFrame(table)

    @property
    def hills(self) -> pd.DataFrame | None:
        """The columns of hills.csv: time_ps, centres, widths, height_kj_per_mol; None for OPES."""
        if self.hill_list is None:
            return None
        hills = self.hill_list
        columns = [hills.time_ps, *hills.centres.T, *hills.widths.T, hills.heights]
        return pd.DataFrame(dict(zip(hills_header(self.record.modes), columns, strict=True)))

    def warn_of_unknown(self) -> None:
        """Warns where the run went to structures that its model does not know.

        Warns:
            DataWarning: How many frames, and which is the first.
        """
        if self.frames.extrapolation is not None:
            path = self.folder / COLVAR
            warn_of_unknown(self.frames.extrapolation, lambda frame: f"{path}, row {frame + 2}")

    def free_energy(self) -> FreeEnergy:
        """The free energy on the grid of the modes, in kJ/mol.

        Raises:
            OutputError: The run has not ended yet, or its file is damaged.
        """
        return FreeEnergy.read(self.folder, self.record.modes)

    @classmethod
    def read(cls, folder: str | Path) -> BiasedRun:
        """Reads the tables of a run.

        Raises:
            OutputError: A table is missing or damaged, or the tables belong to different runs.
        """
        folder = Path(folder)
        record = BiasRecord.read(folder)
        colvar = read_colvar(folder / COLVAR, record.kt)
        if colvar.modes.shape[1] != len(record.modes):
            raise OutputError(f"{folder / COLVAR}: has other modes than {RECORD} beside it")
        hills = None
        if record.method == METADYNAMICS:
            hills = read_hills(folder / HILLS)
            if hills.n_modes != len(record.modes):
                raise OutputError(f"{folder / HILLS}: has other modes than {RECORD} beside it")
        return cls(folder, record, colvar, hills)

    def require_frames(self, n_frames: int) -> None:
        """Raises OutputError unless the trajectory has as many frames as there are weights."""
        if n_frames != len(self.frames):
            raise OutputError(
                f"{self.folder / COLVAR}: has weights of {len(self.frames)} frames, the trajectory "
                f"has {n_frames} frames: they belong to different runs, or the run was killed; "
                "`resume` continues the run"
            )

    def bias_at(self, modes: np.ndarray) -> np.ndarray:
        """The last bias, walls included, at any modes (F, n), (F,) in kJ/mol.

        That of metadynamics is the sum of the hills, that of OPES a cubic spline through the
        grid of free_energy.npz; beyond the grid both are flat, and the walls rise.

        Raises:
            OutputError: The grid of an OPES run is missing or damaged.
        """
        inside = self.record.grid.clamp(np.asarray(modes, dtype=np.float64))
        if self.hill_list is not None:
            bias = self.hill_list.at(inside)
        else:
            table = read_surface(self.folder, ["bias"])["bias"]
            if table.shape != self.record.grid.shape:
                raise OutputError(
                    f"{self.folder / SURFACE}: missing or damaged (its grid has {table.shape} "
                    "points, not the run's); a run that is resumed (`resume`) writes it anew"
                )
            bias = RegularGridInterpolator(self.record.grid.axes, table, method="cubic")(inside)
        return bias + self.record.walls_at(modes)
