"""The output of `doctor` about this installation, and about broken ones."""

import pytest

from openmm_plugin import diagnostics, versions
from symplectic_cv.cli.main import main


def _report(capsys):
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_a_whole_installation(capsys):
    text = _report(capsys)
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "takes native" in lines["backend auto"]
    assert "kernels on" in lines["native core"]
    assert "for OpenMM" in lines["native force"]
    assert "Reference" in lines["OpenMM platforms"]
    assert versions.installed_version("torch")[0] in lines["torch"]


def test_a_slower_installation_is_told_so(capsys, monkeypatch):
    for module in (versions, diagnostics):
        monkeypatch.setattr(module, "core_problem", lambda: "no compiler: install g++")
    text = _report(capsys)
    assert "no compiler: install g++" in text
    assert "slower than they could" in text
