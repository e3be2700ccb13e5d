"""Hamiltonians by name, and those in files of users."""

import pytest

from symplectic_cv.errors import HamiltonianError, OptionError
from symplectic_cv.hamiltonians.library import find_hamiltonian


def test_ones_own_comes_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from symplectic_cv.hamiltonians.base import Hamiltonian\n"
        "class Mine(Hamiltonian):\n"
        "    name = 'mine'\n"
        "    def __init__(self, size=2):\n        self.dimension = size\n"
        "    def potential(self, q):\n        return (q ** 4).sum(-1)\n"
        "class Broken(Mine):\n    def potential(self, q):\n        return q.missing\n"
        "NOT_ONE = len\n"
    )
    assert find_hamiltonian(f"{file}:Mine", 3).dimension == 3
    for name, message in [
        ("Broken", "its energy fails"),
        ("Absent", "has no class Absent"),
        ("NOT_ONE", "cannot be made|is not a Hamiltonian"),
    ]:
        with pytest.raises(HamiltonianError, match=message):
            find_hamiltonian(f"{file}:{name}")
    with pytest.raises(OptionError, match="name the class"):
        find_hamiltonian(str(file))
    with pytest.raises(HamiltonianError, match="no such file"):
        find_hamiltonian(f"{tmp_path / 'other.py'}:Mine")
    file.write_text("1 / 0\n")
    with pytest.raises(HamiltonianError, match="cannot be imported"):
        find_hamiltonian(f"{file}:Mine")


def test_names_and_sizes_are_checked():
    with pytest.raises(OptionError, match="not built in; there is ringworld"):
        find_hamiltonian("ringwold")
    with pytest.raises(OptionError, match="fixed size"):
        find_hamiltonian("ringworld", 3)
