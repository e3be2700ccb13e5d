"""Free energies of reweighted runs, with the frames and weights behind them, and their files."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from symplectic_cv.bias.combined_runs import CombinedRuns, Weighting
from symplectic_cv.bias.surfaces import BinnedSurface, RegionDifference
from symplectic_cv.data.descriptors import Column
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.files.tables import write_table

FRAMES_TABLE, PROFILES_TABLE = "frames.csv", "free_energy.csv"
ARRAYS, SUMMARY = "free_energy.npz", "summary.json"


@dataclass(frozen=True)
class Reweighted:
    """Free energies of one or several biased runs, with the frames and weights behind them.

    Attributes:
        columns: The descriptors of the kept frames, each with F values.
        profiles: The free energy along each descriptor, in the order of `columns`.
        planes: The free energy in planes of two descriptors.
        combined: The kept frames and their unbiased weights.
        differences: The free energy of each region minus that of the first region, kJ/mol.
        times: The simulation time of each kept frame, (F,) in ps.
        names: The folder of each run.
        method: The method that removed the bias.
        reference: The name of the first region, which `differences` are relative to.
    """

    columns: list[Column] = field(repr=False)
    profiles: list[BinnedSurface] = field(repr=False)
    planes: list[BinnedSurface] = field(repr=False)
    combined: CombinedRuns = field(repr=False)
    differences: dict[str, RegionDifference]
    times: np.ndarray = field(repr=False)
    names: list[str]
    method: Weighting = Weighting.MBAR
    reference: str | None = None

    @property
    def effective_frames(self) -> float:
        """Kish's effective number of frames, (Σw)²/Σw²."""
        return self.combined.effective_frames

    def save(self, folder: str | Path) -> None:
        """Writes frames.csv, free_energy.csv, free_energy.npz and, last, summary.json.

        frames.csv has one row per kept frame with its unbiased weight; free_energy.csv has the
        profiles; free_energy.npz has profiles and planes on their grids.

        Args:
            folder: The output folder; it is made where it is missing.

        Raises:
            OutputError: The folder cannot be made.
        """
        folder = Path(folder)
        make_folder(folder)
        formats = dict.fromkeys([column.name for column in self.columns], "%.6g")
        write_table(
            folder / FRAMES_TABLE, self.frames, {"time_ps": "%.8g", "weight": "%.6g", **formats}
        )
        write_table(
            folder / PROFILES_TABLE,
            self.free_energy,
            {
                "value": "%.6g",
                "free_energy_kj_per_mol": "%.6g",
                "standard_error_kj_per_mol": "%.4g",
            },
        )
        write_atomically(folder / ARRAYS, self._arrays())
        content = json.dumps(self._summary(), indent=1) + "\n"
        write_atomically(folder / SUMMARY, content.encode())

    @property
    def frames(self) -> pd.DataFrame:
        """The kept frames: run, time_ps, the descriptors (rad, nm) and the unbiased weight."""
        return pd.DataFrame(
            {
                "run": self.combined.run,
                "time_ps": self.times,
                **{column.name: column.values for column in self.columns},
                "weight": self.combined.weights,
            }
        )

    @property
    def free_energy(self) -> pd.DataFrame:
        """The profiles: descriptor, value, free energy and standard error in kJ/mol, frames."""
        return pd.concat(
            [
                pd.DataFrame(
                    {
                        "descriptor": column.name,
                        "value": profile.axes[0],
                        "free_energy_kj_per_mol": profile.free_energy,
                        "standard_error_kj_per_mol": profile.error,
                        "frames": profile.frames,
                    }
                )
                for profile, column in zip(self.profiles, self.columns, strict=True)
            ],
            ignore_index=True,
        )

    def _arrays(self) -> bytes:
        arrays: dict[str, Any] = {
            column.name: profile.axes[0]
            for profile, column in zip(self.profiles, self.columns, strict=True)
        }
        for found in [*self.profiles, *self.planes]:
            name = ",".join(found.names)
            arrays[f"free_energy:{name}"] = found.free_energy
            arrays[f"error:{name}"] = found.error
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    def _summary(self) -> dict[str, Any]:
        return {
            "runs": self.names,
            "weighting": self.method.value,
            "since_ps": self.combined.since_ps,
            "strides": self.combined.strides,
            "frames": np.bincount(self.combined.run).tolist(),
            "effective_frames": self.combined.effective_frames,
            "units": {column.name: column.unit for column in self.columns},
            "differences_kj_per_mol": {
                name: {"value": d.value, "standard_error": d.error, "half_95_percent": d.interval}
                if np.isfinite(d.error)
                else None
                for name, d in self.differences.items()
            },
        }
