"""The backends that this installation can run, found before anything is loaded.

Some pairs of versions do not raise an error but crash the process. They are recognised by their
version numbers, without an import.
"""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import openmm_plugin
from symplectic_cv.errors import BackendError, OptionError
from symplectic_cv.exporting.compiled import REINSTALL, core_problem

TORCHFORCE_PACKAGES = (
    "acellera-openmmtorch-cpu",
    "acellera-openmmtorch-cu13",
    "openmmtorch",
    "openmm-torch",
)
WHEELS_OF_ONE_PLACE = ("acellera-openmmtorch-cpu", "acellera-openmmtorch-cu13")
"""Builds of TorchForce whose files have the same names."""
OPENMM_PACKAGES = ("OpenMM", "openmm")


def installed_version(*names: str) -> tuple[str, tuple[int, int]] | None:
    """The full version and (major, minor) of the first of these packages that is installed."""
    for name in names:
        try:
            text = version(name)
        except PackageNotFoundError:
            continue
        parts = text.split("+")[0].split(".")
        return text, (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)
    return None


def torchforce_problem() -> str | None:
    """The reason why TorchForce cannot be used here, or None. Nothing is imported."""
    plugin = installed_version(*TORCHFORCE_PACKAGES)
    if plugin is None and importlib.util.find_spec("openmmtorch") is None:
        return (
            "no TorchForce package is installed: pip install 'symplectic-cv[torchforce]' "
            "(or openmm-torch from conda-forge)"
        )
    both = [name for name in WHEELS_OF_ONE_PLACE if installed_version(name)]
    if len(both) > 1:
        return (
            f"{' and '.join(both)} are both installed and have overwritten each other's files: pip "
            f"uninstall -y {' '.join(both)}, then pip install one of them"
        )
    openmm = installed_version(*OPENMM_PACKAGES)
    torch = installed_version("torch")
    if openmm is None or torch is None:
        return "OpenMM or torch is not installed"
    if plugin is None:  # conda-forge's build, made for the torch and OpenMM beside it
        return None
    if openmm[1] >= (8, 6):
        return (
            f"OpenMM {openmm[0]} crashes with the installed TorchForce {plugin[0]} as soon as a "
            "force is copied: pip install 'openmm==8.5.2'"
        )
    if not (2, 10) <= torch[1] < (2, 13):
        return (
            f"torch {torch[0]} does not work with the installed TorchForce {plugin[0]}, which "
            "needs torch >= 2.10, < 2.13: pip install 'torch==2.11.0'"
        )
    return None


def pythonforce_problem() -> str | None:
    """The reason why PythonForce cannot be used here, or None. Nothing is imported."""
    openmm = installed_version(*OPENMM_PACKAGES)
    if openmm is None:
        return "OpenMM is not installed: pip install 'openmm==8.5.2'"
    if openmm[1] < (8, 5):
        return f"OpenMM {openmm[0]} has no PythonForce: pip install 'openmm==8.5.2'"
    return None


def library_files() -> dict[tuple[int, int], Path]:
    """The files of compiled forces, by the OpenMM version that each was compiled against."""
    found: dict[tuple[int, int], Path] = {}
    for folder in openmm_plugin.__path__:
        for path in sorted(Path(folder).glob("_flow_force_*.so")):
            match = re.fullmatch(r"_flow_force_(\d+)_(\d+)\.so", path.name)
            if match:
                found.setdefault((int(match[1]), int(match[2])), path)
    return found


def native_problem() -> str | None:
    """The reason why the native force cannot be used here, or None. Nothing is loaded."""
    version = installed_version(*OPENMM_PACKAGES)
    if version is None:
        return "OpenMM is not installed: pip install 'openmm==8.5.2'"
    files = library_files()
    if not files:
        return (
            "the native force is not compiled here: install a C++ compiler (g++ or clang), then "
            + REINSTALL
        )
    if version[1] not in files:
        compiled = ", ".join(f"{major}.{minor}" for major, minor in files)
        return (
            f"the native force was compiled against OpenMM {compiled}, installed is {version[0]}: "
            + REINSTALL
        )
    return None


OWN_FORCES = "openmm"
"""The backend of modes that are plain OpenMM forces, as those of torsions can be."""

ON_CPU = ("Reference", "CPU")
"""The platforms on which positions are where the native force computes."""

ON_GPU = ("CUDA", "HIP", "OpenCL")
"""The platforms on whose device the native force computes, if it holds the grid of a bias."""


def choose_torsion_backend(wanted: str, platform: str | None = None, own_grid: bool = False) -> str:
    """The backend of torsion modes: the wanted one if it works here, or the best one for `auto`.

    `auto` takes the native force on a platform of the CPU, and on a GPU where it holds the grid of
    the bias; OpenMM's own forces otherwise.

    Args:
        wanted: The name of a backend, or `auto`.
        platform: The name of OpenMM's platform; None where it is not known.
        own_grid: Whether the native force would hold the grid of a bias.

    Raises:
        BackendError: The wanted backend cannot be used.
        OptionError: The backend does not exist.
    """
    if wanted == "auto":
        fits = platform in ON_CPU or (own_grid and platform in ON_GPU)
        native = fits and native_problem() is None and core_problem() is None
        return "native" if native else OWN_FORCES
    return OWN_FORCES if wanted == OWN_FORCES else choose_backend(wanted)


def choose_backend(wanted: str, has_core: bool = True) -> str:
    """The backend to use: the wanted one if it works here, or the best one for `auto`.

    `auto` takes the native force, else PythonForce with the native core, else TorchForce, else
    PythonForce with TorchScript.

    Args:
        wanted: The name of a backend, or `auto`.
        has_core: Whether there is a file for the native core.

    Raises:
        BackendError: The wanted backend, or every one, cannot be used.
        OptionError: The backend does not exist.
    """

    def native() -> str | None:
        if not has_core:
            return "there is no cv.safetensors beside cv.pt: `symplectic_cv.export` writes both"
        return native_problem() or core_problem()

    problems = {"native": native, "python": pythonforce_problem, "torchforce": torchforce_problem}
    if wanted != "auto":
        if wanted == OWN_FORCES:
            raise BackendError(
                f"`backend={wanted}` is for modes of torsions, which OpenMM's own forces can "
                "compute; leave `backend` at auto"
            )
        if wanted not in problems:
            raise OptionError(
                f"`backend` must be auto, native, python or torchforce; got {wanted!r} "
                f"({OWN_FORCES} is for modes of torsions)"
            )
        problem = problems[wanted]()
        if problem is not None:
            raise BackendError(f"`backend={wanted}`: {problem}")
        return wanted
    core = has_core and core_problem() is None
    order = ["native", "python", "torchforce"] if core else ["torchforce", "python"]
    reasons = []
    for name in order:
        problem = problems[name]()
        if problem is None:
            return name
        reasons.append(problem)
    raise BackendError("; ".join(reasons))
