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
from symplectic_cv.exporting.torsion_file import SUFFIX as TORSION_SUFFIX
from symplectic_cv.exporting.torsion_file import torsion_file
from symplectic_cv.exporting.torsion_plumed import torsion_plumed_input
from symplectic_cv.exporting.torsion_torchscript import script_torsions
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import require_free_file
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_folder import is_torsion_folder, open_modes
from symplectic_cv.models.torsion_model import TorsionModel

EXPORTED = "cv.pt"
"""The name of an exported file in a folder."""


def export(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    modes: Sequence[int] | int = (0, 1),
    path: str | Path | None = None,
    plumed: bool = False,
) -> dict[str, Any]:
    """Writes `cv.pt` and, beside it, `cv.safetensors` for the native core.

    Of modes of torsions it writes `cv.json` too, from which OpenMM's own forces are made.

    Args:
        model: A trained model, or its folder.
        modes: The modes to write; 0 is the slowest.
        path: The TorchScript file to write, `*.pt`, or a folder, in which it is called `cv.pt`.
            The other files get its name. The model's own folder where None.
        plumed: Whether to write `cv-plumed.pt` and `cv-plumed.dat` too; of torsion modes the latter
            alone, which needs no plugin of PLUMED.

    Returns:
        The metadata that the file carries: modes, ω in rad/ps, temperature in K, the molecule,
        and the SHA-256 of the file for the native core.

    Raises:
        OptionError: A mode that the model does not have, or no path for a model without a folder.
        OutputError: One of the files exists.
        ModelError: A model whose modes jump, as those of internal coordinates do.
    """
    network = open_modes(model)
    files = files_to_export(model, path, plumed)
    if not isinstance(network, TorsionModel):
        network.require_smooth()
    modes = network.check_modes(modes)
    for file in files:
        require_free_file(file)
    core = core_bytes(network, modes)
    metadata = {
        "format": FORMAT,
        "modes": modes,
        "omega_rad_per_ps": [float(network.omega[mode]) for mode in modes],
        "temperature_k": network.temperature,
        "molecule": network.molecule.to_json(),
        "core_sha256": read_metadata(core, SUFFIX)["sha256"],
    }
    files[0].parent.mkdir(parents=True, exist_ok=True)
    if isinstance(network, TorsionModel):
        _write_torsions(network, modes, files, core, metadata)
        return metadata
    path, beside = files[:2]
    write_atomically(beside, core)
    write_atomically(path, _torchscript(script(network, modes), metadata))
    if plumed:
        export_for_plumed(network, modes, path)
    return metadata


def _write_torsions(
    model: TorsionModel,
    modes: list[int],
    files: Sequence[Path],
    core: bytes,
    metadata: dict[str, Any],
) -> None:
    path, module, beside, *plumed = files
    for file in plumed:
        write_atomically(file, torsion_plumed_input(model, modes).encode())
    write_atomically(beside, core)
    write_atomically(module, _torchscript(script_torsions(model, modes), metadata))
    write_atomically(path, (json.dumps(torsion_file(model, modes), indent=1) + "\n").encode())


def _torchscript(module: torch.jit.ScriptModule, metadata: dict[str, Any]) -> bytes:
    """The file of a module with its metadata."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files={METADATA: json.dumps(metadata).encode()})
    return buffer.getvalue()


def exported_in(folder: str | Path) -> Path:
    """The exported file in a folder: `cv.pt`, or `cv.json` of torsion modes.

    Args:
        folder: The folder of a model or of a run.
    """
    torsions = (Path(folder) / EXPORTED).with_suffix(TORSION_SUFFIX)
    return torsions if torsions.is_file() else Path(folder) / EXPORTED


def files_to_export(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    path: str | Path | None = None,
    plumed: bool = False,
) -> list[Path]:
    """The files that `export` writes for these arguments; the first one holds the modes.

    Args:
        model: A trained model, or its folder.
        path: The file or folder to write, as for `export`.
        plumed: Whether files for PLUMED are written too.

    Raises:
        OptionError: There is no path, and the model has no folder.
        ModelError: The folder holds no model of a molecule.
    """
    if path is None:
        if not isinstance(model, (str, Path)):
            raise OptionError("name the file to write with `path`: this model has no folder")
        path = model
    file = Path(path)
    if file.suffix not in (".pt", TORSION_SUFFIX):
        file = file / EXPORTED
    module, lines = plumed_files(file)
    if isinstance(model, TorsionModel) or (
        isinstance(model, (str, Path)) and is_torsion_folder(model)
    ):
        suffixes = (TORSION_SUFFIX, ".pt", SUFFIX)
        return [*map(file.with_suffix, suffixes), *([lines] if plumed else [])]
    file = file.with_suffix(".pt")
    return [file, file.with_suffix(SUFFIX), *([module, lines] if plumed else [])]
