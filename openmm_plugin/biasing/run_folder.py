"""The folder of a run that biases a model's modes: its settings, exported modes and system."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openmm

from openmm_plugin.biasing.watching import MODEL, keep_model
from openmm_plugin.forces import mode_forces
from openmm_plugin.modelled_atoms import check_known, placed_in
from openmm_plugin.molecules import SYSTEM, keep_structure
from openmm_plugin.systems import MolecularSystem
from openmm_plugin.versions import OWN_FORCES, choose_backend, choose_torsion_backend
from symplectic_cv.exporting.export import export, exported_in
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.kept_files import keep_digests
from symplectic_cv.files.run_folder import read_settings, start_run
from symplectic_cv.models.model_folder import CONFIG, config_digest, read_config, weights_of
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_folder import open_modes
from symplectic_cv.models.torsion_model import TorsionModel

BACKEND = "backend"
"""The setting of a run that holds the backend of torsion modes; earlier versions had one alone."""


@dataclass(frozen=True)
class BiasedModel:
    """A model whose modes are biased.

    Attributes:
        network: The model.
        weights_sha256: The SHA-256 of its weights, by which a resumed run recognises it.
    """

    network: NeuralCanonicalTransformation | TorsionModel
    weights_sha256: str

    @classmethod
    def of(cls, model: NeuralCanonicalTransformation | TorsionModel | str | Path) -> BiasedModel:
        """The model itself, or the one in a model folder.

        Raises:
            ModelError: A file of the folder is missing, damaged or altered.
        """
        if isinstance(model, NeuralCanonicalTransformation):
            return cls(model, hashlib.sha256(weights_of(model)).hexdigest())
        network = open_modes(model)
        if isinstance(network, TorsionModel):
            return cls(network, config_digest(network.to_json()))
        return cls(network, read_config(Path(str(model)))["weights_sha256"])

    def ends(self, modes: list[int]) -> list[tuple[float, float]] | None:
        """The lowest and the highest value of each mode; None where modes have no bounds."""
        return self.network.ends(modes) if isinstance(self.network, TorsionModel) else None

    def backend(
        self,
        wanted: str,
        platform: str,
        resumed: Path | None = None,
        own_grid: bool = False,
    ) -> str:
        """The backend that evaluates the modes.

        Args:
            wanted: The backend that a user names, or "auto".
            platform: The name of OpenMM's platform.
            resumed: The folder of a run that goes on, where there is one. With "auto" modes of
                torsions keep the backend that it began with.
            own_grid: Whether the native force would hold the grid of the bias.

        Raises:
            BackendError: The backend cannot be used here, or not for these modes.
        """
        if not isinstance(self.network, TorsionModel):
            return choose_backend(wanted)
        before = None if resumed is None else read_settings(resumed)
        if wanted == "auto" and before is not None:
            wanted = before.get(BACKEND, OWN_FORCES)
        return choose_torsion_backend(wanted, platform, own_grid)


def begin_biased_run(
    folder: Path,
    settings: dict[str, Any],
    model: BiasedModel,
    modes: list[int],
    molecule: MolecularSystem,
    backend: str,
    resume: bool,
    check: Callable[[list[openmm.Force]], None] | None = None,
) -> list[openmm.Force]:
    """Claims the folder of a run; writes its settings, exported modes and system.

    Everything that the model, the system or the start can break comes before the folder is made.

    Args:
        folder: The folder of the run.
        settings: What must not change between a run and its resumption, besides model and modes.
        model: The model whose modes are biased.
        modes: The modes to export, in this order.
        molecule: The system on which they are evaluated.
        backend: A backend that is installed.
        resume: Whether to continue the run that the folder holds.
        check: Called with the forces of a new run before the folder is made.

    Returns:
        One force per mode.

    Raises:
        UserError: One of the errors of `mode_forces`, `check` and `start_run`.
    """
    network = placed_in(model.network, molecule.topology)
    with tempfile.TemporaryDirectory() as aside:
        export(network, modes, aside)
        forces = mode_forces(exported_in(aside), molecule.system, backend)
        if check is not None and not resume:
            check(forces)
        if not exported_in(folder).is_file():
            check_known(network, molecule)
        settings = {**settings, "model_sha256": model.weights_sha256, "modes": modes}
        earlier = {}
        if isinstance(network, TorsionModel):
            settings[BACKEND], earlier[BACKEND] = backend, OWN_FORCES
        start_run(folder, settings, resume, earlier)
        if not exported_in(folder).is_file():
            keep_model(network, folder)
        # cv.pt comes last: a folder with one has both files
        for kept in sorted(Path(aside).iterdir(), reverse=True):
            if not (folder / kept.name).is_file():
                write_atomically(folder / kept.name, kept.read_bytes())
    keep_structure(molecule, folder)
    modes_file = exported_in(folder)
    exported = [modes_file.with_suffix(kind).name for kind in (".pt", ".safetensors", ".json")]
    keep_digests(folder, [*exported, SYSTEM, "topology.pdb", f"{MODEL}/{CONFIG}"])
    return forces
