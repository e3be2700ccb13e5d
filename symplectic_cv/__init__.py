"""Neural canonical transformations of molecules: invertible, ordered collective variables.

    import symplectic_cv as sc
    data = sc.read_trajectories(["md/trajectory.xtc"])
    result = sc.train(sc.prepare(data.positions, data.molecule))
    sc.export(result.model, modes=[0, 1], path="cv.pt")

What touches OpenMM lives in `openmm_plugin`; importing this package does not import it.
Names are loaded when they are first used, so that `symplectic-cv --help` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from symplectic_cv.version import VERSION as __version__

if TYPE_CHECKING:
    from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
    from symplectic_cv.errors import UserError
    from symplectic_cv.frame import EckartFrame
    from symplectic_cv.model import NeuralCanonicalTransformation
    from symplectic_cv.molecule import Molecule, select_atoms
    from symplectic_cv.paths import cartesian_path, spherical_path
    from symplectic_cv.storage import load_model, save_model
    from symplectic_cv.torchscript import export, load_exported
    from symplectic_cv.training.likelihood import TrainingOptions, TrainingResult, prepare, train

_MODULES = {
    "EckartFrame": "frame",
    "Molecule": "molecule",
    "NeuralCanonicalTransformation": "model",
    "TrainingOptions": "training.likelihood",
    "TrainingResult": "training.likelihood",
    "TrajectoryData": "data.trajectories",
    "UserError": "errors",
    "cartesian_path": "paths",
    "export": "torchscript",
    "load_exported": "torchscript",
    "load_model": "storage",
    "prepare": "training.likelihood",
    "read_trajectories": "data.trajectories",
    "save_model": "storage",
    "select_atoms": "molecule",
    "spherical_path": "paths",
    "train": "training.likelihood",
}

__all__ = [
    "EckartFrame",
    "Molecule",
    "NeuralCanonicalTransformation",
    "TrainingOptions",
    "TrainingResult",
    "TrajectoryData",
    "UserError",
    "__version__",
    "cartesian_path",
    "export",
    "load_exported",
    "load_model",
    "prepare",
    "read_trajectories",
    "save_model",
    "select_atoms",
    "spherical_path",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
