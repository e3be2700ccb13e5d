"""Neural canonical transformations of molecules: invertible, ordered collective variables.

    >>> import symplectic_cv as sc  # doctest: +SKIP
    >>> data = sc.read_trajectories(["md/trajectory.xtc"])  # doctest: +SKIP
    >>> result = sc.train(sc.prepare(data.positions, data.molecule))  # doctest: +SKIP
    >>> sc.export(result.model, modes=[0, 1], path="cv.pt")  # doctest: +SKIP

What touches OpenMM lives in `openmm_plugin`; importing this package does not import it.
"""

from __future__ import annotations

from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
from symplectic_cv.errors import UserError
from symplectic_cv.export import export, load_exported
from symplectic_cv.frame import EckartFrame
from symplectic_cv.model import NeuralCanonicalTransformation
from symplectic_cv.molecule import Molecule, select_atoms
from symplectic_cv.storage import load_model, save_model
from symplectic_cv.training import TrainingOptions, TrainingResult, prepare, train
from symplectic_cv.version import VERSION

__version__ = VERSION

__all__ = [
    "EckartFrame",
    "Molecule",
    "NeuralCanonicalTransformation",
    "TrainingOptions",
    "TrainingResult",
    "TrajectoryData",
    "UserError",
    "__version__",
    "export",
    "load_exported",
    "load_model",
    "prepare",
    "read_trajectories",
    "save_model",
    "select_atoms",
    "train",
]
