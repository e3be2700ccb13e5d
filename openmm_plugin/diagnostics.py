"""The parts of this installation that can run, one by one."""

from __future__ import annotations

import importlib.util
import platform as machine
from collections.abc import Iterator
from dataclasses import dataclass

from openmm_plugin import versions
from symplectic_cv.errors import BackendError
from symplectic_cv.exporting.compiled import core_problem
from symplectic_cv.version import VERSION


@dataclass(frozen=True)
class Finding:
    """The state of one part of the installation.

    Attributes:
        part: The name of the part.
        state: The version of the part, or what it does here. It may be empty.
        problem: What is wrong with the part and how to mend it; None where nothing is wrong.
    """

    part: str
    state: str
    problem: str | None = None


def findings() -> Iterator[Finding]:
    """Examines the packages, the compiled code, the backends and the devices of this installation.

    Parts that are missing or broken give a finding with a problem. They raise no error.

    Example:
        >>> next(findings()).part
        'symplectic-cv'
    """
    yield Finding("symplectic-cv", f"{VERSION} on Python {machine.python_version()}")
    for name, packages in (("OpenMM", versions.OPENMM_PACKAGES), ("torch", ("torch",))):
        found = versions.installed_version(*packages)
        missing = f"not installed: pip install {packages[-1]}"
        yield Finding(name, found[0] if found else "", None if found else missing)
    problem = core_problem()
    yield Finding("native core", "" if problem else _instructions(), problem)
    problem = versions.native_problem()
    compiled = ", ".join(f"{major}.{minor}" for major, minor in versions.library_files())
    yield Finding("native force", f"for OpenMM {compiled}" if compiled else "", problem)
    problem = versions.pythonforce_problem()
    through = "TorchScript" if core_problem() else "the native core"
    yield Finding("PythonForce", "" if problem else f"through {through}", problem)
    plugin = versions.installed_version(*versions.TORCHFORCE_PACKAGES)
    problem = versions.torchforce_problem() or _libraries_problem()
    yield Finding("TorchForce", plugin[0] if plugin else "", problem)
    yield _backend()
    if importlib.util.find_spec("openmm") is not None:
        yield _platforms()
    if importlib.util.find_spec("torch") is not None:
        yield _torch_device()


def slow_path() -> str | None:
    """The reason why collective variables are slower here than they could be, or None."""
    return versions.native_problem() or core_problem()


def _backend() -> Finding:
    """The backend that a biased run takes by itself."""
    try:
        return Finding("backend auto", f"takes {versions.choose_backend('auto')}")
    except BackendError as error:
        return Finding("backend auto", "", str(error))


def _instructions() -> str:
    """The instruction set that the native core uses on this processor."""
    from symplectic_cv import _core

    return f"{_core.instructions()} kernels on {machine.machine()}"


def _platforms() -> Finding:
    """OpenMM's platforms. A plugin for absent hardware is not reported as a problem."""
    import openmm

    from openmm_plugin.platforms import device_problem

    names = []
    for place in range(openmm.Platform.getNumPlatforms()):
        platform = openmm.Platform.getPlatform(place)
        problem = device_problem(platform)
        names.append(platform.getName() + (f" (not usable: {problem})" if problem else ""))
    failures = openmm.Platform.getPluginLoadFailures()
    reasons = {text.strip().splitlines()[0].split(": ", 1)[-1] for text in failures}
    absent = f"; not loaded: {'; '.join(sorted(reasons))}" if reasons else ""
    return Finding("OpenMM platforms", ", ".join(names) + absent)


def _libraries_problem() -> str | None:
    """The reason why the libraries of TorchForce do not load, or None."""
    if importlib.util.find_spec("openmm") is None:
        return None
    import openmm

    for text in openmm.Platform.getPluginLoadFailures():
        if "libOpenMMTorchReference" in text:
            reason = text.strip().splitlines()[0].split(": ", 1)[-1]
            return (
                f"its libraries do not load ({reason}): install it into the environment of OpenMM "
                "and torch, or name torch's folder of libraries in LD_LIBRARY_PATH"
            )
    return None


def _torch_device() -> Finding:
    """The device on which torch computes by default."""
    import torch

    if torch.cuda.is_available():
        return Finding("torch device", f"cuda ({torch.cuda.get_device_name()})")
    return Finding("torch device", "cpu (no NVIDIA GPU is usable)")
