"""Which backends this installation can run, found out before anything is loaded.

Some pairs of versions do not raise an error but crash the process; they are told by
their version numbers alone, without an import.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version

from symplectic_cv.errors import BackendError

TORCHFORCE_PACKAGES = (
    "acellera-openmmtorch-cpu",
    "acellera-openmmtorch-cu13",
    "openmmtorch",
    "openmm-torch",
)
OPENMM_PACKAGES = ("OpenMM", "openmm")


def installed_version(*names: str) -> tuple[str, tuple[int, int]] | None:
    """Full version and (major, minor) of the first of these packages that is installed."""
    for name in names:
        try:
            text = version(name)
        except PackageNotFoundError:
            continue
        parts = text.split("+")[0].split(".")
        return text, (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)
    return None


def torchforce_problem() -> str | None:
    """Why TorchForce cannot be used here, or None where it can; imports nothing."""
    plugin = installed_version(*TORCHFORCE_PACKAGES)
    if plugin is None and importlib.util.find_spec("openmmtorch") is None:
        return (
            "no TorchForce package is installed: pip install 'symplectic-cv[torchforce]' "
            "(or openmm-torch from conda-forge)"
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
    """Why PythonForce cannot be used here, or None where it can; imports nothing."""
    openmm = installed_version(*OPENMM_PACKAGES)
    if openmm is None:
        return "OpenMM is not installed: pip install 'openmm==8.5.2'"
    if openmm[1] < (8, 5):
        return f"OpenMM {openmm[0]} has no PythonForce: pip install 'openmm==8.5.2'"
    return None


def choose_backend(wanted: str) -> str:
    """`torchforce` or `python` for `auto`, or the wanted one if it works here.

    Raises:
        BackendError: the wanted backend, or every one, cannot be used.
    """
    problems = {"torchforce": torchforce_problem, "python": pythonforce_problem}
    if wanted != "auto":
        problem = problems[wanted]()
        if problem is not None:
            raise BackendError(f"--backend {wanted}: {problem}")
        return wanted
    reasons = []
    for name, check in problems.items():
        problem = check()
        if problem is None:
            return name
        reasons.append(problem)
    raise BackendError("; ".join(reasons))
