"""The watch over a biased run: how far its frames lie beyond those that the model was trained on.

The model stands in the folder of the run. Its frames are computed between checkpoints, many at
once, outside of the simulation, whose steps are the same with and without the watch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_plugin.modelled_atoms import whole_atoms
from symplectic_cv.data.periodic import Links
from symplectic_cv.errors import FrameError
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.models.model_folder import CONFIG, save_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_folder import load_modes, save_torsion_model
from symplectic_cv.models.torsion_model import TorsionModel

MODEL = "model"
"""The folder in that of a run which holds its model."""

MOST = 9999.0
"""Extrapolations above this, and those of frames that a model maps to infinity, are this."""

Modes = NeuralCanonicalTransformation | TorsionModel


def keep_model(model: Modes, folder: Path) -> None:
    """Puts a model into the folder of its run, where it has a record of its training frames.

    Args:
        model: The model, with the places of its atoms in the system of the run.
        folder: The folder of the run.
    """
    if model.training_range is None or (folder / MODEL / CONFIG).is_file():
        return
    make_folder(folder / MODEL)
    if isinstance(model, TorsionModel):
        save_torsion_model(folder / MODEL, model)
    else:
        save_model(folder / MODEL, model)


class Watch:
    """Computes the extrapolation of the frames of a running simulation.

    Args:
        model: The model of the run, with a record of its training frames.
    """

    def __init__(self, model: Modes) -> None:
        self._model = model
        self._links: Links | None = None
        self._frames: list[np.ndarray] = []

    @classmethod
    def in_folder(cls, folder: Path) -> Watch | None:
        """The watch of the model in the folder of a run; None where it holds none.

        Raises:
            ModelError: the model is damaged.
        """
        if not (folder / MODEL / CONFIG).is_file():
            return None
        model = load_modes(folder / MODEL)
        return None if model.training_range is None else cls(model)

    def reporter(self, interval: int) -> FrameReporter:
        """A reporter that hands each frame of a simulation to this watch.

        Args:
            interval: The number of time steps between frames.
        """
        return FrameReporter(self, interval)

    def begin(self) -> None:
        """Forgets the frames that were not computed."""
        self._frames.clear()

    def see(self, positions: np.ndarray, box: np.ndarray | None) -> None:
        """Keeps a frame until it is computed.

        Args:
            positions: Positions of all atoms of the system, shape (n_atoms, 3), in nm.
            box: Box vectors, shape (3, 3), in nm, or None.
        """
        whole, self._links = whole_atoms(self._model.molecule, positions, box, self._links)
        self._frames.append(whole)

    def take(self) -> np.ndarray:
        """The extrapolation of the frames seen since the last call, shape (F,); at most `MOST`."""
        frames, self._frames = self._frames, []
        if not frames:
            return np.zeros(0)
        x = np.array(frames)
        try:
            if isinstance(self._model, TorsionModel):
                known = self._model.training_range
                assert known is not None
                found = known.extrapolation(self._model.torsions_of(x))
            else:
                encoded = self._model.encoded(x).extrapolation
                assert encoded is not None
                found = encoded
        except FrameError:  # a frame in which an angle is straight has no torsion
            return np.full(len(x), MOST)
        return np.minimum(found, MOST)


class FrameReporter:
    """A reporter of OpenMM that keeps the frames that a watch will compute.

    Args:
        watch: The watch.
        interval: The number of time steps between frames.
    """

    def __init__(self, watch: Watch, interval: int) -> None:
        self._watch, self._interval = watch, interval

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """The number of steps to the next report and the data for it, as OpenMM asks."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": None, "include": ["positions"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Hands the frame to the watch."""
        periodic = simulation.system.usesPeriodicBoundaryConditions()
        box = None
        if periodic:
            box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        self._watch.see(positions, box)
