"""The compiled OpenMM forces of this package: found, checked and loaded.

The name of the library holds the minor version of the OpenMM that it was compiled against. It would
crash the process under any other version, so it is never loaded there.
"""

from __future__ import annotations

import base64
import ctypes
import functools
from xml.sax.saxutils import quoteattr

import numpy as np
import openmm
from openmm import unit

from openmm_plugin.versions import (
    OPENMM_PACKAGES,
    installed_version,
    library_files,
    native_problem,
)
from symplectic_cv.errors import BackendError


@functools.cache
def load_library() -> ctypes.CDLL:
    """Loads the library and registers its forces with OpenMM.

    OpenMM can then read XML that holds such a force.

    Raises:
        BackendError: The library is not compiled, or compiled against another OpenMM.
    """
    problem = native_problem()
    if problem is not None:
        raise BackendError(problem)
    version = installed_version(*OPENMM_PACKAGES)
    assert version is not None
    library = ctypes.CDLL(str(library_files()[version[1]]))
    library.scv_error.restype = ctypes.c_char_p
    if library.scv_register() != 0:
        raise BackendError(library.scv_error().decode())
    return library


def call(name: str, force: openmm.Force, *arguments: object) -> None:
    """Calls a function of the library on a force.

    Raises:
        BackendError: The library reports an error.
    """
    library = load_library()
    pointer = ctypes.c_void_p(int(force.this))
    if getattr(library, name)(pointer, *arguments) != 0:
        raise BackendError(library.scv_error().decode())


def in_nanometers(lengths: unit.Quantity) -> np.ndarray:
    """Lengths in nm as a C-contiguous float64 array of the same shape."""
    return np.ascontiguousarray(lengths.value_in_unit(unit.nanometer), dtype=np.float64)


def doubles(array: np.ndarray | None) -> ctypes.c_void_p:
    """The address of a C-contiguous float64 array; the null pointer for None."""
    if array is None:
        return ctypes.c_void_p(None)
    assert array.dtype == np.float64 and array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def make_force(
    kind: str, content: bytes, periodic: bool, name: str, children: str = "", **properties: object
) -> openmm.Force:
    """A force of the library, made from XML by OpenMM.

    Args:
        kind: `SymplecticCVFlowForce` or `SymplecticCVFlowBiasForce`.
        content: The file for the native core that it carries.
        periodic: Whether its molecule is made whole in the periodic box.
        name: The name of the force.
        children: The XML inside the element of the force.
        properties: Further properties of the kind.

    Raises:
        BackendError: The library is not compiled, or compiled against another OpenMM.
        OpenMMException: The content is damaged.
    """
    load_library()
    attributes = {
        "type": kind,
        "version": 1,
        "name": name,
        "periodic": int(periodic),
        "file": base64.b64encode(content).decode(),
        **properties,
    }
    listed = " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items())
    return openmm.XmlSerializer.deserialize(f"<Force {listed}>{children}</Force>")


def evaluations(force: openmm.Force) -> int:
    """The number of network evaluations for the modes of this force's file, over all its forces."""
    count = ctypes.c_longlong()
    call("scv_evaluations", force, ctypes.byref(count))
    return count.value
