"""`symplectic-cv doctor`."""

from __future__ import annotations

from rich.table import Table

from openmm_plugin import diagnostics
from symplectic_cv.cli.console import console, note


def doctor() -> None:
    """Show what this installation can run, and how to mend what it cannot.

    Prints a table of the packages, the compiled code, the backends and the devices.

    Example: symplectic-cv doctor
    """
    table = Table(box=None, pad_edge=False)
    for column in ("part", "here", "what is wrong, and the remedy"):
        table.add_column(column, overflow="fold")
    found = list(diagnostics.findings())
    for finding in found:
        table.add_row(finding.part, finding.state, finding.problem or "")
    console.print(table)
    if diagnostics.slow_path() is not None:
        note("collective variables run, but slower than they could: see above")
    elif any(finding.problem for finding in found):
        note("the fastest path works; what is wrong above concerns alternatives")
