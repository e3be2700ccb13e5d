"""What `doctor` says of this installation, and of broken ones."""

import pytest

from openmm_plugin import versions
from symplectic_cv.cli import doctor
from symplectic_cv.cli.main import main


def _report(capsys):
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_a_whole_installation(capsys):
    text = _report(capsys)
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "takes native" in lines["--backend auto"]
    assert "kernels on" in lines["native core"]
    assert "for OpenMM" in lines["native force"]
    assert "Reference" in lines["OpenMM platforms"]
    assert versions.installed_version("torch")[0] in lines["torch"]


def test_what_is_missing_is_named_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(versions, "native_problem", lambda: "compiled for another OpenMM: pip do")
    monkeypatch.setattr(doctor, "core_problem", lambda: "no compiler: install g++")
    monkeypatch.setattr(versions, "core_problem", lambda: "no compiler: install g++")
    found = {finding.part: finding for finding in doctor.findings()}
    assert found["native core"].problem == "no compiler: install g++"
    assert found["native force"].problem == "compiled for another OpenMM: pip do"
    assert found["PythonForce"].state == "through TorchScript"
    assert found["--backend auto"].state == "takes torchforce"
    assert "slower than they could" in _report(capsys)


def test_nothing_that_works_at_all(capsys, monkeypatch):
    for name in ("native_problem", "torchforce_problem", "pythonforce_problem"):
        monkeypatch.setattr(versions, name, lambda: "broken: mend it")
    found = {finding.part: finding for finding in doctor.findings()}
    assert "broken: mend it" in found["--backend auto"].problem
