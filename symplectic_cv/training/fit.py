"""A model from the frames of a trajectory, in one call (`fit`) or in two (`prepare`, `train`)."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np
import torch

from symplectic_cv.checks import check_kind, choose
from symplectic_cv.data.handedness import require_one_handedness
from symplectic_cv.data.trajectories import TrajectoryData, as_data
from symplectic_cv.errors import OptionError, TrajectoryError
from symplectic_cv.files.lock import sole_writer
from symplectic_cv.files.run_folder import RUN, make_folder, require_free, start_run
from symplectic_cv.flows.options import Chart
from symplectic_cv.models.model_folder import load_model, read_config
from symplectic_cv.models.modes import OWN_MIRRORED
from symplectic_cv.molecule import Molecule
from symplectic_cv.training.complete import is_trained, require_same_training
from symplectic_cv.training.energies import Energies
from symplectic_cv.training.internal import train_internal
from symplectic_cv.training.internal_preparation import PreparedInternal, prepare_internal
from symplectic_cv.training.likelihood import prepare_cartesian, train_cartesian
from symplectic_cv.training.loop import read_rows
from symplectic_cv.training.options import ENERGY_WEIGHT, TrainingOptions
from symplectic_cv.training.preparation import PreparedTraining, split_frames
from symplectic_cv.training.result import FrameSource, HistoryRow, InternalRow, TrainingResult
from symplectic_cv.training.torsion import (
    TORSION_OPTIONS,
    TorsionResult,
    fit_torsion_modes,
    fit_torsions_in_folder,
)
from symplectic_cv.training.torsion_density import (
    TorsionDensityResult,
    modes_digest,
    require_density,
    with_stored_modes,
)
from symplectic_cv.units import thermal_energy

CHECKPOINTS = "checkpoint"
"""Folder inside a model folder that keeps the checkpoints of an unfinished training."""

Progress = Callable[[int, Any], None]
"""Called with the step and the last row of the history, or None before the first row."""


def fit(
    data: TrajectoryData | md.Trajectory,
    temperature: float = 300.0,
    chart: Chart | str = Chart.CARTESIAN,
    steps: int | None = None,
    seed: int = 0,
    weights: np.ndarray | None = None,
    energies: Energies | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    density: bool = False,
    **options: Any,
) -> TrainingResult | TorsionResult:
    """Trains a model on the frames of a trajectory.

    Args:
        data: The frames, from `read_trajectories` or `TrajectoryData.from_...`; of an MDTraj
            trajectory the heavy atoms of the solute are modelled.
        temperature: The temperature of the data, in K.
        chart: The coordinates that the flow transforms: `cartesian` for collective variables,
            `internal` for models that are sampled. `torsion` finds modes of least frequency in
            the torsions instead, in seconds and without a flow (`fit_torsion_modes`), from
            `weights`, `folder`, `order`, `n_modes`, `metric` and `amides` unless `density` is true.
        steps: The largest number of optimizer steps; the default of the chart where None.
        seed: The seed of the initial weights, the batches and the momenta.
        weights: One non-negative weight per frame, shape (F,), for biased data.
        energies: The energies of the frames, for `chart` internal: potential energies in kJ/mol,
            shape (F,); or the Hamiltonian of the molecule; or a function that makes a Hamiltonian
            in the frame of the model. The default of `energy_weight` is then 1.
        folder: The model folder to write; it keeps checkpoints while the training runs. Nothing
            is written where None.
        resume: Whether to continue the training that the folder holds. A complete one is read.
        progress: A function that is called with the step and the last row of the history.
        density: Whether the modes of `chart` torsion get a density of all coordinates, in
            minutes; their model then has a likelihood, samples and paths.
        options: Other fields of `TrainingOptions`: batch, coupling, layers, hidden, bins, momenta,
            momentum_weight, energy_weight, device; with `density` also those of torsion modes.

    Returns:
        The trained model with its history; `result.model` is the model.

    Raises:
        OptionError: An option is unknown or makes no sense.
        SelectionError, FrameError, TrajectoryError, HamiltonianError: The data cannot carry a
            model.
        OutputError: The folder holds another run.

    Example:
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> rng = np.random.default_rng(0)
        >>> topology = heavy_atom_topology()
        >>> grid = 0.15 * np.stack(np.meshgrid([0, 1, 2], [0, 1], [0, 1]), -1).reshape(-1, 3)[:10]
        >>> frames = grid + 0.005 * rng.normal(size=(200, 10, 3))
        >>> data = TrajectoryData.from_array(frames, topology)
        >>> fit(data, steps=2, layers=1, hidden=4).model.dimension
        24
    """
    kind = choose(Chart, chart, "chart")
    if density and kind is not Chart.TORSION:
        raise OptionError("`density` needs `chart='torsion'`; models of other charts have one")
    if kind is Chart.TORSION and not density:
        more = {"steps": steps, "energies": energies, "progress": progress}
        options |= {name: value for name, value in more.items() if value is not None}
        return fit_torsions_in_folder(data, temperature, weights, folder, resume, options)
    modes: TorsionResult | None = None
    of_modes = {k: options.pop(k) for k in TORSION_OPTIONS if density and k in options}
    chosen = training_options({**options, "chart": chart, "steps": steps, "seed": seed}, energies)
    if energies is not None and not chosen.energy_weight > 0.0:
        raise OptionError("`energies` are given, but `energy_weight` is 0")
    if folder is not None and not resume:
        require_free(Path(folder))
    data = as_data(data, "data")
    if density:
        modes = fit_torsion_modes(data, temperature, weights=weights, **of_modes)
    prepared = prepare(data, None, temperature, chosen, weights=weights, energies=energies)
    if folder is not None:
        return train_in_folder(prepared, folder, resume, progress, modes)
    result = train(prepared, progress=progress)
    return result if modes is None else TorsionDensityResult.of(modes, result)


def training_options(chosen: dict[str, Any], energies: Energies | None = None) -> TrainingOptions:
    """The options of a training from fields by name.

    Args:
        chosen: Fields of `TrainingOptions` by name. A field that is None takes the default of the
            chart.
        energies: The energies of the frames; with them the default of `energy_weight` is 1.

    Raises:
        OptionError: A field is unknown, belongs to another chart, or makes no sense.
    """
    chart = choose(Chart, chosen.get("chart", Chart.CARTESIAN), "chart")
    known = [field.name for field in fields(TrainingOptions)]
    unknown = next((name for name in chosen if name not in known), None)
    if unknown in TORSION_OPTIONS:
        raise OptionError(
            f"`{unknown}` needs `chart='torsion'`; with `chart='{chart.value}'` the options are "
            f"{', '.join(known)}"
        )
    if unknown is not None:
        raise OptionError(f"`{unknown}` is unknown; options are {', '.join(known)}")
    if energies is not None and chart is not Chart.INTERNAL:
        raise OptionError("`energies` need `chart='internal'`")
    if energies is not None and chosen.get("energy_weight") is None:
        chosen = {**chosen, "energy_weight": ENERGY_WEIGHT}
    return TrainingOptions(**chosen)


def prepare(
    frames: TrajectoryData | md.Trajectory | np.ndarray,
    molecule: Molecule | None = None,
    temperature: float = 300.0,
    options: TrainingOptions | None = None,
    lengths: list[int] | None = None,
    weights: np.ndarray | None = None,
    energies: Energies | None = None,
    system_sha256: str | None = None,
    **chosen: Any,
) -> PreparedTraining:
    """Does all of a training that can fail because of the data, and nothing that takes long.

    The options of the training are given as `options`, or by name as in `fit`.

    Args:
        frames: The frames: a `TrajectoryData`, an MDTraj trajectory, or an array of whole frames,
            shape (F, N, 3), in nm.
        molecule: The modelled atoms, where the frames are an array.
        temperature: The temperature of the data, in K.
        options: The options of the training; the chart decides what is prepared.
        lengths: The number of frames of each continuous run, where the frames are an array; one
            run where None.
        weights: One non-negative weight per frame, shape (F,), for biased data.
        energies: The energies of the frames, for internal coordinates; see `fit`.
        system_sha256: The SHA-256 of the file that the energies come from, which a resumed
            training must share.
        chosen: Fields of `TrainingOptions` by name, such as `chart="internal"`, in place of
            `options`.

    Raises:
        OptionError, SelectionError, FrameError, TrajectoryError, HamiltonianError: The data, atoms
            or options cannot carry a model.
    """
    given = options is not None
    if options is None:
        options = training_options(chosen, energies)
    check_kind(options, TrainingOptions, "options")
    if given and chosen:
        raise OptionError(f"give `{next(iter(chosen))}` within `options`, or leave `options` out")
    thermal_energy(temperature)
    names: Sequence[str] = ()
    if not isinstance(frames, np.ndarray):
        frames = as_data(frames, "frames")
    if isinstance(frames, TrajectoryData):
        if molecule is not None or lengths is not None:
            raise OptionError("`molecule` and `lengths` are for arrays; the data know theirs")
        positions, molecule = frames.positions, frames.molecule
        lengths, names = frames.lengths, frames.names
    else:
        positions = np.asarray(frames)
        if molecule is None:
            raise OptionError("`molecule` is missing: name the atoms of the array of frames")
        if positions.ndim != 3 or positions.shape[1:] != (molecule.n_atoms, 3):
            raise OptionError(
                f"`frames` has shape {positions.shape}; give (n_frames, {molecule.n_atoms}, 3), "
                "in nm"
            )
    if isinstance(frames, TrajectoryData):
        require_one_handedness(positions, molecule, frames.locate)
    else:
        require_one_handedness(positions, molecule, "frame {}".format, OWN_MIRRORED)
    if energies is not None and options.chart is not Chart.INTERNAL:
        raise OptionError("`energies` need `chart='internal'`")
    if energies is not None and isinstance(frames, TrajectoryData):
        _require_exact(frames)
    split = split_frames(len(positions), lengths, weights)
    digest = hashlib.sha256(positions.tobytes())
    if split.weights is not None:
        digest.update(split.weights.tobytes())
    source = FrameSource(list(names), len(positions), digest.hexdigest(), system_sha256)
    what = positions, molecule, temperature, options, split, source
    if options.chart is not Chart.CARTESIAN:
        return prepare_internal(*what, energies)
    return prepare_cartesian(*what)


def _require_exact(data: TrajectoryData) -> None:
    """Raises TrajectoryError where a file format rounded the frames."""
    if data.rounding > 0.0:
        raise TrajectoryError(
            f"{data.names[0]}: its coordinates are rounded to {data.rounding:g} nm, which changes "
            "energies by several kJ/mol: no energies can be learned from them; give the frames in "
            "DCD, TRR, NetCDF or HDF5, as the simulation wrote them (`simulate` with `flexible` "
            "writes trajectory.dcd), or leave `energies` out"
        )


def train(
    prepared: PreparedTraining,
    checkpoint_folder: Path | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Trains a prepared model.

    Args:
        prepared: What `prepare` returned; its model is trained in place.
        checkpoint_folder: The folder that keeps checkpoints; a training found there is resumed.
        progress: A function that is called with the step and the last row of the history.

    Returns:
        The model with the best weights of the run, and its history.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        if isinstance(prepared, PreparedInternal):
            return train_internal(prepared, checkpoint_folder, progress)
        return train_cartesian(prepared, checkpoint_folder, progress)


def train_in_folder(
    prepared: PreparedTraining,
    folder: str | Path,
    resume: bool = False,
    progress: Progress | None = None,
    modes: TorsionResult | None = None,
) -> TrainingResult | TorsionDensityResult:
    """Trains a prepared model and writes its model folder.

    Checkpoints stay in the folder until the training is complete, so that it can be resumed.

    Args:
        prepared: What `prepare` returned; its model is trained in place.
        folder: The model folder, which is made where it is missing.
        resume: Whether to continue the training that the folder holds. A complete one is read.
        progress: A function that is called with the step and the last row of the history.
        modes: The modes of torsions that the model is the density of; they are stored with it.

    Raises:
        OutputError: The folder holds another run, or a training with other options or data.
    """
    folder = Path(folder)
    if resume and is_trained(folder):
        if modes is None:
            require_same_training(folder, prepared.options, prepared.model.temperature)
            return _read_result(prepared, folder)
        require_density(folder)
        found = TorsionDensityResult.of(modes, _read_result(prepared, folder))
        return with_stored_modes(found, folder)
    more = {} if modes is None else {"modes_sha256": modes_digest(modes)}
    start_run(folder, run_settings(prepared) | more, resume)
    with sole_writer(make_folder(folder / CHECKPOINTS)):
        trained = train(prepared, folder / CHECKPOINTS, progress)
        result = trained if modes is None else TorsionDensityResult.of(modes, trained)
        result.save(folder)
        remove_checkpoints(folder)
        (folder / RUN).unlink()
    return result


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a complete training from its model folder."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def run_settings(prepared: PreparedTraining) -> dict[str, Any]:
    """The settings that a training and its resumption must share, as run.json keeps them."""
    return {
        "command": "train",
        "temperature_k": prepared.model.temperature,
        **prepared.options.to_json(),
        "system_sha256": prepared.source.system_sha256,
        "data_sha256": prepared.source.sha256,
    }


def _read_result(prepared: PreparedTraining, folder: Path) -> TrainingResult:
    """The result of a complete training, from its folder."""
    training = read_config(folder)["training"]
    row: type[Any] = InternalRow if prepared.options.chart is Chart.INTERNAL else HistoryRow
    history = read_rows(folder, row)
    return TrainingResult(
        model=load_model(folder),
        history=history,
        validation_nll=training["validation_nll_nats"],
        gaussian_nll=training["gaussian_start_nll_nats"],
        health=prepared.health,
        warnings=training["warnings"],
        stopped_early=training["stopped_early"],
        options=prepared.options,
        source=replace(prepared.source, names=training["trajectories"]),
        validation_nll_configuration=training.get("validation_nll_configuration_nats", math.nan),
    )
