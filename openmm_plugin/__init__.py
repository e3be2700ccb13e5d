"""What works with OpenMM: collective variables as forces, simulations, biased runs.

    import openmm_plugin as plugin
    options = plugin.MetadynamicsOptions(time_ns=5.0)
    run = plugin.metadynamics("model", "md/system.xml", options=options, folder="metadynamics")
    run.free_energy().values  # kJ/mol on the grid of the modes

Names are loaded when they are first used, so that this package is imported quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openmm_plugin.biasing.adaptation import Adaptation
    from openmm_plugin.biasing.adaptation_options import AdaptationOptions
    from openmm_plugin.biasing.adaptation_progress import AdaptationProgress
    from openmm_plugin.biasing.metadynamics import metadynamics
    from openmm_plugin.biasing.metadynamics_options import MetadynamicsOptions
    from openmm_plugin.biasing.options import BiasProgress
    from openmm_plugin.biasing.umbrella import UmbrellaOptions, UmbrellaProgress, umbrella
    from openmm_plugin.biasing.variables import bias_variables
    from openmm_plugin.forces import mode_forces
    from openmm_plugin.molecules import build_molecule, read_molecule
    from openmm_plugin.running.dynamics import (
        SimulatedRun,
        SimulationOptions,
        SimulationProgress,
        simulate,
    )
    from openmm_plugin.systems import MolecularSystem, load_system

_MODULES = {
    "Adaptation": "biasing.adaptation",
    "AdaptationOptions": "biasing.adaptation_options",
    "AdaptationProgress": "biasing.adaptation_progress",
    "BiasProgress": "biasing.options",
    "MetadynamicsOptions": "biasing.metadynamics_options",
    "MolecularSystem": "systems",
    "SimulatedRun": "running.dynamics",
    "SimulationOptions": "running.dynamics",
    "SimulationProgress": "running.dynamics",
    "UmbrellaOptions": "biasing.umbrella",
    "UmbrellaProgress": "biasing.umbrella",
    "bias_variables": "biasing.variables",
    "build_molecule": "molecules",
    "load_system": "systems",
    "metadynamics": "biasing.metadynamics",
    "mode_forces": "forces",
    "read_molecule": "molecules",
    "simulate": "running.dynamics",
    "umbrella": "biasing.umbrella",
}

__all__ = [
    "Adaptation",
    "AdaptationOptions",
    "AdaptationProgress",
    "BiasProgress",
    "MetadynamicsOptions",
    "MolecularSystem",
    "SimulatedRun",
    "SimulationOptions",
    "SimulationProgress",
    "UmbrellaOptions",
    "UmbrellaProgress",
    "bias_variables",
    "build_molecule",
    "load_system",
    "metadynamics",
    "mode_forces",
    "read_molecule",
    "simulate",
    "umbrella",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
