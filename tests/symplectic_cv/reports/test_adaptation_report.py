"""The page of an adaptive loop."""

import numpy as np
import pytest

import symplectic_cv as sc
from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.adaptation.round_folders import RoundModel
from symplectic_cv.bias.states import find_states
from symplectic_cv.reports.adaptation_report import write_adaptation_report

PROGRESS = [
    RoundProgress(0, 100, float("nan"), 1, 7, float("nan")),
    RoundProgress(1, 50, 0.5, 2, 1, 2.0),
]
MODELS = [RoundModel(-3.0, [1.0, 2.0, 9.0], [0, 1])]


@pytest.mark.parametrize("centres", [(-2.0, 2.0), (0.0,)])
def test_the_page_tells_of_rounds_and_states(tmp_path, make_run, centres):
    make_run(tmp_path / "run")
    result = sc.reweight(tmp_path / "run", torsions=["phi", "psi"])
    result.save(tmp_path / "free_energy")
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(centre, 0.3, 2000) for centre in centres])[:, None]
    states = find_states(values, np.ones(len(values)), 2.5)
    assert states.count == len(centres)
    path = write_adaptation_report(
        tmp_path, PROGRESS, MODELS, 1, "It ended <early>.", states, result
    )
    page = path.read_text()
    assert page.count("data:image/png;base64,") == 1 + len(result.profiles[:1]) + len(result.planes)
    assert "It ended &lt;early&gt;." in page
    assert "crossings per ns" in page
    assert "<td>unknown</td>" in page
    if len(centres) == 2:
        assert "half 95 % interval (kJ/mol)" in page
    else:
        assert "there is nothing to cross" in page
