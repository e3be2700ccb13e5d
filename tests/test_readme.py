"""The README's Python example runs as it stands, but for the length of the training."""

import re
from pathlib import Path

from symplectic_cv.cli.main import main

README = (Path(__file__).parent.parent / "README.md").read_text()


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_python_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "alanine-dipeptide", "--time-ns", "0.05", "--solvent", "vacuum") == 0
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    short = code.replace(
        "temperature=300.0)",
        "temperature=300.0, options=sc.TrainingOptions(steps=20, hidden=8))",
    )
    assert short != code
    names: dict = {}
    exec(short, names)
    assert len(names["forces"]) == 2
    assert (tmp_path / "model" / "config.json").is_file()


def test_the_readme_names_every_command():
    from symplectic_cv.cli.main import COMMANDS

    missing = [
        name for name in COMMANDS if f"`{name}`" not in README and f"make {name}" not in README
    ]
    assert missing == []


def test_the_files_that_the_readme_shows_exist():
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (root / target).exists(), target
