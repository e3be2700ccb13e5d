"""A model from a Hamiltonian in one call, and the folder of such a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from symplectic_cv.errors import OptionError
from symplectic_cv.files.lock import sole_writer
from symplectic_cv.files.run_folder import RUN, make_folder, require_free, start_run
from symplectic_cv.flows.options import Coupling, FlowOptions
from symplectic_cv.hamiltonians.base import Hamiltonian
from symplectic_cv.hamiltonians.library import find_hamiltonian
from symplectic_cv.models.model_folder import (
    CONFIG,
    load_phase_space_model,
    save_model,
)
from symplectic_cv.training.fit import CHECKPOINTS, remove_checkpoints
from symplectic_cv.training.loop import Progress, read_rows
from symplectic_cv.training.variational import (
    PreparedVariational,
    VariationalOptions,
    VariationalResult,
    VariationalRow,
    prepare_variational,
    train_variational,
)


def variational(
    hamiltonian: Hamiltonian | str,
    beta: float = 1.0,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> VariationalResult:
    """Learns a canonical transformation from a Hamiltonian alone, without data.

    Args:
        hamiltonian: The Hamiltonian to learn from, or the name of a built-in one, such as
            "ringworld".
        beta: The inverse temperature, in the inverse of the Hamiltonian's unit of energy.
        folder: The model folder to write; it keeps checkpoints while the training runs. Nothing
            is written where None.
        resume: Whether to continue the training that the folder holds. A complete one is read.
        progress: A function that is called with the step and the last row of the history.
        options: Fields of `VariationalOptions` (steps, batch, learning_rate, seed, device) and of
            `FlowOptions` (flow, coupling, layers, hidden, bins, generator, integrator,
            integration_steps, duration, order). The default coupling of a single coordinate is
            spline.

    Returns:
        The model with its history; `result.model` is the model.

    Raises:
        HamiltonianError: The Hamiltonian has no minimum, or energies that are not numbers.
        OptionError: An option is unknown or makes no sense.
        OutputError: The folder holds another run.

    Example:
        >>> from symplectic_cv.hamiltonians.ringworld import Ringworld
        >>> variational(Ringworld(), flow="linear", steps=2).model.dimension
        2
    """
    if isinstance(hamiltonian, str):
        hamiltonian = find_hamiltonian(hamiltonian, None)
    of_flow = {field.name for field in fields(FlowOptions)} - {"rotation", "chart"}
    of_training = {field.name for field in fields(VariationalOptions)} - {"flow"}
    unknown = sorted(set(options) - of_flow - of_training)
    if unknown:
        known = ", ".join(sorted(of_flow | of_training))
        raise OptionError(f"`{unknown[0]}` is unknown; options are {known}")
    if options.get("coupling") is None:
        options["coupling"] = Coupling.SPLINE if hamiltonian.dimension == 1 else Coupling.AFFINE
    flow = FlowOptions(**{key: value for key, value in options.items() if key in of_flow})
    rest = {key: value for key, value in options.items() if key in of_training}
    chosen = VariationalOptions(flow=flow, **rest)
    if folder is not None and not resume:
        require_free(Path(folder))
    prepared = prepare_variational(hamiltonian, chosen, beta)
    if folder is None:
        return train_variational(prepared, progress=progress)
    settings = {
        "command": "variational",
        "system": hamiltonian.name,
        "dimension": hamiltonian.dimension,
        **chosen.to_json(),
        "beta": beta,
    }
    result = train_variational_in_folder(prepared, folder, settings, resume, progress)
    (Path(folder) / RUN).unlink(missing_ok=True)
    return result


def train_variational_in_folder(
    prepared: PreparedVariational,
    folder: str | Path,
    settings: Mapping[str, Any],
    resume: bool = False,
    progress: Progress | None = None,
) -> VariationalResult:
    """Trains a prepared model and writes its model folder, which keeps the record of the run.

    Args:
        prepared: What `prepare_variational` returned; its model is trained in place.
        folder: The model folder, which is made where it is missing.
        settings: What must not change between a run and its resumption (JSON); config.json keeps
            it as the description of the Hamiltonian.
        resume: Whether to continue the training that the folder holds. A complete one is read.
        progress: A function that is called with the step and the last row of the history.

    Raises:
        OutputError: The folder holds another run, or one with other settings.
    """
    folder = Path(folder)
    if not (resume and (folder / CONFIG).is_file() and not (folder / RUN).is_file()):
        start_run(folder, dict(settings), resume)
    if (folder / CONFIG).is_file():
        history = read_rows(folder, VariationalRow)
        return VariationalResult(load_phase_space_model(folder), prepared.reduced, history)
    with sole_writer(make_folder(folder / CHECKPOINTS)):
        result = train_variational(prepared, folder / CHECKPOINTS, progress)
        save_model(
            folder,
            result.model,
            result.history,
            training={"options": prepared.options.to_json()},
            hamiltonian={**settings, "energy_floor_nats": prepared.reduced.floor},
        )
        remove_checkpoints(folder)
    return result
