"""Writes the modes of a model for other programs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.native_file import core_bytes
from symplectic_cv.exporting.native_format import SUFFIX, read_metadata
from symplectic_cv.exporting.plumed import export_for_plumed, plumed_files
from symplectic_cv.exporting.torchscript import FORMAT, METADATA, script
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import require_free_file
from symplectic_cv.models.model_folder import open_molecular_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation

EXPORTED = "cv.pt"
"""The name of an exported file in a folder."""


def export(
    model: NeuralCanonicalTransformation | str | Path,
    modes: Sequence[int] = (0, 1),
    path: str | Path | None = None,
    plumed: bool = False,
) -> dict[str, Any]:
    """Writes `cv.pt` and, beside it, `cv.safetensors` for the native core.

    Args:
        model: A trained model, or its folder.
        modes: The modes to write; 0 is the slowest.
        path: The TorchScript file to write, `*.pt`, or a folder, in which it is called `cv.pt`.
            The other files get its name. The model's own folder where None.
        plumed: Whether to write `cv-plumed.pt` and `cv-plumed.dat` too.

    Returns:
        The metadata that the file carries: modes, ω in rad/ps, temperature in K, the molecule,
        and the SHA-256 of the file for the native core.

    Raises:
        OptionError: A mode that the model does not have, or no path for a model without a folder.
        OutputError: One of the files exists.
        ModelError: A model whose modes jump, as those of internal coordinates do.
    """
    path = exported_path(model, path)
    network = open_molecular_model(model)
    network.require_smooth()
    beside = path.with_suffix(SUFFIX)
    for file in (path, beside, *(plumed_files(path) if plumed else ())):
        require_free_file(file)
    core = core_bytes(network, modes)
    metadata = {
        "format": FORMAT,
        "modes": network.check_modes(modes),
        "omega_rad_per_ps": [float(network.omega[mode]) for mode in modes],
        "temperature_k": network.temperature,
        "molecule": network.molecule.to_json(),
        "core_sha256": read_metadata(core, beside.name)["sha256"],
    }
    buffer = io.BytesIO()
    torch.jit.save(
        script(network, modes), buffer, _extra_files={METADATA: json.dumps(metadata).encode()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(beside, core)
    write_atomically(path, buffer.getvalue())
    if plumed:
        export_for_plumed(network, modes, path)
    return metadata


def exported_path(
    model: NeuralCanonicalTransformation | str | Path, path: str | Path | None
) -> Path:
    """The TorchScript file that `export` writes for these arguments.

    Raises:
        OptionError: No path, and a model that has no folder.
    """
    if path is None:
        if isinstance(model, NeuralCanonicalTransformation):
            raise OptionError("name the file to write with `path`: this model has no folder")
        path = model
    file = Path(path)
    return file if file.suffix == ".pt" else file / EXPORTED
