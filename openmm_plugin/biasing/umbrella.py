"""Umbrella sampling on the modes of a model: one call for all windows and their free energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.biasing.run_folder import BiasedModel, begin_biased_run
from openmm_plugin.biasing.windows import UmbrellaTask, run_umbrella, window_folder
from openmm_plugin.molecules import Topology, as_molecule
from openmm_plugin.platforms import choose_platform, properties_of
from openmm_plugin.systems import MolecularSystem
from openmm_plugin.trusted_files import runs_code
from symplectic_cv.bias.run import COLVAR
from symplectic_cv.bias.umbrella import (
    LEAST_OVERLAP,
    UmbrellaResult,
    Windows,
    combine_windows,
    even_windows,
    path_windows,
    read_window,
)
from symplectic_cv.checks import check_kind, check_number, check_whole
from symplectic_cv.errors import OptionError
from symplectic_cv.files.atomic import file_digest
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel


@dataclass(frozen=True)
class UmbrellaOptions:
    """Options of umbrella sampling: the placement of the windows and their lengths.

    Attributes:
        modes: The mode to walk along; with `path` the modes that the path is given in.
        path: A CSV with a column for each mode, such as the path.csv of a latent path, to walk
            along; None to walk along one mode.
        windows: The number of windows.
        range: The centres of the first and the last window, without `path`.
        force_constant: κ in kJ/mol per squared unit of a mode; where None, a window spreads on a
            flat landscape over half of the distance to the next.
        time_ns: The length of each window, in ns.
        stride_ps: The time between frames, in ps.
        steering_ps: The time to move from one window to the next, and again to settle there, in ps.
        timestep_fs: The time step, in fs.
        jobs: The number of windows that run at the same time, each a process. A script that asks
            for more than one starts its run under `if __name__ == "__main__":`.
        checkpoint_ps: The time between checkpoints, in ps.
        temperature: The temperature in K; the model's where None.
        seed: The seed of the thermostats.
        backend: How OpenMM evaluates the modes: "auto", "native", "torchforce" or "python", or, of
            torsions, "openmm".
        platform: The name of OpenMM's platform; the fastest for this size where None.
        precision: The precision on a GPU: "single", "mixed" or "double"; mixed where None.
        device_index: The GPU, from 0, or several with commas; OpenMM's choice where None.

    Example:
        >>> UmbrellaOptions(windows=8, range=(-2.0, 2.0)).place(["mode_0"], 300.0).centres[0]
        array([-2.])
    """

    modes: Sequence[int] = (0,)
    path: str | Path | None = None
    windows: int = 16
    range: tuple[float, float] = (-3.0, 3.0)
    force_constant: float | None = None
    time_ns: float = 0.5
    stride_ps: float = 0.2
    steering_ps: float = 10.0
    timestep_fs: float = 2.0
    jobs: int = 1
    checkpoint_ps: float = 50.0
    temperature: float | None = None
    seed: int = 0
    backend: str = "auto"
    platform: str | None = None
    precision: str | None = None
    device_index: str | None = None

    def __post_init__(self) -> None:
        for name in ("time_ns", "stride_ps", "steering_ps", "timestep_fs", "checkpoint_ps"):
            check_number(getattr(self, name), name, above=0.0)
        check_whole(self.jobs, "jobs")

    def place(self, names: list[str], temperature: float) -> Windows:
        """The windows.

        Args:
            names: The names of the modes.
            temperature: The temperature in K.

        Raises:
            OptionError: Too few windows, an empty range, or several modes without a path.
        """
        if self.path is not None:
            return path_windows(
                Path(self.path), names, self.windows, self.force_constant, temperature
            )
        if len(names) != 1:
            raise OptionError(
                f"`modes` names {len(names)} modes; without `path` windows walk along 1"
            )
        low, high = map(float, self.range)
        return even_windows(names, low, high, self.windows, self.force_constant, temperature)


@dataclass(frozen=True)
class UmbrellaProgress:
    """Progress of umbrella sampling.

    Attributes:
        done: The part of all work that is done, 0 to 1.
        windows: The windows.
        n_atoms: The number of atoms of the system.
        platform: The name of OpenMM's platform.
    """

    done: float
    windows: Windows
    n_atoms: int
    platform: str


def umbrella(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
    positions: unit.Quantity | np.ndarray | None = None,
    options: UmbrellaOptions | None = None,
    folder: str | Path = "umbrella",
    resume: bool = False,
    progress: Callable[[UmbrellaProgress], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> UmbrellaResult:
    """Umbrella windows along a mode or a latent path, combined with MBAR.

    Steers the molecule from window to window, holds it in each, and writes into the folder
    window-01, … (each with trajectory.xtc and colvar.csv), umbrella.csv (a row per window) and
    free_energy.npz.

    Args:
        model: A model, or the path of a model folder.
        system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem`.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            with a system.xml topology.pdb beside it is read where None.
        positions: The structure to start from, shape (n_atoms, 3), in nm or with unit; that of the
            PDB where None.
        options: Where the windows stand and how long they run.
        folder: The folder of the run, made here.
        resume: Whether to continue the run that the folder holds, after a kill or to make its
            windows longer. Where the folder holds none, a new run begins,
            and a `RunWarning` says so.
        progress: Called once before the first step, then as the windows advance.
        warn: Called with a line where windows hardly overlap.

    Returns:
        The free energy along the windows, with standard errors.

    Raises:
        OptionError: An option makes no sense, or the windows do not overlap at all.
        ModelError: The model is damaged, or cannot be biased.
        BackendError: The backend cannot be used here.
        TrajectoryError: The system or its structure is missing or damaged.
        OutputError: The folder holds another run, or a damaged file.
        SimulationError: A simulation blew up.

    Source: M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), through pymbar.

    Example::

        options = openmm_plugin.UmbrellaOptions(modes=[0], windows=16, time_ns=0.5)
        found = openmm_plugin.umbrella("model", "md/system.xml", options=options, folder="umbrella")
        found.axis, found.free_energy, found.error  # kJ/mol
    """
    options = check_kind(options, UmbrellaOptions, "options")
    folder = Path(folder)
    if not resume:
        require_free(folder)
    biased = BiasedModel.of(model)
    modes = biased.network.check_modes(options.modes)
    kelvin = biased.network.temperature if options.temperature is None else options.temperature
    windows = options.place([f"mode_{mode}" for mode in modes], kelvin)
    molecule = as_molecule(system, topology, positions)
    n_atoms = molecule.topology.getNumAtoms()
    chosen = choose_platform(options.platform, n_atoms, options.precision, options.device_index)
    platform = chosen.getName()
    backend = biased.backend(options.backend, platform, folder if resume else None)
    settings = _settings(options, windows, molecule)
    begin_biased_run(folder, settings, biased, modes, molecule, backend, resume)

    def report(done: float) -> None:
        if progress is not None:
            progress(UmbrellaProgress(done, windows, n_atoms, platform))

    report(0.0)
    task = UmbrellaTask(
        parent=str(folder.resolve()),
        windows=windows,
        time_ps=options.time_ns * 1000.0,
        stride_ps=options.stride_ps,
        steering_ps=options.steering_ps,
        timestep_fs=options.timestep_fs,
        seed=options.seed,
        backend=backend,
        platform=platform,
        checkpoint_ps=options.checkpoint_ps,
        trust_system=runs_code(molecule.system),
        properties=properties_of(chosen),
    )
    run_umbrella(task, options.jobs, report)
    tables = [window_folder(folder, number) / COLVAR for number in range(len(windows))]
    result = combine_windows(windows, [read_window(table, len(modes)) for table in tables])
    result.save(folder)
    if result.overlap.min() < LEAST_OVERLAP and warn is not None:
        weakest = int(result.overlap.argmin())
        warn(
            f"windows {weakest + 1} and {weakest + 2} hardly overlap ({result.overlap.min():.3f}): "
            "give more `windows` or a smaller `force_constant`"
        )
    return result


def _settings(
    options: UmbrellaOptions, windows: Windows, molecule: MolecularSystem
) -> dict[str, object]:
    """The settings that a resumed run must share."""
    return {
        "command": "umbrella",
        "path_sha256": None if options.path is None else file_digest(Path(options.path)),
        "windows": len(windows),
        "centres": windows.centres.tolist(),
        "force_constant": windows.stiffness,
        **molecule.source,
        "stride_ps": options.stride_ps,
        "steering_ps": options.steering_ps,
        "timestep_fs": options.timestep_fs,
        "temperature_k": windows.temperature,
        "seed": options.seed,
    }
