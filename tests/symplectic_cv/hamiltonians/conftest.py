"""The built-in Hamiltonians, one after another."""

import pytest

from symplectic_cv.hamiltonians.library import BUILT_IN, find_hamiltonian


@pytest.fixture(params=list(BUILT_IN))
def built_in(request):
    return find_hamiltonian(request.param, 5 if request.param == "harmonic-chain" else None)
