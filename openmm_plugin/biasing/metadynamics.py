"""Metadynamics and OPES on the modes of a model: one call for a run, its files and its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.biasing.equilibration import check_start
from openmm_plugin.biasing.metadynamics_options import AUTO, MetadynamicsOptions
from openmm_plugin.biasing.opes_engine import require_opes
from openmm_plugin.biasing.options import BiasOptions, BiasProgress
from openmm_plugin.biasing.run import run_metadynamics
from openmm_plugin.biasing.run_folder import BiasedModel, begin_biased_run
from openmm_plugin.biasing.settling import settle
from openmm_plugin.biasing.walkers import WalkerTask, check_scheduler, run_walkers
from openmm_plugin.molecules import Topology, as_molecule, kept_molecule
from openmm_plugin.platforms import choose_platform, properties_of
from openmm_plugin.systems import MolecularSystem
from openmm_plugin.trusted_files import runs_code
from symplectic_cv.bias.run import BiasedRun, BiasRecord
from symplectic_cv.checks import check_kind
from symplectic_cv.files.lock import sole_writer
from symplectic_cv.files.run_folder import require_free
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.torsion_model import TorsionModel

OnProgress = Callable[[BiasProgress], None]


def metadynamics(
    model: NeuralCanonicalTransformation | TorsionModel | str | Path,
    system: MolecularSystem | openmm.System | str | Path,
    topology: Topology | None = None,
    positions: unit.Quantity | np.ndarray | None = None,
    options: MetadynamicsOptions | None = None,
    folder: str | Path = "metadynamics",
    resume: bool = False,
    progress: OnProgress | None = None,
    warn: Callable[[str], None] | None = None,
) -> BiasedRun:
    """Biases modes of a model by well-tempered metadynamics or OPES, alone or by several walkers.

    Writes into the folder trajectory.xtc, colvar.csv (a row per frame: time_ps, modes, bias, c,
    weight), hills.csv (metadynamics), bias.json, free_energy.npz, convergence.csv and checkpoint/.
    With walkers each has a folder walker-1, walker-2, …, and `folder` gets the frames of all.

    Args:
        model: A model, or the path of a model folder.
        system: An `openmm.System`, the path of a system.xml, or a `MolecularSystem`.
        topology: The topology of the system's atoms, OpenMM's or MDTraj's, or the path of a PDB;
            with a system.xml topology.pdb beside it is read where None.
        positions: The structure to start from, shape (n_atoms, 3), in nm or with unit; that of the
            PDB where None.
        options: How the modes are biased.
        folder: The folder of the run, made here.
        resume: Whether to continue the run that the folder holds, after a kill or to make it
            longer. Where the folder holds none, a new run begins,
            and a `RunWarning` says so.
        progress: Called once before the first step, then at every hill; with walkers five times a
            second.
        warn: A function that is called with a line after each restart of a failed simulation.

    Returns:
        The run, with its tables and its free energy.

    Raises:
        OptionError: An option makes no sense, or the start is outside the grid.
        ModelError: The model is damaged, or cannot be biased.
        BackendError: The backend or the scheduler cannot be used here.
        TrajectoryError: The system or its structure is missing or damaged.
        OutputError: The folder holds another run, or a damaged file.
        SimulationError: The simulation blew up again and again.

    Source: A. Barducci, G. Bussi, M. Parrinello, Phys. Rev. Lett. 100, 020603 (2008);
    M. Invernizzi, M. Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020).

    Example::

        options = openmm_plugin.MetadynamicsOptions(modes=[0, 1], time_ns=5.0)
        run = openmm_plugin.metadynamics("model", "md/system.xml", options=options, folder="bias")
        run.free_energy().values
    """
    options = check_kind(options, MetadynamicsOptions, "options")
    folder = Path(folder)
    if not resume:
        require_free(folder)
    if options.opes:
        require_opes()
    if options.scheduler is not None:
        check_scheduler(options.scheduler)
    biased = BiasedModel.of(model)
    modes = biased.network.check_modes(options.modes)
    molecule = as_molecule(system, topology, positions)
    platform = choose_platform(
        options.platform,
        molecule.topology.getNumAtoms(),
        options.precision,
        options.device_index,
    )
    own_grid = not options.opes and options.own_grid is not False
    resumed = folder if resume else None
    backend = biased.backend(options.backend, platform.getName(), resumed, own_grid)
    bias = options.bias_options(len(modes), biased.network.temperature, backend, biased.ends(modes))
    checkpoint_ps = options.checkpoint_time()
    forces = begin_biased_run(
        folder,
        _settings(options, bias, molecule),
        biased,
        modes,
        molecule,
        backend,
        resume,
        lambda forces: check_start(forces, molecule, bias),
    )
    # as a resumed run reads it, with the digits of a PDB file
    molecule = kept_molecule(folder, molecule)
    names = [f"mode_{mode}" for mode in modes]
    total = 1000.0 * bias.time_ns * options.walkers
    n_atoms, records = molecule.topology.getNumAtoms(), list[BiasRecord]()

    def report(time_ps: float, values: np.ndarray | None = None) -> None:
        if progress is not None:
            (record,) = records
            progress(BiasProgress(time_ps, total, values, record, n_atoms, platform.getName()))

    def begun(record: BiasRecord) -> None:
        records.append(record)
        report(0.0)

    if options.walkers == 1 and options.scheduler is None:
        return run_metadynamics(
            molecule,
            forces,
            names,
            bias,
            folder,
            platform,
            lambda step, values: report(1e-3 * step * bias.timestep_fs, values),
            checkpoint_ps,
            warn,
            begun,
        )
    with sole_writer(folder):
        settled = settle(molecule, forces, names, bias, folder, platform)
    begun(settled.record)
    task = WalkerTask(
        parent=str(folder.resolve()),
        walkers=options.walkers,
        mode_names=names,
        options=settled.options,
        backend=backend,
        platform=platform.getName(),
        properties=properties_of(platform),
        checkpoint_ps=checkpoint_ps,
        trust_system=runs_code(molecule.system),
    )
    return run_walkers(task, options.scheduler, lambda done: report(done * total))


def _settings(
    options: MetadynamicsOptions, bias: BiasOptions, molecule: MolecularSystem
) -> dict[str, object]:
    """The settings that a resumed run must share."""
    return {
        "command": "metadynamics",
        "walkers": options.walkers,
        **molecule.source,
        **bias.settings(),
        "width": AUTO if bias.width is None else bias.width,
    }
