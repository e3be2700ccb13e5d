"""The Python blocks of the pages run in their order, as they stand but for the length of runs."""

import re
from pathlib import Path

import numpy as np

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
SHORTER = {
    "time_ns=1.0": "time_ns=0.02",
    "rounds=3, time_ns=5.0": "rounds=1, time_ns=0.012, steps=10, hidden=8",
    "time_ns=5.0": "time_ns=0.012, pace_ps=0.2, width=0.3",
    "seed=0, folder": "seed=0, steps=10, hidden=8, folder",
    "time_ns=0.5)": "time_ns=0.004, stride_ps=0.1, steering_ps=1.0)",
    "time_ns=2.0": "time_ns=0.06, stride_ps=0.1",
    'chart="internal", seed=1': 'chart="internal", seed=1, steps=5',
}
"""What is written on the page, and what the test runs in its place."""


def shorter(text: str) -> str:
    for written, run in SHORTER.items():
        assert written in text, written
        text = text.replace(written, run)
    return text


def test_the_blocks_have_at_most_ten_lines():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) >= 8
    assert [block for block in blocks if len(block.strip().splitlines()) > 10] == []


def test_the_blocks_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", shorter(PAGE), re.S):
        exec(block, names)
    frames = names["data"].n_frames
    assert names["values"].shape == (frames, 2)
    assert names["values"].dtype == np.float64
    assert list(names["table"].columns[:4]) == ["frame", "time_ps", "file", "mode_0"]
    assert names["structures"].shape == (100, names["model"].molecule.n_atoms, 3)
    assert len(names["path"].positions) == 40
    assert len(names["variables"]) == 2
    assert names["surface"].ndim == 2
    assert (tmp_path / "path" / "path.pdb").is_file()
    assert (tmp_path / "adapt" / "rounds.csv").is_file()
    assert any((tmp_path / "reweighted").iterdir())
    assert names["samples"].positions.shape[0] >= 200
    assert names["samples"].positions.shape[1:] == (22, 3)
    assert (tmp_path / "samples" / "samples.csv").is_file()
    assert np.isfinite(names["found"].estimate.standard_error)
    assert (tmp_path / "analysis" / "modes.csv").is_file()
    assert names["axes"].get_title() == "alanine dipeptide"
