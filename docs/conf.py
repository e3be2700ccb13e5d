"""Sphinx: the pages of this folder, and the reference written from the docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import openmm_plugin
import symplectic_cv
import symplectic_cv.reports

HERE = Path(__file__).parent

project = "symplectic-cv"
author = "The symplectic-cv developers"
version = release = symplectic_cv.__version__
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "symplectic-cv"
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes"), ("Example", "example")]
default_role = "code"
python_use_unqualified_type_names = True


# The reference: one page a package, in the order of its own table of public names, and one page of
# figures. The pages are written anew at each build and are not kept in git.

TITLES = {
    "symplectic_cv": "symplectic_cv: models, paths, weights",
    "openmm_plugin": "openmm_plugin: forces, simulations, biased runs",
    "figures": "symplectic_cv.reports: figures",
}


def write_reference(app: Sphinx) -> None:
    """Writes docs/api/*.rst from the tables of public names."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for package in (symplectic_cv, openmm_plugin):
        name = package.__name__
        lines = [_title(TITLES[name]), f".. py:module:: {name}", ""]
        for members in package._NAMES.values():
            for member in members.split():
                lines += _entry(name, member, getattr(package, member))
        _write(folder / f"{name}.rst", lines)
    lines = [_title(TITLES["figures"]), "Each function draws into `ax`, or into a new figure.", ""]
    for info in pkgutil.iter_modules(symplectic_cv.reports.__path__):
        module = importlib.import_module(f"symplectic_cv.reports.{info.name}")
        figures = [n for n, f in vars(module).items() if _is_figure(n, f, module.__name__)]
        for figure in figures:
            lines += _entry(module.__name__, figure, getattr(module, figure))
    _write(folder / "figures.rst", lines)


def _is_figure(name: str, value: Any, module: str) -> bool:
    return name.startswith("plot_") and getattr(value, "__module__", "") == module


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _entry(module: str, name: str, value: Any) -> list[str]:
    """The directive of one public name, with the members that its own class defines."""
    if not inspect.isclass(value):
        return [f".. autofunction:: {module}.{name}", ""]
    return [f".. autoclass:: {module}.{name}", "   :members:", "   :show-inheritance:", ""]


def _write(path: Path, lines: list[str]) -> None:
    """Leaves a file alone that would be the same, so that Sphinx does not read it again."""
    text = "\n".join(lines)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def plain_docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Our docstrings are plain text: |x| and x_ are mathematics, not reStructuredText."""
    for place, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            lines[place] = re.sub(r"(?<![\\`])\|", r"\\|", line)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", plain_docstring)
