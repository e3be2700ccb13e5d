"""The pages in docs/: what they show runs and says what it says."""

import math
import re
import shlex
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run

from symplectic_cv.cli.main import COMMANDS
from symplectic_cv.hamiltonians.library import find_hamiltonian

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def test_the_recipe_for_ones_own_hamiltonian_is_one(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "own_hamiltonian.md").read_text(), re.S)
    (tmp_path / "my.py").write_text(example)
    valley = find_hamiltonian(f"{tmp_path / 'my.py'}:MyPotential")
    axes = [torch.linspace(-2.5, 2.5, 801).double(), torch.linspace(-4.0, 8.0, 1601).double()]
    q = torch.cartesian_prod(*axes)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    z = 2.0 * math.pi * cell * np.exp(-valley.potential(q).numpy()).sum()
    assert valley.exact_free_energy(1.0) == pytest.approx(-math.log(z), abs=1e-4)
    assert set(valley.descriptors(q[:3])) == {"along", "across"}


def test_the_python_of_ones_own_hamiltonian_runs(tmp_path, monkeypatch, capsys):
    page = (DOCS / "own_hamiltonian.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "my.py").write_text(example)
    (script,) = re.findall(r"The same in Python:\n\n((?:    .*\n|\n)+)", page)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    few = script.replace('folder="bent-valley"', 'folder="bent-valley", steps=5')
    few = few.replace("result.reduced)", "result.reduced, samples=500)")
    assert few.count("steps=5") == few.count("samples=500") == 1
    names = {}
    exec(textwrap.dedent(few), names)
    sys.modules.pop("my")
    assert names["kl"] > -3.0 * names["found"].estimate.standard_error
    assert (tmp_path / "bent-valley" / "config.json").is_file()
    assert capsys.readouterr().out.endswith("nats\n")


def test_the_python_of_the_variational_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "variational.md").read_text(), re.S)
    names = {}
    exec(example.replace("steps=200", "steps=5").replace("samples=2000", "samples=500"), names)
    assert names["found"].estimate.standard_error > 0.0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_are_code(page):
    """A command that is not indented would be shown as running text."""
    inside = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    assert not re.findall(rf"^symplectic-cv (?:{'|'.join(COMMANDS)})\b.*", inside, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_page_on_torsion_modes_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(
        *("simulate", "alanine-dipeptide", "--solvent", "vacuum"),
        *("--time-ns", 0.01, "--stride-ps", 0.1),
    )
    page = (DOCS / "torsion_modes.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", page, re.S)
    names = {}
    exec(first, names)
    assert names["values"].shape == (100, names["result"].model.dimension)
    assert len(names["run"].colvar) == 10
    exec(second, names)
    assert names["structures"].shape == (10, 10, 3)
    assert np.isfinite(names["likelihood"]).all()
    held = names["model"].modes(names["held"].positions)[:, 0]
    np.testing.assert_allclose(held, 0.5, atol=1e-4)
    assert len(names["path"]) == 10
    commands = re.findall(r"^    symplectic-cv (.*)$", page, re.M)
    assert len(commands) == 7
    run(*commands[1].split())
    run(*commands[6].split())
    run(*f"{commands[2]} -o again".replace("--time-ns 5", "--time-ns 0.002 --pace 0.2").split())
    run(*f"{commands[3]} --steps 20".split())
    run(*shlex.split(commands[4]))
    run(*commands[5].split())
    table = np.genfromtxt("starts/samples.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["mode_0"], 0.5, atol=1e-4)
