"""The molecule, modes and platform of a biased run, as each of its processes reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import openmm

from openmm_plugin.forces import mode_forces
from openmm_plugin.molecules import SYSTEM
from openmm_plugin.systems import MolecularSystem, load_system
from symplectic_cv.exporting.export import exported_in
from symplectic_cv.files.kept_files import check_digests


@dataclass(frozen=True)
class BiasedSystem:
    """The simulated system, the forces that evaluate its modes, and the platform it runs on.

    Attributes:
        molecule: The molecule and the structure to start from.
        forces: One force per mode.
        platform: OpenMM's platform.
    """

    molecule: MolecularSystem
    forces: list[openmm.Force]
    platform: openmm.Platform

    @classmethod
    def load(
        cls, folder: Path, backend: str, platform: openmm.Platform, trust_system: bool = False
    ) -> BiasedSystem:
        """Reads system.xml, topology.pdb and the exported modes of a run's folder.

        Args:
            folder: The folder of the run.
            backend: A backend that is installed.
            platform: OpenMM's platform.
            trust_system: Whether the user trusts forces of the system that can run code.

        Raises:
            OutputError: A file that the run depends on was altered.
        """
        check_digests(folder)
        molecule = load_system(folder / SYSTEM, trust_system=trust_system)
        forces = mode_forces(exported_in(folder), molecule.system, backend)
        return cls(molecule, forces, platform)
