"""One set of versions: environment.yml, constraints.txt and pyproject.toml agree."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PIP_NAME = {"pytorch": "torch", "pytables": "tables"}
CONDA_ONLY = {"python", "pip", "openmm-torch", "cxx-compiler"}
"""No pip constraint of their own; conda's openmm-torch stands for the acellera wheels."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _constraints():
    """Name to requirement of each line of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def _pinned(requirement):
    """The one version of `name==version`."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


def _environment():
    """Pip name to version of each pin of environment.yml; the part for pip too."""
    pins = {}
    for line in (ROOT / "environment.yml").read_text().splitlines():
        match = re.fullmatch(r"\s+- ([A-Za-z0-9_.-]+?)(?:==?([0-9][0-9a-z.]*))?", line)
        if match and match[1] != "conda-forge":
            name = canonicalize_name(PIP_NAME.get(match[1], match[1]))
            assert name not in pins, f"{name} twice"
            pins[name] = match[2]
    return pins


CONSTRAINTS, ENVIRONMENT = _constraints(), _environment()
EXTRAS = [Requirement(r) for group in PROJECT["optional-dependencies"].values() for r in group]
RUNTIME = [Requirement(r) for r in PROJECT["dependencies"]]


def test_the_files_are_read_as_they_are_meant():
    assert _pinned(CONSTRAINTS["torch"]) == ENVIRONMENT["torch"] == "2.11.0"
    assert _pinned(CONSTRAINTS["mdshare"]) == ENVIRONMENT["mdshare"] == "0.4.2"
    assert ENVIRONMENT["openmm-torch"] is not None
    assert len(ENVIRONMENT) >= 20
    assert len(CONSTRAINTS) >= 20


@pytest.mark.parametrize("name", sorted(set(ENVIRONMENT) - CONDA_ONLY))
def test_conda_pins_what_pip_pins(name):
    assert name in CONSTRAINTS, "pinned for conda, not for pip"
    assert ENVIRONMENT[name] == _pinned(CONSTRAINTS[name])


@pytest.mark.parametrize("name", sorted(CONSTRAINTS))
def test_every_pip_pin_is_used_and_lies_in_its_range(name):
    ranges = [r for r in RUNTIME + EXTRAS if canonicalize_name(r.name) == name]
    assert ranges, "constrained, but no dependency"
    for requirement in ranges:
        assert requirement.specifier.contains(_pinned(CONSTRAINTS[name])), requirement


@pytest.mark.parametrize("requirement", RUNTIME, ids=lambda r: r.name)
def test_every_runtime_dependency_is_pinned_for_both(requirement):
    name = canonicalize_name(requirement.name)
    assert name in CONSTRAINTS
    assert ENVIRONMENT.get(name), "not pinned in environment.yml"


def test_every_test_dependency_is_in_the_conda_environment():
    for text in PROJECT["optional-dependencies"]["test"]:
        assert ENVIRONMENT.get(canonicalize_name(Requirement(text).name)), text


def test_the_conda_python_and_its_torchforce():
    assert Version(ENVIRONMENT["python"]) >= Version("3.10")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(
        ENVIRONMENT["python"]
    )
    assert ENVIRONMENT["openmm-torch"]


def test_the_ranges_are_those_that_were_measured():
    """TorchForce works from torch 2.10 and fails from 2.13 on; PythonForce came with 8.5."""
    ranges = {requirement.name: requirement.specifier for requirement in RUNTIME}
    assert ranges["torch"].contains("2.10.0")
    assert ranges["torch"].contains("2.12.9")
    assert not ranges["torch"].contains("2.9.1")
    assert not ranges["torch"].contains("2.13.0")
    assert ranges["openmm"].contains("8.5.2")
    assert not ranges["openmm"].contains("8.4.0")
    assert PROJECT["requires-python"] == ">=3.10"


def test_the_torchforce_extras_pin_the_pair_that_works():
    extras = PROJECT["optional-dependencies"]
    for extra, plugin in (
        ("torchforce", "acellera-openmmtorch-cpu"),
        ("cuda", "acellera-openmmtorch-cu13"),
    ):
        pins = {r.name: _pinned(r) for r in map(Requirement, extras[extra])}
        assert pins["openmm"] == "8.5.2"
        assert pins[plugin] == "1.10"


def test_both_packages_and_the_command_are_installed():
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="symplectic-cv")
    assert command.value == PROJECT["scripts"]["symplectic-cv"]
    assert callable(command.load())
    for package in ("symplectic_cv", "openmm_plugin"):
        assert (ROOT / package / "py.typed").is_file()
