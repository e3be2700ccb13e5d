"""Model folders: weights in safetensors, everything else in JSON, never a pickle.

A model folder holds `model.safetensors`, `config.json` and `history.csv`. The config
carries the SHA-256 of the weights and of itself, so that a damaged, edited or exchanged
file is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from symplectic_cv.charts.eckart import EckartFrame
from symplectic_cv.charts.internal_flow import empty_internal_flow
from symplectic_cv.errors import ModelError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.tables import read_table, write_table
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.canonical import CanonicalTransformation
from symplectic_cv.flows.layers import NormalModes
from symplectic_cv.flows.options import Chart, FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import PhaseSpaceModel
from symplectic_cv.models.prior import HarmonicPrior, PendulumPrior
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.models.training_range import KEY as RANGE
from symplectic_cv.models.training_range import TrainingRange
from symplectic_cv.molecule import Molecule

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
HISTORY = "history.csv"
MODES = "torsion_modes"
"""The key of the config that holds the modes of torsions."""


def save_model(
    folder: str | Path,
    model: PhaseSpaceModel,
    history: Sequence[Any] = (),
    training: dict[str, Any] | None = None,
    hamiltonian: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
) -> None:
    """Writes a model folder; the config comes last, so a folder with one is complete.

    Args:
        folder: The model folder, which is made where it is missing.
        history: Dataclasses of numbers, one for each row of history.csv.
        hamiltonian: The description of the Hamiltonian, of a model that was learned from one
            (JSON).
        training: The record of the training (JSON), which is stored unchanged.
        more: Further entries of the config (JSON).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = weights_of(model)
    config: dict[str, Any] = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "flow": model.options.to_json(),
        "training": training or {},
    }
    omega = [round(float(omega), 6) for omega in model.omega]
    if isinstance(model, NeuralCanonicalTransformation):
        config["temperature_k"] = model.temperature
        config["omega_rad_per_ps"] = omega
        config["molecule"] = model.molecule.to_json()
        if model.training_range is not None:
            config[RANGE] = model.training_range.to_json()
    else:
        config["omega"] = omega
    if hamiltonian is not None:
        config["hamiltonian"] = hamiltonian
    config |= more or {}
    config["config_sha256"] = config_digest(config)
    write_atomically(folder / WEIGHTS, weights)
    if history:
        write_table(folder / HISTORY, pd.DataFrame(map(asdict, history), dtype=float), "%.8g")
    write_atomically(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())


def weights_of(model: PhaseSpaceModel) -> bytes:
    """The content of model.safetensors; its SHA-256 is `weights_sha256` of the config."""
    # cloned, because couplings share their index buffers and safetensors stores no sharing
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    return safetensors.torch.save(state)


def read_history(
    folder: str | Path, columns: Sequence[str] = ("step", "train_nll", "validation_nll")
) -> pd.DataFrame | None:
    """The training history in a model folder; None where the folder holds none.

    Args:
        folder: The model folder.
        columns: The columns that the history must have; others are read too.

    Returns:
        A row for each validation. A training on frames has the columns `step`, `train_nll` and
        `validation_nll` (nats per frame) among others.

    Raises:
        ModelError: The file is damaged.
    """
    path = Path(folder) / HISTORY
    if not path.is_file():
        return None
    return read_table(
        path,
        list(columns),
        kind="the history of a training: truncated or altered",
        remedy="remove it to analyse without it",
        error=ModelError,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder; raises ModelError where it is not one."""
    folder = Path(folder)
    path = folder / CONFIG
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder (`symplectic_cv.fit` makes one)")
    if not path.is_file():
        raise ModelError(
            f"{folder}: has no {CONFIG}: not a model folder, or an unfinished training"
        )
    try:
        config = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path}: truncated or altered ({error})") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{path}: not of format {FORMAT}, which this version reads")
    if config.get("config_sha256") != config_digest(config):
        raise ModelError(
            f"{path}: altered since it was saved (its own SHA-256 differs): copy the folder again "
            "or train anew"
        )
    return config


def config_digest(config: dict[str, Any]) -> str:
    """SHA-256 of a config without the line that holds the digest."""
    rest = {key: value for key, value in config.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def load_model(folder: str | Path) -> NeuralCanonicalTransformation:
    """Reads the model folder of a molecule.

    Raises:
        ModelError: A file is missing, truncated or altered, or the model knows no molecule.
    """
    model = load_phase_space_model(folder)
    if not isinstance(model, NeuralCanonicalTransformation):
        hamiltonian = read_config(Path(folder)).get("hamiltonian", {})
        name = hamiltonian.get("system", "an analytic Hamiltonian")
        raise ModelError(
            f"{folder}: is a model of {name}, which has no atoms: give the model of a molecule "
            "(from `symplectic_cv.fit`, or `symplectic_cv.variational` with a system)"
        )
    return model


def load_phase_space_model(folder: str | Path) -> PhaseSpaceModel:
    """Reads any model folder.

    Raises:
        ModelError: A file is missing, truncated or altered.
    """
    folder = Path(folder)
    config = read_config(folder)
    if MODES in config and not has_weights(config):
        raise ModelError(
            f"{folder}: holds modes of torsions without their density, so that it has no "
            "likelihood: train it with `density`, or use a model of the cartesian or the internal "
            "chart here"
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder}: has no {WEIGHTS}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != config.get("weights_sha256"):
        raise ModelError(
            f"{path}: truncated or altered since it was saved (its SHA-256 differs from the one "
            f"in {CONFIG}): copy the folder again or train anew"
        )
    try:
        state = safetensors.torch.load(content)
        options = FlowOptions.from_json(config["flow"])
        n = len(state["prior.log_omega"])
        start = NormalModes(torch.eye(n), torch.zeros(n))
        prior = _empty_prior(n, state)
        if "molecule" not in config:
            model = PhaseSpaceModel(_empty_flow(options, start), prior, options)
        else:
            molecule = Molecule.from_json(config["molecule"])
            temperature = float(config["temperature_k"])
            masses = torch.as_tensor(molecule.masses)
            frame = EckartFrame(state["frame.reference"], masses, temperature)
            flow: CanonicalTransformation
            if options.chart is not Chart.CARTESIAN:
                flow = empty_internal_flow(options, frame, molecule, state)
            else:
                flow = _empty_flow(options, start)
            assert isinstance(flow, PointTransformation)
            model = NeuralCanonicalTransformation(
                molecule, temperature, frame, flow, prior, options
            )
            if RANGE in config:
                model.training_range = TrainingRange.from_json(config[RANGE])
        model = model.to(getattr(torch, config["dtype"]))
        model.load_state_dict(state)
    except Exception as error:  # an edited config can raise any error
        raise ModelError(
            f"{folder / CONFIG}: does not describe the weights beside it "
            f"({type(error).__name__}: {error})"
        ) from error
    return model.eval()


def has_weights(config: dict[str, Any]) -> bool:
    """Whether the model of this config has weights; torsion modes without a density have none."""
    return "weights_sha256" in config


def _empty_prior(n: int, state: Mapping[str, Tensor]) -> HarmonicPrior:
    """A prior of n modes of the kind that stored weights are of."""
    if "prior.log_kappa" not in state:
        return HarmonicPrior(torch.ones(n))
    k = len(state["prior.log_kappa"])
    return PendulumPrior(torch.ones(n), torch.arange(k), torch.ones(k))


def _empty_flow(options: FlowOptions, start: NormalModes) -> CanonicalTransformation:
    """A flow whose weights are yet to be read; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        return build_flow(options, start, torch.ones(len(start.shift)))


def open_model(model: PhaseSpaceModel | TorsionModel | str | Path) -> PhaseSpaceModel:
    """The model itself, or the one that a folder holds; of torsion modes their density.

    Raises:
        ModelError: A missing or altered folder, or torsion modes without a density.
    """
    if isinstance(model, TorsionModel):
        return model.require_density()
    return model if isinstance(model, PhaseSpaceModel) else load_phase_space_model(model)


def open_molecular_model(
    model: PhaseSpaceModel | TorsionModel | str | Path,
) -> NeuralCanonicalTransformation:
    """The model of a molecule itself, or the one that a folder holds; see `open_model`.

    Raises:
        ModelError: A missing or altered folder, or a model that knows no molecule or no density.
    """
    if isinstance(model, TorsionModel):
        return model.require_density()
    if isinstance(model, NeuralCanonicalTransformation):
        return model
    if isinstance(model, PhaseSpaceModel):
        raise ModelError("this is a model of an analytic Hamiltonian, which has no atoms")
    if not isinstance(model, (str, Path)):
        raise ModelError(
            f"`model` must be a model with a flow, or its folder; got {type(model).__name__}: "
            "train one with `chart` cartesian or internal"
        )
    return load_model(model)
