"""Every tutorial runs from top to bottom as the notebook it stands for, at reduced size."""

from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.py"))
PRINTED = {
    "adapt": ["part with φ > 0: 0.000", "round 2: ", "effective frames of", "tetra-alanine: "],
    "alanine_dipeptide": ["validation NLL", "lowest log-likelihood"],
    "conformations": [
        "straight, in space: lowest log-likelihood",
        "importance ESS of its samples",
        "energy: autocorrelation",
    ],
    "harmonic_chain": ["exact −ln Z -57.0638 nats", "linear flow", "cosine with the exact modes"],
    "ringworld": [
        "exact −ln Z         -4.3715 nats",
        "mutual information, fast mode",
        "any volume-preserving map: 0.016 nats",
        "any area-preserving map: 0.0053 nats",
        "angle and radius apart: 0.3640 nats",
    ],
}
"""What each tutorial prints, by name, whatever its scale."""


def test_each_tutorial_has_its_words():
    assert {path.stem for path in TUTORIALS} == set(PRINTED)


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_as_a_notebook(tutorial, tmp_path, monkeypatch):
    monkeypatch.setenv("SYMPLECTIC_CV_TUTORIAL_SCALE", "0.01")
    monkeypatch.setenv("SYMPLECTIC_CV_TUTORIAL_FOLDER", str(tmp_path / "work"))
    notebook = jupytext.read(tutorial)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert [words for words in PRINTED[tutorial.stem] if words not in printed] == []
    assert list((tmp_path / "work").glob("*.png"))
