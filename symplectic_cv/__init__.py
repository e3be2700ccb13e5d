"""Neural canonical transformations of molecules: invertible, ordered collective variables.

    import symplectic_cv as sc

    data = sc.read_trajectories("md/trajectory.xtc")  # or sc.TrajectoryData.from_mdtraj(...)
    result = sc.fit(data, temperature=300.0, folder="model")
    model = result.model
    values = model.modes(data, which=[0, 1])  # (n_frames, 2), dimensionless
    table = model.modes_frame(data)  # a pandas DataFrame with frame, time and file
    structures = model.sample(100, seed=0)  # (100, n_atoms, 3) in nm
    path = sc.latent_path(model, data.positions[0], data.positions[-1])
    sc.export(model, modes=[0, 1], path="cv.pt")

What needs OpenMM is in `openmm_plugin`; importing this package does not import it. A name is loaded
when it is first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

from symplectic_cv.version import VERSION as __version__

_NAMES = {
    "analysis.analyze": "analyze",
    "analysis.kinetics": "KineticComparison compare_kinetics",
    "analysis.latent": "Analysis TorsionAnalysis",
    "analysis.spectrum": "power_spectrum",
    "analysis.thermodynamics": "ThermodynamicsResult thermodynamics",
    "bias.reweighted": "Reweighted",
    "bias.run": "BiasedRun",
    "bias.reweighting": "reweight",
    "charts.eckart": "EckartFrame",
    "data.trajectories": "TrajectoryData read_trajectories",
    "errors": "OptionError RunWarning UserError",
    "exporting.export": "export",
    "exporting.native_core": "Core load_core",
    "exporting.torchscript": "load_exported",
    "flows.options": "FlowOptions",
    "hamiltonians.base": "Descriptor Hamiltonian",
    "models.model_folder": "load_model load_phase_space_model save_model",
    "models.molecular_model": "NeuralCanonicalTransformation",
    "models.torsion_folder": "load_modes load_torsion_model save_torsion_model",
    "models.torsion_model": "TorsionModel",
    "molecule": "Molecule select_atoms",
    "paths.interpolation": "cartesian_path spherical_path",
    "paths.latent_path": "LatentPath",
    "paths.path": "latent_path",
    "paths.strings": "refine_path scan_mode",
    "sampling.conditional": "conditional_structures",
    "sampling.sample": "Samples sample_hamiltonian",
    "training.fit": "fit prepare train",
    "training.options": "TrainingOptions",
    "training.result": "TrainingResult",
    "training.torsion": "TorsionResult fit_torsion_modes",
    "training.variational": "VariationalOptions prepare_variational train_variational",
    "training.variational_fit": "variational",
}
"""The public names of each module: the one list of what `symplectic_cv` offers."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
