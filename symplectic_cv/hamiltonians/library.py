"""Hamiltonians by name: the built-in ones, and those in Python files of users."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from symplectic_cv.errors import HamiltonianError, OptionError
from symplectic_cv.hamiltonians.base import Hamiltonian, check_hamiltonian
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.harmonic_chain import HarmonicChain
from symplectic_cv.hamiltonians.lennard_jones_pair import LennardJonesPair
from symplectic_cv.hamiltonians.ringworld import Ringworld

BUILT_IN: dict[str, Callable[..., Hamiltonian]] = {
    kind.name: kind for kind in (Ringworld, HarmonicChain, DoubleWell, LennardJonesPair)
}


def find_hamiltonian(system: str, size: int | None = None) -> Hamiltonian:
    """The Hamiltonian that a user names, checked.

    Args:
        system: A built-in name, or FILE.py:CLASS.
        size: The size of a Hamiltonian whose class takes `size`; its default where None.

    Raises:
        OptionError: The name is unknown, or a size is given for a Hamiltonian of fixed size.
        HamiltonianError: The file or class cannot be used, or `check_hamiltonian` refuses it.
    """
    if system in BUILT_IN:
        kind: Any = BUILT_IN[system]
    elif ".py:" in system or system.endswith(".py"):
        kind = _own(system)
    else:
        raise OptionError(
            f"the Hamiltonian {system!r} is not built in; there is {', '.join(BUILT_IN)}; your own "
            "is FILE.py:CLASS; a molecule has a system.xml"
        )
    takes_size = "size" in inspect.signature(kind).parameters
    if size is not None and not takes_size:
        raise OptionError(f"`size`: {system} has a fixed size")
    try:
        hamiltonian = kind(size=size) if size is not None else kind()
    except (OptionError, HamiltonianError):
        raise
    except Exception as error:  # a user's own code
        raise HamiltonianError(f"{system}: cannot be made ({error!r})") from error
    if not isinstance(hamiltonian, Hamiltonian):
        raise HamiltonianError(
            f"{system}: is not a Hamiltonian; derive the class from symplectic_cv.Hamiltonian"
        )
    try:
        check_hamiltonian(hamiltonian)
    except HamiltonianError:
        raise
    except Exception as error:  # a user's own code
        raise HamiltonianError(f"{system}: its energy fails ({error!r})") from error
    return hamiltonian


def _own(system: str) -> Any:
    file, _, name = system.partition(".py:")
    path = Path(file + ".py") if name else Path(system)
    if not name:
        raise OptionError(f"{system}: name the class too, as {system}:MyHamiltonian")
    if not path.is_file():
        raise HamiltonianError(f"{path}: no such file")
    module_name = f"symplectic_cv_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's own code
        raise HamiltonianError(f"{path}: cannot be imported ({error!r})") from error
    if not hasattr(module, name):
        raise HamiltonianError(f"{path}: has no class {name}")
    return getattr(module, name)
