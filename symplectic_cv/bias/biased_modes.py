"""The biased modes of each of several runs, evaluated on the frames of all runs."""

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
from symplectic_cv.exporting.export import exported_in
from symplectic_cv.exporting.native_core import load_core
from symplectic_cv.exporting.torchscript import load_exported
from symplectic_cv.exporting.torsion_file import SUFFIX as TORSION_SUFFIX
from symplectic_cv.exporting.torsion_file import read_torsion_file
from symplectic_cv.molecule import Molecule

CV = "cv.pt"


def modes_of_all(runs: Sequence[BiasedRun], data: TrajectoryData) -> list[np.ndarray]:
    """Evaluates the biased modes of each run on the frames of all runs.

    The modes come from the collective variable that each run exported into its own folder.

    Args:
        runs: The biased runs, in the order of their frames in `data`.
        data: The frames of all runs, one continuous run after another.

    Returns:
        The modes of each run r on all frames, (F_all, n_r), dimensionless.

    Raises:
        ModelError: An exported file that is missing or damaged.
        OptionError: A model that needs an atom that `data` leaves out.
    """
    found = []
    first = 0
    for run, length in zip(runs, data.lengths, strict=True):
        exported = _Exported.read(run.folder)
        values = exported.values(data.positions[:, exported.places_in(data.molecule)])
        # the simulation's own values: positions in the trajectory file are rounded
        values[first : first + length] = run.frames.modes
        first += length
        found.append(values)
    return found


@dataclass(frozen=True)
class _Exported:
    """The exported modes of a run, evaluated by NumPy (torsions), the native core or torch.

    Attributes:
        name: The path of the exported file.
        indices: The places of the modelled atoms in the system, (N,).
        values: The function that maps whole frames of these atoms, (F, N, 3) in nm, to modes,
            (F, n).
    """

    name: str
    indices: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def read(cls, folder: Path) -> _Exported:
        """Reads the exported file; raises ModelError where it is missing or damaged."""
        exported = exported_in(folder)
        if exported.suffix == TORSION_SUFFIX:
            model = read_torsion_file(exported).model
            return cls(str(exported), model.molecule.indices, model.modes)
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
        """Places of the model's atoms in `molecule`; raises OptionError for an atom left out."""
        place = {int(index): k for k, index in enumerate(molecule.indices)}
        for index in self.indices:
            if int(index) not in place:
                raise OptionError(
                    f"{self.name}: its model needs atom {int(index) + 1}, which is left out: "
                    "choose more with `atoms`"
                )
        return [place[int(index)] for index in self.indices]
