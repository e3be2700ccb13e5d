"""Exported modes of torsions: one JSON file with a digest, from which forces are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symplectic_cv.errors import ModelError
from symplectic_cv.models.model_folder import config_digest
from symplectic_cv.models.torsion_model import TorsionModel

SUFFIX = ".json"
FORMAT = 1


@dataclass(frozen=True)
class ExportedTorsionModes:
    """The modes in an exported file.

    Attributes:
        model: A model of the exported modes alone, in the order of the file.
        modes: Their numbers in the model that they were exported from.
        sha256: The digest of the file.
    """

    model: TorsionModel
    modes: list[int]
    sha256: str


def torsion_file(model: TorsionModel, modes: Sequence[int]) -> dict[str, Any]:
    """The content of an exported file.

    Args:
        model: The modes of torsions.
        modes: The modes to export, in this order; 0 is the slowest.

    Raises:
        OptionError: A mode does not exist.
    """
    chosen = model.check_modes(modes)
    names = (
        "coefficients",
        "constant",
        "omega",
        "omega_error",
        "omega_held_out",
        "steepness",
    )
    part = replace(model, **{name: getattr(model, name)[chosen] for name in names})
    content = {"format": FORMAT, "modes": chosen, "torsion_modes": part.to_json()}
    return content | {"config_sha256": config_digest(content)}


def read_torsion_file(path: str | Path) -> ExportedTorsionModes:
    """Reads an exported file.

    Args:
        path: The file.

    Raises:
        ModelError: It is missing, truncated or altered.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file (`symplectic_cv.export` writes one)")
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT or content["config_sha256"] != config_digest(content):
            raise ValueError("altered since it was written")
        modes = [int(mode) for mode in content["modes"]]
        model = TorsionModel.from_json(content["torsion_modes"])
        if len(modes) != model.dimension:
            raise ValueError("as many numbers of modes as modes are needed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path}: not an exported file of torsion modes, or damaged ({error}): export again"
        ) from error
    return ExportedTorsionModes(model, modes, content["config_sha256"])
