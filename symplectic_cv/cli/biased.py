"""What the commands that bias modes in OpenMM share: options, backend, how a folder begins."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import openmm

from openmm_plugin.biasing.options import MAX_MODES, BiasOptions, check_count
from openmm_plugin.forces import mode_forces
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.cli.molecules import keep_structure
from symplectic_cv.cli.options import option
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.native_format import SUFFIX
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import start_run
from symplectic_cv.models.model_folder import read_config
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.units import thermal_energy

CV = "cv.pt"
AUTO = "auto"


class Backend(str, Enum):
    AUTO = "auto"
    NATIVE = "native"
    TORCHFORCE = "torchforce"
    PYTHON = "python"


BackendOption = Annotated[Backend, option("--backend", help="How OpenMM evaluates the modes.")]


def bias_options(
    n_modes: int | None,
    backend: str,
    *,
    time_ns: float,
    bias_factor: float | None,
    height: float | None,
    fill: float | None,
    width: Sequence[str],
    pace: float,
    grid: tuple[float, float],
    timestep_fs: float,
    temperature: float,
    seed: int,
    opes: bool = False,
    barrier: float | None = None,
    own_grid: bool | None = None,
) -> BiasOptions:
    """The options of a biased run, checked as far as they can be without a model.

    Where None is taken, it stands for the default of the method; an option that is given and has
    no effect is refused.

    Args:
        n_modes: how many modes are biased; None where a training is to tell, two or three.
        backend: the one that will run.
        width: `auto`, or numbers as a user gives them.
        grid: its ends.

    Raises:
        OptionError: the first of the options that makes no sense, or a grid that is too large.
    """
    if n_modes is not None:
        check_count(range(n_modes))
    if opes and height is not None:
        raise OptionError(
            f"--height {height:g} is of hills, and --opes adds none: how high it fills is set by "
            "--barrier, in kJ/mol; give that instead"
        )
    if opes and own_grid is not None:
        raise OptionError(
            f"{'--own-grid' if own_grid else '--openmm-grid'} is for hills: the bias of --opes "
            "always lies in a table of OpenMM; leave it out"
        )
    if not opes and barrier is not None:
        raise OptionError(
            f"--barrier {barrier:g} is for --opes; hills of metadynamics end by --fill"
        )
    native = backend == Backend.NATIVE.value
    if own_grid and not native:
        raise OptionError(
            f"--own-grid needs the native force, and this run is through {backend}: leave it out, "
            "or give --backend native"
        )
    barrier = BiasOptions.barrier if barrier is None else barrier
    if bias_factor is None:
        kt = thermal_energy(temperature)
        bias_factor = barrier / kt if opes else BiasOptions.bias_factor
    own_grid = BiasOptions.own_grid if own_grid is None else own_grid
    options = BiasOptions(
        time_ns=time_ns,
        bias_factor=bias_factor,
        height=BiasOptions.height if height is None else height,
        fill=fill,
        width=_widths(width, n_modes),
        pace_ps=pace,
        low=grid[0],
        high=grid[1],
        timestep_fs=timestep_fs,
        temperature=temperature,
        seed=seed,
        opes=opes,
        barrier=barrier,
        own_grid=own_grid,
    )
    if options.width is not None:
        own = own_grid and native
        for count in range(2, MAX_MODES + 1) if n_modes is None else [n_modes]:
            options.check_grid(count, own)
    return options


def _widths(given: Sequence[str], n_modes: int | None) -> float | tuple[float, ...] | None:
    """--width as numbers; None for auto."""
    if list(given) == [AUTO]:
        return None
    words = f"--width {' '.join(given)}"
    try:
        numbers = tuple(float(text) for text in given)
    except ValueError as error:
        raise OptionError(
            f"{words}: neither {AUTO} nor numbers, one or one for each mode"
        ) from error
    if n_modes is None and len(numbers) != 1:
        raise OptionError(
            f"{words}: without --modes there may be two modes or three: give one width for all, "
            "or name the modes"
        )
    if n_modes is not None and len(numbers) not in (1, n_modes):
        raise OptionError(
            f"--width has {len(numbers)} numbers for {n_modes} modes: give one, or one for each"
        )
    return numbers[0] if len(numbers) == 1 else numbers


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
