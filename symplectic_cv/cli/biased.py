"""What the commands that bias modes in OpenMM share: the backend, and how a run's folder begins."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import openmm
import typer

from openmm_plugin.forces import mode_forces
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.cli.molecules import keep_structure
from symplectic_cv.core_file import SUFFIX
from symplectic_cv.model import NeuralCanonicalTransformation
from symplectic_cv.output import start_run
from symplectic_cv.storage import read_config, write_atomically
from symplectic_cv.torchscript import export

CV = "cv.pt"


class Backend(str, Enum):
    AUTO = "auto"
    NATIVE = "native"
    TORCHFORCE = "torchforce"
    PYTHON = "python"


BackendOption = Annotated[
    Backend, typer.Option("--backend", help="How OpenMM evaluates the modes.")
]


def begin_biased_run(
    folder: Path,
    settings: dict[str, Any],
    model: Path,
    network: NeuralCanonicalTransformation,
    modes: list[int],
    molecule: MolecularSystem,
    backend: str,
    resume: bool,
    check: Callable[[list[openmm.Force]], None] | None = None,
) -> list[openmm.Force]:
    """The forces that carry the modes, and a folder with the run's settings, modes and system.

    All that the model, the system or the start can break comes before the folder is made.

    Args:
        folder: of the run.
        settings: what must not change between a run and its resumption, besides model and modes.
        model, network: the model's folder, and what it holds.
        modes: to export, in this order.
        molecule: the system that they are evaluated on.
        backend: one that is installed.
        resume: go on with the run that the folder holds.
        check: called with the forces of a new run.

    Raises:
        UserError: what `mode_forces`, `check` and `start_run` raise.
    """
    with tempfile.TemporaryDirectory() as aside:
        trial = Path(aside) / CV
        export(network, modes, trial)
        forces = mode_forces(trial, molecule.system, backend)
        if check is not None and not resume:
            check(forces)
        settings = {
            **settings,
            "model_sha256": read_config(model)["weights_sha256"],
            "modes": modes,
        }
        start_run(folder, settings, resume)
        for kept in (trial.with_suffix(SUFFIX), trial):
            if not (folder / kept.name).is_file():
                write_atomically(folder / kept.name, kept.read_bytes())
    keep_structure(molecule, folder)
    return forces
