"""Model folders of torsion modes: config.json alone, or with the weights of their density.

The modes stand in config.json, which has a digest of itself. Modes with a density have all files of
a model folder (`symplectic_cv.models.model_folder`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from symplectic_cv.errors import ModelError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import make_folder
from symplectic_cv.models.model_folder import (
    CONFIG,
    FORMAT,
    MODES,
    config_digest,
    has_weights,
    load_model,
    read_config,
    save_model,
)
from symplectic_cv.models.modes import MolecularModes
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel


def save_torsion_model(
    folder: str | Path,
    model: TorsionModel,
    training: dict[str, Any] | None = None,
    history: Sequence[Any] = (),
) -> None:
    """Writes the model folder of torsion modes.

    Args:
        folder: The folder, which is made where it is missing.
        model: The modes, with their density where it was trained.
        training: The record of the fit (JSON), which is stored unchanged.
        history: Dataclasses of numbers, one for each row of history.csv, of a density.
    """
    folder = Path(folder)
    make_folder(folder)
    modes: dict[str, Any] = {
        "omega_rad_per_ps": [round(float(omega), 6) for omega in model.omega],
        MODES: model.to_json(),
    }
    if model.density is not None:
        save_model(folder, model.density, history, training, more=modes)
        return
    config: dict[str, Any] = {
        "format": FORMAT,
        "temperature_k": model.temperature,
        **modes,
        "training": training or {},
    }
    config["config_sha256"] = config_digest(config)
    write_atomically(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def load_torsion_model(folder: str | Path) -> TorsionModel:
    """Reads the model folder of torsion modes.

    Args:
        folder: The folder, written by `save_torsion_model`.

    Raises:
        ModelError: A missing, truncated or altered file, or a model of another kind.
    """
    config = read_config(Path(folder))
    if MODES not in config:
        raise ModelError(f"{folder}: holds no modes of torsions; read it with `load_model`")
    try:
        model = TorsionModel.from_json(config[MODES])
    except ModelError as error:
        raise ModelError(f"{Path(folder) / CONFIG}: {error}") from error
    return replace(model, density=load_model(folder)) if has_weights(config) else model


def is_torsion_folder(folder: str | Path) -> bool:
    """Whether a model folder holds modes of torsions.

    Raises:
        ModelError: It is no model folder, or damaged.
    """
    return MODES in read_config(Path(folder))


def load_modes(folder: str | Path) -> NeuralCanonicalTransformation | TorsionModel:
    """Reads the model folder of a molecule, whatever its kind of modes.

    Args:
        folder: The model folder.

    Raises:
        ModelError: A missing, truncated or altered file, or a model that knows no molecule.
    """
    if is_torsion_folder(folder):
        return load_torsion_model(folder)
    return load_model(folder)


def open_modes(
    model: MolecularModes | str | Path,
) -> NeuralCanonicalTransformation | TorsionModel:
    """The model of a molecule itself, or the one that a folder holds.

    Args:
        model: A model, or a model folder.

    Raises:
        ModelError: A missing, truncated or altered file, or a model that knows no molecule.
    """
    if isinstance(model, (NeuralCanonicalTransformation, TorsionModel)):
        return model
    if isinstance(model, (str, Path)):
        return load_modes(model)
    raise ModelError(
        f"`model` must be the model of a molecule, or its folder; got {type(model).__name__}"
    )
