"""The chart that suits the bias of a molecule."""

from __future__ import annotations

import numpy as np
import pytest
from ligands import molecule_of

from symplectic_cv.charts.chart_choice import free_bonds, suited_chart, torsion_advice
from symplectic_cv.flows.options import Chart

RING = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]
AMIDE = [(0, 1), (1, 2), (1, 3), (3, 4)]


@pytest.mark.parametrize(
    ("elements", "bonds", "free", "chart"),
    [
        ("CCCCC", [(0, 1), (1, 2), (2, 3), (3, 4)], 2, Chart.TORSION),
        ("CCCC", [(0, 1), (1, 2), (2, 3)], 1, Chart.CARTESIAN),
        ("CCCCCC", RING, 0, Chart.CARTESIAN),
        ("CCONC", AMIDE, 0, Chart.CARTESIAN),
        ("CC", [(0, 1)], 0, Chart.CARTESIAN),
    ],
)
def test_torsions_suit_where_two_bonds_turn_freely(
    elements: str, bonds: list[tuple[int, int]], free: int, chart: Chart
) -> None:
    molecule = molecule_of(elements, bonds)
    shape = np.random.default_rng(0).normal(size=(len(elements), 3))
    assert len(free_bonds(molecule, shape)) == free
    assert suited_chart(molecule, shape) is chart


def test_the_torsion_chart_is_advised_for_long_molecules_and_bad_frames() -> None:
    def advice(n: int, near_limit: bool) -> str | None:
        molecule = molecule_of("C" * n, [(k, k + 1) for k in range(n - 1)])
        shape = np.random.default_rng(0).normal(size=(n, 3))
        return torsion_advice(molecule, shape, near_limit)

    assert advice(6, False) is None  # three bonds turn freely
    long = advice(7, False)
    assert long is not None
    assert "`chart='torsion'`" in long
    assert "4 bonds turn freely" in long
    folded = advice(6, True)
    assert folded is not None
    assert "limit" in folded
    ring = molecule_of("CCCCCC", RING)
    assert torsion_advice(ring, np.random.default_rng(0).normal(size=(6, 3)), True) is None
