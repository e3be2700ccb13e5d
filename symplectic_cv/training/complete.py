"""Complete trainings: a resumed one with other options is told."""

from __future__ import annotations

from pathlib import Path

from symplectic_cv.errors import OutputError
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.model_folder import CONFIG, read_config
from symplectic_cv.models.torsion_folder import is_torsion_folder, load_modes
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.training.options import TrainingOptions


def is_trained(folder: str | Path) -> bool:
    """Whether a folder holds a complete model."""
    return (Path(folder) / CONFIG).is_file()


def require_same_training(folder: Path, options: TrainingOptions, temperature: float) -> None:
    """Checks that a complete model was trained as a resumed training asks for.

    Args:
        folder: The folder of the model.
        options: The options of the training.
        temperature: The temperature of the data, in K.

    Raises:
        OutputError: The model was trained with other options; the message names the first.
    """
    config = read_config(folder)
    torsions = {"chart": Chart.TORSION.value} if is_torsion_folder(folder) else None
    before = {**config, **(torsions or config["training"].get("options", {}))}
    now = {**options.to_json(), "temperature_k": temperature}
    for name in sorted(set(before) & set(now) - {"device"}):
        if before[name] != now[name]:
            raise OutputError(
                f"{folder}: this training is complete, with {name} {before[name]!r}, not "
                f"{now[name]!r}: give the same options, or train anew in another folder"
            )


def require_same_torsions(folder: Path, order: int, temperature: float) -> None:
    """Checks that complete modes of torsions are those that a resumed training asks for.

    Args:
        folder: The folder of the model.
        order: The highest harmonic of a torsion.
        temperature: The temperature of the data, in K.

    Raises:
        OutputError: The model has another chart, order or temperature.
    """
    known = load_modes(folder)
    is_same = isinstance(known, TorsionModel) and known.order == order
    if not is_same or known.temperature != temperature:
        raise OutputError(
            f"{folder}: this training is complete, with another `chart`, `order` or "
            "`temperature`: give the same options, or train anew in another folder"
        )
