"""The layers of the packages, and the rules of the house, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for package in ("symplectic_cv", "openmm_plugin")
    for path in (ROOT / package).rglob("*.py")
)
LEVELS = (
    ("errors", "units", "version", "statistics", "checks", "molecule"),
    ("files",),
    ("data", "flows"),
    ("charts",),
    ("models", "hamiltonians"),
    ("training", "sampling", "paths", "exporting"),
    ("bias",),
    ("analysis",),
    ("adaptation",),
    ("openmm_plugin",),
    ("reports",),
    ("cli",),
)
"""From the ground up; a module imports from its own level and from those below."""

MOST_LINES, MOST_LINES_OF_A_FUNCTION = 350, 80
LONG_FUNCTIONS = {
    "symplectic_cv/cli": "a command declares each of its options with its help",
    "openmm_plugin/biasing/metadynamics.py": "its docstring has an argument a line",
    "openmm_plugin/biasing/umbrella.py": "its docstring has an argument a line",
    "openmm_plugin/running/dynamics.py": "its docstring has an argument a line",
}
"""Places where a function may be longer, and why."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports, also inside of functions."""
    known = {module_name(source) for source in SOURCES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def level_of(module: str) -> int | None:
    """The level of a module; None for the package's own name table and for other packages."""
    package, *rest = module.split(".")
    if package == "openmm_plugin":
        folder = package
    elif package == "symplectic_cv" and rest:
        folder = rest[0]
    else:
        return None
    if folder in ("__main__", "_core"):
        return None
    found = [place for place, names in enumerate(LEVELS) if folder in names]
    assert found, f"{module}: its folder has no level"
    return found[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_upwards(path: Path) -> None:
    own = level_of(module_name(path))
    if own is None:
        return
    for imported in imports(path):
        level = level_of(imported)
        assert level is None or level <= own, f"{path.relative_to(ROOT)} imports {imported}"


def test_no_module_imports_itself_by_a_detour() -> None:
    known = {module_name(path): path for path in SOURCES}
    arrows = {
        name: {other for other in imports(path) if other in known and other != name}
        for name, path in known.items()
        if name not in ("symplectic_cv", "openmm_plugin")
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for other in sorted(arrows.get(name, ())):
            visit(other, (*way, name))
        done.add(name)

    assert len(arrows) > 100
    for name in sorted(arrows):
        visit(name, ())


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_only_reports_draw(package: str) -> None:
    users = {
        path.relative_to(ROOT).parts[1]
        for path in SOURCES
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert users == {"reports"}


def test_the_method_does_not_know_openmm() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(name.split(".")[0] in ("openmm", "openmm_plugin") for name in imports(path))
        and path.relative_to(ROOT).parts[0] == "symplectic_cv"
    }
    # reports show what a simulation left, and the command line starts it
    allowed = ("symplectic_cv/cli/", "symplectic_cv/reports/")
    assert not [user for user in users if not user.startswith(allowed)]


def test_only_the_command_line_prints() -> None:
    printing = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not any(keyword.arg == "file" for keyword in node.keywords)
    }
    assert all(name.startswith("symplectic_cv/cli/") for name in printing), printing


def test_nobody_else_uses_the_command_line() -> None:
    others = [*ROOT.glob("tutorials/*.py"), *ROOT.glob("benchmarks/*.py"), *SOURCES]
    users = {
        str(path.relative_to(ROOT)) for path in others if "symplectic_cv.cli" in path.read_text()
    }
    assert len(others) > 100
    assert all(
        name.startswith("symplectic_cv/cli/") or name == "symplectic_cv/__main__.py"
        for name in users
    ), users


def test_the_library_speaks_of_parameters_not_of_flags() -> None:
    """No text of the library holds a `--flag`; the command line puts flags in."""
    found = []
    for path in SOURCES:
        place = str(path.relative_to(ROOT))
        if place.startswith("symplectic_cv/cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = node.value.replace("`", " ").split()
                found += [
                    f"{place}: {word}"
                    for word in words
                    if word.startswith("--") and word[2:3].isalpha() and word not in PIP
                ]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_a_noun_or_a_statement(path: Path) -> None:
    """The first word of a docstring is no preposition and no question word."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            words = (ast.get_docstring(node) or "A").split()
            if words[0] in NO_BEGINNINGS:
                found.append(" ".join(words[:6]))
    assert not found


NO_BEGINNINGS = ("Of", "What", "Which", "Whose", "How", "Where", "When", "Why", "Whatever")


def test_the_library_speaks_of_functions_not_of_commands() -> None:
    """No text of the library tells a user of Python to run a command."""
    from symplectic_cv.cli.main import COMMANDS

    found = [
        f"{path.relative_to(ROOT)}: symplectic-cv {command}"
        for path in SOURCES
        if not str(path.relative_to(ROOT)).startswith("symplectic_cv/cli/")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for command in COMMANDS
        if f"symplectic-cv {command}" in node.value
    ]
    assert not found


PIP = ("--force-reinstall", "--no-deps", "--no-build-isolation")
"""Flags of pip, in remedies."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_of_a_size_to_be_read(path: Path) -> None:
    text = path.read_text()
    place = str(path.relative_to(ROOT))
    assert len(text.splitlines()) <= MOST_LINES, f"{place} is longer than {MOST_LINES} lines"
    if any(place.startswith(name) for name in LONG_FUNCTIONS):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{place}: {node.name} has {length} lines"
