"""The findings about this installation, and about broken ones."""

import openmm

from openmm_plugin import diagnostics, platforms, versions
from openmm_plugin.diagnostics import findings


def by_part():
    return {finding.part: finding for finding in findings()}


def test_a_whole_installation():
    found = by_part()
    assert found["torch"].state == versions.installed_version("torch")[0]
    assert "Reference" in found["OpenMM platforms"].state
    assert all(
        finding.problem is None for finding in found.values() if finding.part != "TorchForce"
    )


def test_what_is_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(versions, "native_problem", lambda: "compiled for another OpenMM: pip do")
    monkeypatch.setattr(diagnostics, "core_problem", lambda: "no compiler: install g++")
    monkeypatch.setattr(versions, "core_problem", lambda: "no compiler: install g++")
    found = by_part()
    assert found["native core"].problem == "no compiler: install g++"
    assert found["native force"].problem == "compiled for another OpenMM: pip do"
    assert found["PythonForce"].state == "through TorchScript"
    assert found["backend auto"].state == "takes torchforce"
    assert diagnostics.slow_path() == "compiled for another OpenMM: pip do"


def test_nothing_that_works_at_all(monkeypatch):
    for name in ("native_problem", "torchforce_problem", "pythonforce_problem"):
        monkeypatch.setattr(versions, name, lambda: "broken: mend it")
    assert "broken: mend it" in by_part()["backend auto"].problem


def test_a_platform_without_a_device_is_told(monkeypatch):
    monkeypatch.setattr(platforms, "device_problem", lambda platform: "no driver")
    assert "CPU (not usable: no driver)" in by_part()["OpenMM platforms"].state


def test_libraries_of_torchforce_that_do_not_load_are_a_problem(monkeypatch):
    failure = "Error loading library x/libOpenMMTorchReference.so: libtorch.so: cannot open it"
    monkeypatch.setattr(openmm.Platform, "getPluginLoadFailures", lambda: (failure,))
    monkeypatch.setattr(versions, "torchforce_problem", lambda: None)
    assert "libtorch.so: cannot open it" in by_part()["TorchForce"].problem
