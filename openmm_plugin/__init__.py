"""The OpenMM side: collective variables as forces, simulations, biased runs.

    import openmm_plugin as plugin
    options = plugin.MetadynamicsOptions(time_ns=5.0)
    run = plugin.metadynamics("model", "md/system.xml", options=options, folder="metadynamics")
    run.free_energy().values  # kJ/mol on the grid of the modes

A name is loaded when it is first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "biasing.adaptation": "Adaptation",
    "biasing.adaptation_options": "AdaptationOptions",
    "biasing.adaptation_progress": "AdaptationProgress",
    "biasing.metadynamics": "metadynamics",
    "biasing.metadynamics_options": "MetadynamicsOptions",
    "biasing.options": "BiasProgress",
    "biasing.umbrella": "UmbrellaOptions UmbrellaProgress umbrella",
    "biasing.variables": "bias_variables",
    "energies.hamiltonian": "MolecularHamiltonian",
    "forces": "mode_forces",
    "hydrogens": "add_hydrogens",
    "molecular_thermodynamics": "thermodynamics",
    "molecules": "build_molecule read_molecule",
    "running.dynamics": "SimulatedRun SimulationOptions SimulationProgress simulate",
    "sampling": "molecular_hamiltonian sample",
    "systems": "MolecularSystem load_system",
    "torsion_forces": "torsion_mode_forces",
}
"""The public names of each module: the one list of what `openmm_plugin` offers."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
