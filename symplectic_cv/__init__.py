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
    from symplectic_cv.analysis.latent import Analysis, analyze
    from symplectic_cv.analysis.spectrum import power_spectrum
    from symplectic_cv.bias.reweighting import Reweighted, reweight
    from symplectic_cv.charts.eckart import EckartFrame
    from symplectic_cv.data.trajectories import TrajectoryData, read_trajectories
    from symplectic_cv.errors import UserError
    from symplectic_cv.exporting.export import export
    from symplectic_cv.exporting.native_core import Core, load_core
    from symplectic_cv.exporting.torchscript import load_exported
    from symplectic_cv.hamiltonians.base import Descriptor, Hamiltonian
    from symplectic_cv.models.model_folder import load_model, load_phase_space_model, save_model
    from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
    from symplectic_cv.molecule import Molecule, select_atoms
    from symplectic_cv.paths.interpolation import cartesian_path, spherical_path
    from symplectic_cv.paths.latent_path import LatentPath
    from symplectic_cv.paths.path import latent_path
    from symplectic_cv.paths.strings import refine_path, scan_mode
    from symplectic_cv.training.likelihood import TrainingResult, prepare, train
    from symplectic_cv.training.options import TrainingOptions
    from symplectic_cv.training.variational import (
        VariationalOptions,
        prepare_variational,
        train_variational,
    )

_MODULES = {
    "Analysis": "analysis.latent",
    "Core": "exporting.native_core",
    "Descriptor": "hamiltonians.base",
    "EckartFrame": "charts.eckart",
    "Hamiltonian": "hamiltonians.base",
    "LatentPath": "paths.latent_path",
    "Molecule": "molecule",
    "NeuralCanonicalTransformation": "models.molecular_model",
    "Reweighted": "bias.reweighting",
    "TrainingOptions": "training.options",
    "TrainingResult": "training.likelihood",
    "TrajectoryData": "data.trajectories",
    "UserError": "errors",
    "VariationalOptions": "training.variational",
    "analyze": "analysis.latent",
    "cartesian_path": "paths.interpolation",
    "export": "exporting.export",
    "latent_path": "paths.path",
    "load_core": "exporting.native_core",
    "load_exported": "exporting.torchscript",
    "load_model": "models.model_folder",
    "load_phase_space_model": "models.model_folder",
    "power_spectrum": "analysis.spectrum",
    "prepare": "training.likelihood",
    "prepare_variational": "training.variational",
    "read_trajectories": "data.trajectories",
    "refine_path": "paths.strings",
    "reweight": "bias.reweighting",
    "save_model": "models.model_folder",
    "scan_mode": "paths.strings",
    "select_atoms": "molecule",
    "spherical_path": "paths.interpolation",
    "train": "training.likelihood",
    "train_variational": "training.variational",
}

__all__ = [
    "Analysis",
    "Core",
    "Descriptor",
    "EckartFrame",
    "Hamiltonian",
    "LatentPath",
    "Molecule",
    "NeuralCanonicalTransformation",
    "Reweighted",
    "TrainingOptions",
    "TrainingResult",
    "TrajectoryData",
    "UserError",
    "VariationalOptions",
    "__version__",
    "analyze",
    "cartesian_path",
    "export",
    "latent_path",
    "load_core",
    "load_exported",
    "load_model",
    "load_phase_space_model",
    "power_spectrum",
    "prepare",
    "prepare_variational",
    "read_trajectories",
    "refine_path",
    "reweight",
    "save_model",
    "scan_mode",
    "select_atoms",
    "spherical_path",
    "train",
    "train_variational",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
