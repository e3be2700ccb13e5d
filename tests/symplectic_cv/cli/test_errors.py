"""Messages of the library name parameters; the command line shows the flags of the command."""

import importlib

import pytest
from commands import run

from symplectic_cv.cli.main import COMMANDS, main
from symplectic_cv.errors import OptionError

FIRST = {
    "metadynamics": "symplectic_cv.cli.molecules.molecule_of_options",
    "umbrella": "symplectic_cv.cli.molecules.molecule_of_options",
    "train": "symplectic_cv.cli.train.require_free",
}
"""The first thing that a command does."""


def raising(monkeypatch, command, message):
    """Lets the first thing that a command does fail with a message."""

    def fail(*_, **__):
        raise OptionError(message)

    module, name = FIRST[command].rsplit(".", 1)
    monkeypatch.setattr(importlib.import_module(module), name, fail)


@pytest.mark.parametrize(
    ("words", "message", "shown"),
    [
        (["metadynamics", "m"], "`bias_factor` must be above 1", "--bias-factor must be above 1"),
        (["metadynamics", "m"], "`pace_ps` is no whole step", "--pace is no whole step"),
        (["metadynamics", "m"], "`range` and `low` in `folder`", "--range and --range in --output"),
        (["umbrella", "m"], "`range` of `model`", "--range of MODEL"),
        (["metadynamics", "m"], "leave out `opes=True`", "leave out --opes"),
        (["metadynamics", "m"], "give `backend='native'`", "give --backend native"),
        (["umbrella", "m"], "`modes` names 2 modes", "--modes names 2 modes"),
        (["train", "a.xtc"], "`steps` of `adam` and `pace`", "--steps of `adam` and `pace`"),
        (["train", "a.xtc"], "no `trajectories` here", "no TRAJ here"),
        (["train", "a.xtc"], "(`symplectic_cv.fit` makes it)", "(`symplectic-cv train` makes it)"),
        (["train", "a.xtc"], "call `openmm_plugin.other`", "call `openmm_plugin.other`"),
    ],
)
def test_parameters_become_flags(monkeypatch, refused, words, message, shown):
    raising(monkeypatch, words[0], message)
    assert refused(*words) == f"error: {shown}"


def test_warnings_and_notes_are_translated_too(monkeypatch, capsys):
    from symplectic_cv.cli.console import note, warn
    from symplectic_cv.cli.errors import translation

    monkeypatch.setattr("openmm_plugin.diagnostics.findings", lambda: [])
    with translation({"points": "--points"}):
        note("more `points`")
        warn("fewer `points`")
        run("doctor")
        note("again `points`")
    out, err = capsys.readouterr()
    assert "more --points\n" in out
    assert "again --points\n" in out
    assert "warning: fewer --points\n" in err


def test_an_interrupted_command_ends_with_130(monkeypatch, capsys):
    module = importlib.import_module("symplectic_cv.cli.train")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "require_free", interrupt)
    with pytest.raises(SystemExit) as info:
        main(["train", "a.xtc"])
    assert info.value.code == 130
    assert "--resume goes on" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["40", "79", "300"])
def test_terminals_of_any_width_show_the_help_and_one_line_for_an_error(
    monkeypatch, capsys, refused, columns
):
    monkeypatch.setenv("COLUMNS", columns)
    for command in COMMANDS:
        run(command, "-h")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    line = refused("train", "a.xtc", "--coupling", "a-kind-that-does-not-exist")
    assert "--coupling" in line
    assert "autoregressive" in line
