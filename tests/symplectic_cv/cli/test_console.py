"""Lines that commands print: warnings of the library, and those of others."""

import warnings

import pytest

from symplectic_cv.cli.console import shown_warnings
from symplectic_cv.cli.errors import translation
from symplectic_cv.errors import RunWarning
from symplectic_cv.files.run_folder import start_run


def test_a_warning_of_a_run_is_a_line_each_time_and_no_other_warning_is(capsys):
    with pytest.warns(UserWarning) as others, translation({"folder": "--output"}):
        plain = warnings.showwarning
        with shown_warnings():
            for _ in range(2):
                warnings.warn("look at `folder`", RunWarning, stacklevel=1)
            warnings.warn("another", UserWarning, stacklevel=1)
        assert warnings.showwarning is plain
    assert capsys.readouterr().err == 2 * "warning: look at --output\n"
    assert [str(other.message) for other in others] == ["another"]


def test_resuming_nothing_is_said(tmp_path, capsys):
    with shown_warnings():
        start_run(tmp_path / "new", {"seed": 1}, resume=True)
        start_run(tmp_path / "new", {"seed": 1}, resume=True)
    err = capsys.readouterr().err
    assert err == f"warning: {tmp_path / 'new'}: holds no run to resume, so that a new one begins\n"
