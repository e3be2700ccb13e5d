"""HTML pages from the templates beside this module: one file each, with its pictures inside."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from symplectic_cv.files.atomic import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
REPORT = "report.html"


def data_uri(png: str | Path) -> str:
    """A PNG file as the address of an embedded picture."""
    return "data:image/png;base64," + base64.b64encode(Path(png).read_bytes()).decode()


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment


ENVIRONMENT = _environment()


def render_page(template: str, **content: Any) -> str:
    """A whole page of HTML. Every value is escaped, and pictures become part of the page.

    Args:
        template: The name of a template, such as "analysis.html".
        content: The variables that the template uses.

    Raises:
        jinja2.UndefinedError: A variable of the template is missing.

    Example:
        >>> "<title>a &lt;b&gt;</title>" in render_page("base.html", title="a <b>")
        True
    """
    return ENVIRONMENT.get_template(template).render(**content)


def write_page(path: str | Path, template: str, **content: Any) -> None:
    """Writes a page, whole or not at all; the arguments are those of `render_page`.

    Args:
        path: The file to write.
        template: The name of a template.
        content: The variables that the template uses.
    """
    write_atomically(Path(path), render_page(template, **content).encode())
