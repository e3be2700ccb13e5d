"""PLUMED lines of torsion modes, read back by a small evaluator of their grammar."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ligands import molecule_of

from symplectic_cv.charts.rotatable_bonds import find_rotatable_bonds
from symplectic_cv.charts.torsion_metric import torsion_angles
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.torsion_plumed import torsion_plumed_input
from symplectic_cv.models.torsion_model import TorsionModel
from symplectic_cv.molecule import Molecule


@pytest.fixture(scope="module")
def model() -> TorsionModel:
    chain = molecule_of("CCOCNC", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)])
    # the modelled atoms are every second one of a larger system
    molecule = Molecule(chain.topology, chain.masses, np.arange(1, 13, 2), 12)
    rng = np.random.default_rng(0)
    bonds = tuple(find_rotatable_bonds(molecule, rng.normal(size=(6, 3))))
    return TorsionModel(
        molecule=molecule,
        temperature=300.0,
        bonds=bonds,
        order=2,
        coefficients=rng.normal(size=(2, len(bonds), 2, 2)),
        constant=rng.normal(size=2),
        omega=np.ones(2),
        omega_error=np.ones(2),
        omega_held_out=np.ones(2),
        steepness=np.ones(2),
    )


def evaluated(text: str, system: np.ndarray) -> dict[str, float]:
    """The values of all labels: TORSION from positions, CUSTOM by Python's own arithmetic."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        label, action, rest = re.fullmatch(r"(\w+): (\w+) (.*)", line).groups()  # type: ignore[union-attr]
        keys = dict(re.findall(r"(\w+)=(\S+)", rest))
        if action == "TORSION":
            atoms = [int(number) - 1 for number in keys["ATOMS"].split(",")]
            i, j, k, m = system[atoms]
            b1, b2, b3 = j - i, k - j, m - k
            n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
            sine = np.dot(np.cross(n1, n2), b2 / np.linalg.norm(b2))
            values[label] = float(np.arctan2(sine, np.dot(n1, n2)))
        else:
            assert action == "CUSTOM"
            assert keys["PERIODIC"] == "NO"
            given = dict(zip(keys["VAR"].split(","), keys["ARG"].split(","), strict=True))
            names = {var: values[arg] for var, arg in given.items()}
            functions = {"cos": np.cos, "sin": np.sin}
            values[label] = float(eval(keys["FUNC"], {"__builtins__": {}}, names | functions))
    return values


def test_the_lines_give_the_values_of_the_model(model: TorsionModel) -> None:
    text = torsion_plumed_input(model, [1, 0])
    for seed in range(4):
        system = np.random.default_rng(seed).normal(size=(12, 3))
        values = evaluated(text, system)
        x = system[None, model.molecule.indices]
        assert values["t0"] == pytest.approx(torsion_angles(x, model.bonds)[0, 0], abs=1e-12)
        expected = model.modes(x)[0]
        assert values["mode_0"] == pytest.approx(expected[0], abs=1e-8)
        assert values["mode_1"] == pytest.approx(expected[1], abs=1e-8)


def test_a_mode_that_there_is_not(model: TorsionModel) -> None:
    with pytest.raises(OptionError, match="2 modes"):
        torsion_plumed_input(model, [2])
