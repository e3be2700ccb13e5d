"""The molecule, modes and platform of a biased run, as each of its processes reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import openmm

from openmm_plugin.biasing.run_folder import CV
from openmm_plugin.forces import mode_forces
from openmm_plugin.molecules import SYSTEM
from openmm_plugin.systems import MolecularSystem, choose_platform, load_system


@dataclass(frozen=True)
class BiasedSystem:
    """What is simulated, the forces that evaluate its modes, and where it runs.

    Attributes:
        molecule: The molecule and the structure to start from.
        forces: One force per mode.
        platform: OpenMM's platform.
    """

    molecule: MolecularSystem
    forces: list[openmm.Force]
    platform: openmm.Platform

    @classmethod
    def load(cls, folder: Path, backend: str, platform: str) -> BiasedSystem:
        """Reads system.xml, topology.pdb and cv.pt of a run's folder.

        Args:
            folder: The folder of the run.
            backend: A backend that is installed.
            platform: The name of OpenMM's platform.
        """
        molecule = load_system(folder / SYSTEM)
        forces = mode_forces(folder / CV, molecule.system, backend)
        return cls(molecule, forces, choose_platform(platform, molecule.topology.getNumAtoms()))
