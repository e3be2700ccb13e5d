"""The public names of `symplectic_cv`: all there, loaded when they are used, without OpenMM."""

from __future__ import annotations

import subprocess
import sys

import pytest

import symplectic_cv as sc


@pytest.mark.parametrize("name", sc.__all__)
def test_every_public_name_is_there(name):
    assert getattr(sc, name) is not None
    assert name in dir(sc)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sc.nothing


def test_the_package_loads_nothing_large_and_its_names_no_plugin():
    script = (
        "import sys, symplectic_cv as sc\n"
        "large = {'torch', 'mdtraj', 'pandas', 'openmm', 'matplotlib', 'lightning'}\n"
        "assert not large & set(sys.modules), large & set(sys.modules)\n"
        "for name in sc.__all__: getattr(sc, name)\n"
        "assert not {'openmm_plugin', 'MDAnalysis', 'symplectic_cv.reports'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
