"""The page on biased runs: its example runs, its commands parse, its files exist."""

import re
from pathlib import Path

import numpy as np

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.run import BiasRecord, colvar_header
from symplectic_cv.cli.main import COMMANDS

PAGE = (Path(__file__).parent.parent / "docs" / "biased_runs.md").read_text()
KT = 8.31446261815324e-3 * 300.0


def test_the_example_runs(tmp_path, monkeypatch):
    """On a run written by hand, whose averages are known."""
    folder = tmp_path / "metadynamics"
    folder.mkdir()
    grid = BiasGrid.for_widths(-3.0, 3.0, [0.5])
    BiasRecord("metadynamics", ["mode_0"], grid, [0.5], 100.0, 10.0, 300.0, 1.0, {}).write(folder)
    lines = [",".join(colvar_header(["mode_0"]))]
    lines += ["1,1.0,0,0,1", f"2,0.0,{KT * np.log(3.0):.10g},0,3"]
    (folder / "colvar.csv").write_text("\n".join(lines) + "\n")
    (folder / "hills.csv").write_text(
        "time_ps,mode_0,width_mode_0,height_kj_per_mol\n1,1.0,0.5,2.0\n2,0.0,0.5,1.5\n"
    )
    code = re.search(r"```python\n(.*?)```", PAGE, re.S).group(1)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    np.testing.assert_allclose(names["weight"], [1.0, 3.0])
    assert names["mean"] == 0.25
    expected = [2.0 + 1.5 * np.exp(-2.0), 1.5 + 2.0 * np.exp(-2.0)]
    np.testing.assert_allclose(names["last"], expected)
    assert names["again"].max() == 1.0


def test_its_commands_exist():
    commands = re.findall(r"^    symplectic-cv (\w+)", PAGE, re.M)
    assert len(commands) == 5
    assert set(commands) <= set(COMMANDS)
