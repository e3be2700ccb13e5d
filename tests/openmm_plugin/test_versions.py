"""The backend that is chosen for installed versions, before anything is loaded."""

import importlib.metadata
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from openmm_plugin import versions
from symplectic_cv.errors import BackendError, OptionError

GOOD = {"openmm": "8.5.2", "torch": "2.11.0", "acellera-openmmtorch-cpu": "1.10"}


@pytest.fixture
def installed(monkeypatch):
    """installed(versions, compiled): these packages are there and no others.

    `compiled` is the OpenMM that the native force was compiled against; None for no compiler.
    """

    def pretend(packages, compiled=None):
        known = {name.lower(): text for name, text in packages.items()}

        def version(name):
            if name.lower() not in known:
                raise PackageNotFoundError(name)
            return known[name.lower()]

        # `versions` took the function by name; both are replaced, whichever it asks
        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(versions, "version", version)
        monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: None)
        files = {} if compiled is None else {compiled: Path("_flow_force.so")}
        problem = "the core is not compiled" if compiled is None else None
        monkeypatch.setattr(versions, "library_files", lambda: files)
        monkeypatch.setattr(versions, "core_problem", lambda: problem)

    return pretend


def test_the_tested_versions_give_torchforce(installed):
    installed(GOOD)
    assert versions.torchforce_problem() is None
    assert versions.pythonforce_problem() is None
    assert versions.choose_backend("auto") == "torchforce"
    assert versions.choose_backend("torchforce") == "torchforce"
    assert versions.choose_backend("python") == "python"


@pytest.mark.parametrize("openmm", ["8.6.0", "8.6.1", "8.6.1.dev0", "8.7", "9.0"])
def test_the_pair_that_crashes_is_refused(installed, openmm):
    installed(GOOD | {"openmm": openmm})
    with pytest.raises(
        BackendError, match=rf"`backend=torchforce`: OpenMM {openmm} crashes"
    ) as info:
        versions.choose_backend("torchforce")
    assert "pip install 'openmm==8.5.2'" in str(info.value)
    assert versions.choose_backend("auto") == "python"


@pytest.mark.parametrize("torch", ["2.13.0", "2.13.0+cpu", "2.14.1", "3.0", "2.9.1", "1.13"])
def test_a_torch_outside_of_the_range_is_refused(installed, torch):
    installed(GOOD | {"torch": torch})
    with pytest.raises(BackendError, match=r"needs torch >= 2\.10, < 2\.13") as info:
        versions.choose_backend("torchforce")
    assert torch in str(info.value)
    assert "pip install 'torch==2.11.0'" in str(info.value)
    assert versions.choose_backend("auto") == "python"


@pytest.mark.parametrize("torch", ["2.10.0", "2.11.0+cu130", "2.12.9"])
def test_a_torch_inside_of_the_range_is_taken(installed, torch):
    installed(GOOD | {"torch": torch})
    assert versions.choose_backend("auto") == "torchforce"


def test_without_a_package_python_is_chosen_and_the_remedy_is_told(installed):
    installed({"openmm": "8.5.2", "torch": "2.11.0"})
    assert versions.choose_backend("auto") == "python"
    with pytest.raises(BackendError, match=r"pip install 'symplectic-cv\[torchforce\]'"):
        versions.choose_backend("torchforce")


def test_conda_forges_build_needs_no_check_of_versions(installed, monkeypatch):
    """It has no pip metadata, and was built with the torch and the OpenMM beside it."""
    installed({"openmm": "8.6.1", "torch": "2.13.0"})
    monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: object())
    assert versions.choose_backend("auto") == "torchforce"


def test_the_native_force_comes_first_where_it_fits(installed):
    installed(GOOD, compiled=(8, 5))
    assert versions.native_problem() is None
    assert versions.choose_backend("auto") == "native"
    assert versions.choose_backend("native") == "native"
    assert versions.choose_backend("auto", has_core=False) == "torchforce"
    with pytest.raises(BackendError, match=r"no cv\.safetensors beside cv\.pt"):
        versions.choose_backend("native", has_core=False)


@pytest.mark.parametrize("openmm", ["8.6.1", "8.5.2"])
def test_a_force_for_another_openmm_gives_way_to_pythonforce(installed, openmm):
    installed(GOOD | {"openmm": openmm}, compiled=(8, 4))
    assert versions.choose_backend("auto") == "python"
    with pytest.raises(BackendError) as info:
        versions.choose_backend("native")
    assert f"compiled against OpenMM 8.4, installed is {openmm}: pip install" in str(info.value)
    assert "\n" not in str(info.value)


def test_without_a_compiler_the_remedy_is_told(installed):
    installed(GOOD)
    with pytest.raises(BackendError, match=r"not compiled here: install a C\+\+ compiler"):
        versions.choose_backend("native")


def test_an_openmm_without_pythonforce_is_refused(installed):
    installed({"openmm": "8.4.0", "torch": "2.11.0"})
    with pytest.raises(BackendError, match=r"`backend=python`: OpenMM 8\.4\.0 has no PythonForce"):
        versions.choose_backend("python")
    with pytest.raises(BackendError, match=r"no TorchForce package.*; OpenMM 8\.4\.0"):
        versions.choose_backend("auto")


def test_without_openmm_both_are_refused(installed):
    installed({"torch": "2.11.0", "acellera-openmmtorch-cpu": "1.10"})
    with pytest.raises(BackendError, match="OpenMM or torch is not installed"):
        versions.choose_backend("torchforce")
    with pytest.raises(BackendError, match="OpenMM is not installed: pip install"):
        versions.choose_backend("python")


def test_versions_are_read_as_numbers(installed):
    installed({"torch": "2.11.0+cu130", "OpenMM": "8"})
    assert versions.installed_version("torch") == ("2.11.0+cu130", (2, 11))
    assert versions.installed_version("absent", "openmm") == ("8", (8, 0))
    assert versions.installed_version("absent") is None


def test_this_installation_runs_all_backends():
    """The tests of the forces run TorchForce for real: a broken installation shows here."""
    assert versions.torchforce_problem() is None
    assert versions.pythonforce_problem() is None
    assert versions.native_problem() is None


def test_nothing_is_loaded_to_decide():
    script = (
        "import sys\n"
        "from openmm_plugin.versions import choose_backend\n"
        "print(choose_backend('torchforce'), choose_backend('auto'), choose_backend('python'))\n"
        "print(sorted({'openmm', 'openmmtorch', 'torch', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["torchforce native python", "[]"]


def test_torsion_modes_take_the_native_force_on_the_cpu_alone(installed):
    installed(GOOD, compiled=(8, 5))
    assert versions.choose_torsion_backend("auto", "Reference") == "native"
    assert versions.choose_torsion_backend("auto", "CPU") == "native"
    for platform in ("CUDA", "HIP", "OpenCL", None):
        assert versions.choose_torsion_backend("auto", platform) == "openmm"
        assert versions.choose_torsion_backend("native", platform) == "native"
    assert versions.choose_torsion_backend("openmm", "CPU") == "openmm"
    assert versions.choose_torsion_backend("torchforce", "CPU") == "torchforce"
    installed(GOOD)
    assert versions.choose_torsion_backend("auto", "CPU") == "openmm"
    with pytest.raises(BackendError, match="`backend=native`: the native force is not compiled"):
        versions.choose_torsion_backend("native", "CPU")
    with pytest.raises(OptionError, match=r"got 'gpu' \(openmm is for modes"):
        versions.choose_torsion_backend("gpu")
    with pytest.raises(BackendError, match="`backend=openmm` is for modes of torsions"):
        versions.choose_backend("openmm")


def test_two_wheels_of_torchforce_are_told(monkeypatch):
    monkeypatch.setattr(versions, "installed_version", lambda *names: ("1.10", (1, 10)))
    problem = versions.torchforce_problem()
    assert "acellera-openmmtorch-cpu and acellera-openmmtorch-cu13 are both installed" in problem
    assert "pip uninstall -y" in problem


def test_torsion_modes_are_native_on_a_gpu_where_the_force_holds_the_grid():
    for platform in versions.ON_GPU:
        assert versions.choose_torsion_backend("auto", platform, own_grid=True) == "native"
        assert versions.choose_torsion_backend("auto", platform) == "openmm"
