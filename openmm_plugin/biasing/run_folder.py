"""The folder of a run that biases a model's modes: its settings, exported modes and system."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openmm

from openmm_plugin.forces import mode_forces
from openmm_plugin.molecules import keep_structure
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.native_format import SUFFIX
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import start_run
from symplectic_cv.models.model_folder import load_model, read_config, weights_of
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation

CV = "cv.pt"


@dataclass(frozen=True)
class BiasedModel:
    """A model whose modes are biased.

    Attributes:
        network: The model.
        weights_sha256: The SHA-256 of its weights, by which a resumed run recognises it.
    """

    network: NeuralCanonicalTransformation
    weights_sha256: str

    @classmethod
    def of(cls, model: NeuralCanonicalTransformation | str | Path) -> BiasedModel:
        """The model itself, or the one in a model folder.

        Raises:
            ModelError: a file of the folder is missing, damaged or altered.
        """
        if isinstance(model, NeuralCanonicalTransformation):
            return cls(model, hashlib.sha256(weights_of(model)).hexdigest())
        return cls(load_model(model), read_config(Path(model))["weights_sha256"])


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
    """Claims the folder of a run; writes its settings, cv.pt, cv.safetensors and the system.

    Everything that the model, the system or the start can break comes before the folder is made.

    Args:
        folder: The folder of the run.
        settings: What must not change between a run and its resumption, besides model and modes.
        model: The model whose modes are biased.
        modes: The modes to export, in this order.
        molecule: The system on which they are evaluated.
        backend: A backend that is installed.
        resume: Whether to go on with the run that the folder holds.
        check: Called with the forces of a new run before the folder is made.

    Returns:
        One force per mode.

    Raises:
        UserError: what `mode_forces`, `check` and `start_run` raise.
    """
    with tempfile.TemporaryDirectory() as aside:
        trial = Path(aside) / CV
        export(model.network, modes, trial)
        forces = mode_forces(trial, molecule.system, backend)
        if check is not None and not resume:
            check(forces)
        settings = {**settings, "model_sha256": model.weights_sha256, "modes": modes}
        start_run(folder, settings, resume)
        for kept in (trial.with_suffix(SUFFIX), trial):
            if not (folder / kept.name).is_file():
                write_atomically(folder / kept.name, kept.read_bytes())
    keep_structure(molecule, folder)
    return forces
