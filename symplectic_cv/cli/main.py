"""Entry point of `symplectic-cv`: gathers the commands and reports users' errors."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from symplectic_cv.cli.console import error_console
from symplectic_cv.errors import UserError

COMMANDS = {
    "simulate": "Run molecular dynamics with OpenMM: the data to learn from.",
    "train": "Learn a neural canonical transformation from trajectory files.",
    "variational": "Learn one from a Hamiltonian alone, analytic or OpenMM's.",
    "thermodynamics": "Free energy, entropy and spectrum of a learned model.",
    "sample": "Draw unbiased samples of the Boltzmann distribution with a model.",
    "analyze": "Frequencies, mutual information with torsions, figures, report.",
    "export": "Write the slowest modes as a TorchScript collective variable.",
    "metadynamics": "Bias the slowest modes in OpenMM: metadynamics or OPES.",
    "adapt": "Rounds of training, biasing, and training again, until crossings stop growing.",
    "umbrella": "Umbrella windows along a mode or a path, combined with MBAR.",
    "reweight": "Free energies of biased runs in torsions and distances, with errors.",
    "path": "Draw a latent path between two conformations.",
    "doctor": "What this installation can run, and why not what it cannot.",
    "demo": "The whole job on alanine dipeptide, small, with a report.",
}
"""Every command in the order of a project, with its line of help; each is the function of its name
in the module of its name."""

SEVERAL_VALUES = {
    "--modes": re.compile(r"-?\d+"),
    "--stride": re.compile(r"-?\d+"),
    "--width": re.compile(r"-?\d*\.?\d+(e-?\d+)?"),
    "--forcefield": re.compile(r"[^-].*\.xml"),
    "--torsions": re.compile(r"[^-/.][^/.]*"),
    "--distances": re.compile(r"[\w'+-]+=\d+,\d+|[^-/.:][^/.:]*:[^/.:]+"),
    "--regions": re.compile(r"[\w'+-]+=.+:.+:.+"),
}
"""Options that take several values behind one flag, and what such a value looks like."""


CONTEXT = {"help_option_names": ["-h", "--help"]}


class _LazyCommands(TyperGroup):
    """Imports a command's module (and with it torch, OpenMM, …) only when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        """A stand-in, enough for the list of commands in the help."""
        return TyperCommand(name, help=COMMANDS[name]) if name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        single = typer.Typer(add_completion=False, context_settings=CONTEXT)
        command = getattr(importlib.import_module(f"symplectic_cv.cli.{name}"), name)
        single.command(name, help=_reflowed(command.__doc__))(command)
        return name, typer.main.get_command(single), rest


def _reflowed(text: str) -> str:
    """A docstring with one line a paragraph: the terminal, not the source, breaks its lines."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=_LazyCommands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def _version(show: bool) -> None:
    if show:
        from symplectic_cv.version import VERSION

        typer.echo(f"symplectic-cv {VERSION}")
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Collective variables from trajectories by neural canonical transformations.

    simulate (or your own files) → train → analyze → export → metadynamics, path.
    Units: nm, ps, Da, kJ/mol, K, rad/ps, nats.
    """


def expand_several_values(arguments: Sequence[str]) -> list[str]:
    """`--modes 0 1` as `--modes 0 --modes 1`, which the parser behind Typer understands.

    Example:
        >>> expand_several_values(["export", "--modes", "0", "1", "-o", "x"])
        ['export', '--modes', '0', '--modes', '1', '-o', 'x']
    """
    out: list[str] = []
    flag: str | None = None
    fresh = False
    for argument in arguments:
        if flag is not None and not fresh and SEVERAL_VALUES[flag].fullmatch(argument):
            out += [flag, argument]
            continue
        if fresh:
            fresh = False
            out.append(argument)
            continue
        flag = argument if argument in SEVERAL_VALUES else None
        fresh = flag is not None
        out.append(argument)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's error is one line on stderr and exit status 2."""
    arguments = expand_several_values(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(arguments, prog_name="symplectic-cv", standalone_mode=False)
    except UserError as error:
        error_console.print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        error_console.print("interrupted; finished parts are kept, --resume goes on")
        sys.exit(130)
    except typer.TyperException as error:
        if not error.format_message():  # no command at all: Typer has printed the help
            sys.exit(2)
        error_console.print(f"error: {error.format_message()}", style="red", markup=False)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)
