"""The chart that suits the bias of a molecule."""

from __future__ import annotations

import numpy as np
import pytest
from ligands import molecule_of

from symplectic_cv.charts.chart_choice import free_bonds, suited_chart
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
