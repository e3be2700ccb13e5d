"""The examples of the README run as they stand, but for the length of the runs."""

import re
import shlex
from pathlib import Path

from commands import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shorter(text: str, lengths: dict[str, str]) -> str:
    for written, shorter_run in lengths.items():
        assert written in text, written
        text = text.replace(written, shorter_run)
    return text


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell = shorter(
        re.search(r"```sh\n(.*?)```", README, re.S).group(1),
        {
            "--time-ns 12": "--time-ns 0.05 --solvent vacuum",
            "-o model": "-o model --steps 20 --hidden 8",
            "--time-ns 5": "--time-ns 0.012 --pace 0.2 --width 0.3 0.3",
        },
    )
    for line in shell.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "symplectic-cv"
        run(*arguments)
    assert (tmp_path / "bias" / "free_energy.npz").is_file()
    code = shorter(
        re.search(r"```python\n(.*?)```", README, re.S).group(1),
        {
            "folder=": "steps=20, hidden=8, folder=",
            "time_ns=5.0)": "time_ns=0.012, pace_ps=0.2, width=0.3)",
        },
    ).replace("options=options, steps=20, hidden=8, ", "options=options, ")
    names: dict = {}
    exec(code, names)
    assert names["values"].shape[1] == 2
    assert (tmp_path / "fitted" / "config.json").is_file()


def test_the_readme_names_every_command():
    from symplectic_cv.cli.main import COMMANDS

    words = set(re.findall(r"(?:`|symplectic-cv |make )(\w+)", README))
    assert sorted(set(COMMANDS) - words) == []


def test_the_files_that_the_readme_shows_exist():
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target
