"""Every tutorial runs from top to bottom as the notebook it stands for, at reduced size."""

from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.py"))


def test_there_are_tutorials():
    assert TUTORIALS


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_as_a_notebook(tutorial, tmp_path, monkeypatch):
    monkeypatch.setenv("SYMPLECTIC_CV_TUTORIAL_SCALE", "0.01")
    monkeypatch.setenv("SYMPLECTIC_CV_TUTORIAL_FOLDER", str(tmp_path / "work"))
    notebook = jupytext.read(tutorial)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "validation NLL" in printed
    assert list((tmp_path / "work").glob("*.png"))
