"""`symplectic-cv doctor`."""

from __future__ import annotations

import importlib.util
import platform as machine
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from openmm_plugin import versions
from symplectic_cv.cli.console import console, note
from symplectic_cv.errors import BackendError
from symplectic_cv.exporting.compiled import core_problem
from symplectic_cv.version import VERSION


@dataclass(frozen=True)
class Finding:
    """One line of the report: a part, its version or state, and what is wrong with it."""

    part: str
    state: str
    problem: str | None = None


def findings() -> Iterator[Finding]:
    """What this installation has, part by part."""
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
    yield Finding("TorchForce", plugin[0] if plugin else "", versions.torchforce_problem())
    try:
        yield Finding("--backend auto", f"takes {versions.choose_backend('auto')}")
    except BackendError as error:
        yield Finding("--backend auto", "", str(error))
    if importlib.util.find_spec("openmm") is not None:
        yield from _platforms()
    if importlib.util.find_spec("torch") is not None:
        yield _torch_device()


def _instructions() -> str:
    from symplectic_cv import _core

    return f"{_core.instructions()} kernels on {machine.machine()}"


def _platforms() -> Iterator[Finding]:
    import openmm

    names = [
        openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())
    ]
    # a plugin for hardware that is not here is no fault, only worth knowing
    failures = openmm.Platform.getPluginLoadFailures()
    reasons = {text.strip().splitlines()[0].split(": ", 1)[-1] for text in failures}
    absent = f"; not loaded: {'; '.join(sorted(reasons))}" if reasons else ""
    yield Finding("OpenMM platforms", ", ".join(names) + absent)


def _torch_device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("torch device", f"cuda ({torch.cuda.get_device_name()})")
    return Finding("torch device", "cpu (no NVIDIA GPU is usable)")


def doctor() -> None:
    """Print what this installation can run, and what to do about what it cannot.

    Example: symplectic-cv doctor
    """
    table = Table(box=None, pad_edge=False)
    for column in ("part", "here", "what is wrong, and the remedy"):
        table.add_column(column, overflow="fold")
    wrong = 0
    for finding in findings():
        table.add_row(finding.part, finding.state, finding.problem or "")
        wrong += finding.problem is not None
    console.print(table)
    if versions.native_problem() or core_problem():
        note("collective variables run, but slower than they could: see above")
    elif wrong:
        note("the fastest path works; what is wrong above concerns alternatives")
    sys.stdout.flush()
