"""The biased modes of several runs on the frames of all, through each run's own exported file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.compiled import core_problem
from symplectic_cv.exporting.native_core import load_core
from symplectic_cv.exporting.torchscript import load_exported
from symplectic_cv.molecule import Molecule

CV = "cv.pt"


def modes_of_all(runs: Sequence[BiasedRun], data: TrajectoryData) -> list[np.ndarray]:
    """The biased modes of each run on the frames of all, through each run's own exported file."""
    found = []
    first = 0
    for run, length in zip(runs, data.lengths, strict=True):
        exported = _Exported.read(run.folder)
        values = exported.values(data.positions[:, exported.places_in(data.molecule)])
        # as the simulation had them, not as the rounded frames of the file give them back
        values[first : first + length] = run.colvar.modes
        first += length
        found.append(values)
    return found


@dataclass(frozen=True)
class _Exported:
    """The exported modes of a run: through the native core where it is compiled, else torch.

    Attributes:
        name: of the file.
        indices: places of the modelled atoms in the system, (N,).
        values: modes (F, n) of whole frames (F, N, 3) in nm of these atoms.
    """

    name: str
    indices: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def read(cls, folder: Path) -> _Exported:
        """Raises ModelError where there is no exported file, or a damaged one."""
        native = (folder / CV).with_suffix(".safetensors")
        if native.is_file() and core_problem() is None:
            core = load_core(native)
            return cls(str(native), core.indices, lambda x: core.values(x, selected=True))
        module, metadata = load_exported(folder / CV)
        indices = Molecule.from_json(metadata["molecule"]).indices

        @torch.no_grad()
        def values(positions: np.ndarray) -> np.ndarray:
            whole = torch.zeros(int(indices.max()) + 1, 3, dtype=torch.float64)
            rows = []
            for frame in torch.as_tensor(positions, dtype=torch.float64):
                whole[torch.as_tensor(indices)] = frame
                rows.append(module(whole))
            return torch.stack(rows).numpy()

        return cls(str(folder / CV), indices, values)

    def places_in(self, molecule: Molecule) -> list[int]:
        """Where its atoms are among those of `molecule`; raises OptionError for one left out."""
        place = {int(index): k for k, index in enumerate(molecule.indices)}
        for index in self.indices:
            if int(index) not in place:
                raise OptionError(
                    f"{self.name}: its model needs atom {int(index) + 1}, which is left out: "
                    "choose more with --atoms"
                )
        return [place[int(index)] for index in self.indices]
