"""Messages of the library name parameters; the command line shows the flags of the command."""

import importlib

import pytest
from commands import run

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
