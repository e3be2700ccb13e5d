"""Exported collective variables as OpenMM forces.

Each force has one mode as its potential energy (dimensionless, read as kJ/mol), for use
in CustomCVForce and BiasVariable. The native force is this package's own, in C++; PythonForce
runs the native core or the exported TorchScript module, TorchForce the latter. All give the
same numbers; several can share a System.
"""

import functools
import hashlib
import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import numpy as np
import openmm
import torch
from torch import Tensor, nn

from openmm_plugin.modelled_atoms import check_atoms
from openmm_plugin.native_library import in_nanometers, make_force
from openmm_plugin.systems import MolecularSystem, system_alone
from openmm_plugin.torsion_forces import torsion_mode_forces
from openmm_plugin.versions import (
    OWN_FORCES,
    choose_backend,
    choose_torsion_backend,
    native_problem,
)
from symplectic_cv.errors import ModelError, OptionError, RunWarning
from symplectic_cv.exporting.compiled import core_problem
from symplectic_cv.exporting.exported_files import exported_files
from symplectic_cv.exporting.native_core import Core
from symplectic_cv.exporting.torchscript import load_exported
from symplectic_cv.exporting.torsion_core import torsion_core_bytes
from symplectic_cv.exporting.torsion_file import SUFFIX as TORSION_SUFFIX
from symplectic_cv.exporting.torsion_file import read_torsion_file
from symplectic_cv.exporting.torsion_torchscript import script_torsions

NATIVE = "SymplecticCVFlowForce"
NOT_FINITE = (
    "symplectic-cv: a mode is not finite: the structure is broken, its orientation is not unique, "
    "or it is far from all that the model has learned"
)

Evaluate = Callable[[np.ndarray, Optional[np.ndarray]], tuple[np.ndarray, np.ndarray]]
"""Positions and box to the values and gradients of all modes."""


class _EnergyAndForces(nn.Module):
    """The module that a TorchForce with setOutputsForces(True) calls: one mode and its forces."""

    combination: Tensor

    def __init__(self, cv: torch.jit.ScriptModule, mode: int, n_modes: int) -> None:
        super().__init__()
        self.cv = cv
        self.mode = mode
        self.not_finite = NOT_FINITE
        combination = torch.eye(n_modes, dtype=torch.float64)[mode : mode + 1].clone()
        self.register_buffer("combination", combination)

    def forward(self, positions: Tensor, box: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
        values, gradients = self.cv.values_and_gradients(positions, box, self.combination)
        value, forces = values[self.mode], -gradients[0]
        # a look at a GPU's numbers would wait for it in each step; OpenMM finds the positions lost
        if not positions.is_cuda and not bool(
            (torch.isfinite(forces) & torch.isfinite(value)).all()
        ):
            raise ValueError(self.not_finite)
        # TorchForce takes them in the precision of the Context
        return value.to(positions.dtype), forces.to(positions.dtype)


class _AllModes:
    """Evaluates all modes of an exported file at once, and keeps the last result.

    The forces of one System ask one after the other for the same positions; whoever asks
    first pays. The result is found by the positions themselves, so Contexts and threads
    cannot mistake one another's.
    """

    def __init__(self, exported: bytes) -> None:
        self._evaluate = _scripted(exported) if _is_torchscript(exported) else _native(exported)
        self._lock = threading.Lock()
        self._key: tuple[bytes, bytes] = (b"", b"")
        self._last: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    def __call__(
        self, positions: np.ndarray, box: Optional[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        key = (positions.tobytes(), b"" if box is None else box.tobytes())
        with self._lock:
            if key != self._key:
                values, gradients = self._evaluate(positions, box)
                if not (np.isfinite(values).all() and np.isfinite(gradients).all()):
                    raise ValueError(NOT_FINITE)
                self._key, self._last = key, (values, -gradients)
            return self._last


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """PyTorch works with one thread inside this context.

    With more threads one evaluation of a small network takes far longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _is_torchscript(exported: bytes) -> bool:
    return exported[:2] == b"PK"  # a zip archive; a file for the core starts with a length


def _scripted(exported: bytes) -> Evaluate:
    cv = torch.jit.load(io.BytesIO(exported), map_location="cpu")
    combinations = torch.eye(cv.chosen.shape[0], dtype=torch.float64)

    def evaluate(positions: np.ndarray, box: Optional[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        edges = None if box is None else torch.from_numpy(box)
        with one_torch_thread():
            values, gradients = cv.values_and_gradients(
                torch.from_numpy(positions), edges, combinations
            )
        return values.numpy(), gradients.numpy()

    return evaluate


def _native(exported: bytes) -> Evaluate:
    core = Core(exported)

    def evaluate(positions: np.ndarray, box: Optional[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        values, gradients = core.values_and_gradients(positions[None], box=box)
        return values[0], gradients[0]

    return evaluate


_all_modes = functools.lru_cache(maxsize=16)(_AllModes)


class PythonMode:
    """One mode as the callable of an `openmm.PythonForce`; pickles with the exported file.

    Args:
        exported: The bytes of cv.safetensors, for the native core, or of cv.pt.
        mode: The place of the mode among the exported ones.
        periodic: Whether the State carries a box to make the molecule whole in.
    """

    def __init__(self, exported: bytes, mode: int, periodic: bool) -> None:
        self.__setstate__({"exported": exported, "mode": mode, "periodic": periodic})

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._modes = _all_modes(state["exported"])

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        positions = in_nanometers(state.getPositions(asNumpy=True))
        box = None
        if self._state["periodic"]:
            box = in_nanometers(state.getPeriodicBoxVectors(asNumpy=True))
        values, forces = self._modes(positions, box)
        mode = self._state["mode"]
        return float(values[mode]), forces[mode]


def mode_forces(
    path: str | Path,
    system: openmm.System | MolecularSystem | str | Path,
    backend: str = "auto",
    platform: str | None = None,
) -> list[openmm.Force]:
    """One force per exported mode, whose potential energy is the value of that mode.

    Args:
        path: cv.pt from `symplectic_cv.export`, whose cv.safetensors lies beside it, or the latter;
            or cv.json of torsion modes.
        system: The system that the forces are for, or the path of its system.xml. The forces are
            periodic where it is.
        backend: "auto", "native", "torchforce" or "python"; with cv.json also "openmm", for
            CustomTorsionForces, which "auto" takes there unless `platform` is "Reference" or "CPU"
            and the native force is installed. With "torchforce" PyTorch should have
            one thread (`torch.set_num_threads(1)`): with more, one evaluation of a small network
            takes far longer.
        platform: The name of OpenMM's platform that they are for, where it is known.

    Raises:
        OptionError: The path is a model, or the system is none.
        ModelError: The file cannot be read.
        BackendError: The backend cannot be used here.
        SelectionError: The modelled atoms are not in the system.

    Example::

        forces = mode_forces("cv.pt", system)
        variable = openmm.app.BiasVariable(forces[0], -6.0, 6.0, 0.25, gridWidth=121)
    """
    if not isinstance(path, (str, Path)):
        raise OptionError(
            f"`path` must be a file that `symplectic_cv.export` wrote; got {type(path).__name__}: "
            "export the model, or give it to `openmm_plugin.bias_variables`"
        )
    system = system_alone(system)
    if Path(path).suffix == TORSION_SUFFIX:
        return _torsion_forces(path, system, choose_torsion_backend(backend, platform))
    scripted, core = exported_files(Path(path))
    if scripted is None and backend == "torchforce":
        raise ModelError(f"{path}: `backend=torchforce` needs the cv.pt that was beside it")
    chosen = choose_backend(backend, core is not None)
    problem = native_problem()
    if backend == "auto" and problem is not None:
        warnings.warn(f"collective variables through {chosen}: {problem}", RunWarning, stacklevel=2)
    backend = chosen
    periodic = system.usesPeriodicBoundaryConditions()
    cv = None
    if core is not None and backend != "torchforce" and core_problem() is None:
        content = core.read_bytes()
        metadata = Core(content, str(core)).metadata
    else:
        if scripted is None:
            raise ModelError(f"{path}: `backend={backend}` needs the cv.pt that was beside it")
        cv, metadata = load_exported(scripted)
        content = scripted.read_bytes()
    check_atoms(metadata["molecule"], system)
    return _forces(backend, content, metadata["modes"], periodic, cv)


def _torsion_forces(path: str | Path, system: openmm.System, backend: str) -> list[openmm.Force]:
    """One force per mode of cv.json, through a backend that is installed."""
    exported = read_torsion_file(path)
    model, places = exported.model, range(exported.model.dimension)
    if backend == OWN_FORCES:
        return list(torsion_mode_forces(model, system))
    check_atoms(model.molecule.to_json(), system)
    content = torsion_core_bytes(model, places, exported.modes)
    module = None
    if backend == "torchforce" or core_problem() is not None:
        buffer = io.BytesIO()
        module = script_torsions(model, places)
        torch.jit.save(module, buffer)
        content = buffer.getvalue()
    periodic = system.usesPeriodicBoundaryConditions()
    return _forces(backend, content, exported.modes, periodic, module)


def _forces(
    backend: str,
    content: bytes,
    modes: list[int],
    periodic: bool,
    module: torch.jit.ScriptModule | None,
) -> list[openmm.Force]:
    """One force per mode of a file: that of the native core, or a TorchScript `module`."""
    forces: list[openmm.Force] = []
    digest = hashlib.sha256(content).hexdigest()[:12]
    for place, mode in enumerate(modes):
        name = f"symplectic-cv mode {mode} ({digest})"
        if backend == "native":
            forces.append(make_force(NATIVE, content, periodic, name, mode=place))
            continue
        if backend == "torchforce":
            assert module is not None
            force = _torchforce(module, place, len(modes))
        else:
            force = openmm.PythonForce(PythonMode(content, place, periodic))
        force.setUsesPeriodicBoundaryConditions(periodic)
        force.setName(name)
        forces.append(force)
    return forces


def _torchforce(cv: torch.jit.ScriptModule, place: int, n_modes: int) -> openmm.Force:
    with _without_old_name_warning():
        import openmmtorch
    force = openmmtorch.TorchForce(torch.jit.script(_EnergyAndForces(cv, place, n_modes)))
    force.setOutputsForces(True)
    return force


@contextmanager
def _without_old_name_warning() -> Iterator[None]:
    """Drops the warning of the root logger that OpenMM is imported by its old name."""

    def keep(record: logging.LogRecord) -> bool:
        return "simtk.openmm" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)


def evaluate(forces: list[openmm.Force], n_atoms: int, positions: np.ndarray) -> np.ndarray:
    """Values of the modes (len(forces),) at positions (n_atoms, 3) in nm, through OpenMM.

    Raises:
        OptionError: Positions of another number of atoms.
    """
    if positions.shape != (n_atoms, 3):
        raise OptionError(f"positions have shape {positions.shape}, not ({n_atoms}, 3)")
    system = openmm.System()
    for _ in range(n_atoms):
        system.addParticle(1.0)
    probe = openmm.CustomCVForce("0")
    for k, force in enumerate(forces):
        probe.addCollectiveVariable(f"cv{k}", openmm.XmlSerializer.clone(force))
    system.addForce(probe)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return np.array(probe.getCollectiveVariableValues(context))
