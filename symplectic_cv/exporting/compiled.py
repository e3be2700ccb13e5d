"""Whether the compiled parts of this package are here; asking loads neither NumPy nor torch."""

from __future__ import annotations

import importlib

REINSTALL = "pip install --force-reinstall --no-deps symplectic-cv"
"""Compiles anew, against what is installed now."""


def core_problem() -> str | None:
    """The reason why the native core cannot be used here, or None."""
    try:
        core = importlib.import_module("symplectic_cv._core")
    except ImportError as error:
        return (
            f"the native core is not compiled here ({error}): install a C++ compiler (g++ or "
            f"clang), then {REINSTALL}"
        )
    if not hasattr(core, "read"):
        return f"the native core was compiled for another version of this package: {REINSTALL}"
    return None
