"""The entry point of `symplectic-cv`: it parses the command line and reports users' errors."""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter, Token, convert
from cyclopts.help import DefaultFormatter, HelpPanel

from symplectic_cv.cli.console import error_console, shown_warnings
from symplectic_cv.cli.errors import (
    flags_of,
    translated,
    translation,
    unknown_command,
    usage_message,
)
from symplectic_cv.errors import UserError

COMMANDS = {
    "simulate": "Run molecular dynamics with OpenMM to get training data.",
    "train": "Train a neural canonical transformation on trajectory files.",
    "variational": "Train a transformation on a Hamiltonian alone, analytic or OpenMM's.",
    "thermodynamics": "Compute free energy, entropy and spectrum of a trained model.",
    "sample": "Draw unbiased samples of the Boltzmann distribution with a model.",
    "analyze": "Report frequencies of the modes and what they tell of torsions.",
    "export": "Write the slowest modes as a TorchScript collective variable.",
    "metadynamics": "Bias the slowest modes in OpenMM with metadynamics or OPES.",
    "adapt": "Alternate training and biasing until crossings stop growing.",
    "umbrella": "Run umbrella windows along a mode or a path; combine them with MBAR.",
    "reweight": "Compute free energies of biased runs in torsions and distances.",
    "path": "Draw a latent path between two conformations.",
    "doctor": "Show what this installation can run, and how to mend the rest.",
    "demo": "Run the whole workflow on alanine dipeptide, in small, with a report.",
}
"""The commands in the order of a project, each with its line of help. A command is the function of
its name in the module of its name. That module, with torch and OpenMM, is imported on first use."""

ABOUT = """Collective variables from trajectories by neural canonical transformations.

The usual order: simulate (or your own files), train, analyze, export, metadynamics.

Units: nm, ps, Da, kJ/mol, K, rad/ps, nats.
"""


class _Help(DefaultFormatter):
    """Tables of options in which a default value stands as a user would type it."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        entries = [entry.copy(default=_typed(entry.default)) for entry in panel.entries]
        super().__call__(console, options, panel.copy(entries=entries))


def _typed(default: str | None) -> str | None:
    """A default value as a user would type it; None for flags that are off.

    Example:
        >>> _typed("(-9.0, 9.0)"), _typed("['auto']"), _typed("False")
        ('-9.0 9.0', 'auto', None)
    """
    if default is None or default in ("False", "[]"):
        return None
    return " ".join(part.strip(" ()[]'") for part in default.split(","))


def _value(hint: Any, tokens: Sequence[Token]) -> Any:
    """Converts words as Cyclopts does, but refuses fractions for whole numbers."""
    if int in (hint, *get_args(hint)):
        for token in tokens:
            if not _is_whole_number(token.value):
                raise ValueError(f"{token.value!r} is not a whole number")
    return convert(hint, tokens)


def _version() -> str:
    from symplectic_cv.version import VERSION

    return f"symplectic-cv {VERSION}"


def build_app() -> App:
    """The command line; no command's module is imported before that command is used."""
    options = Group("Options", sort_key=1)
    app = App(
        name="symplectic-cv",
        help=ABOUT,
        version=_version,
        help_format="plaintext",
        help_formatter=_Help(),
        suppress_keyboard_interrupt=False,
        group_commands=Group("Commands", sort_key=0),
        group_parameters=options,
        default_parameter=Parameter(
            allow_repeating=True,
            consume_multiple=(1, None),
            converter=_value,
            json_list=False,
            negative=(),
        ),
    )
    for order, (name, line) in enumerate(COMMANDS.items()):
        app.command(f"symplectic_cv.cli.{name}:{name}", name=name, help=line, sort_key=order)
    for flag, line in (("--help", "Show this help."), ("--version", "Show the version.")):
        app[flag].group = options
        app[flag].help = line
    return app


def _import(app: App, name: str) -> ArgumentCollection:
    """Imports a command and returns what it declares."""
    command = app[name]
    text = inspect.getdoc(command.default_command) or ""
    # one line a paragraph: the terminal, not the source, breaks the lines
    command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    return command.assemble_argument_collection()


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def _terminations() -> Iterator[None]:
    """Raises `Terminated` on SIGTERM within this context; outside of the main thread it cannot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and exits.

    The exit status is 0 for success, 2 for a user's error, which is one line on stderr, 130 for a
    run that was interrupted by Ctrl-C, and 143 for one that was terminated by SIGTERM.

    Args:
        arguments: The words after the program's name; those of the process where None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminations():
            status = _run(words)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        what = "terminated" if terminated else "interrupted"
        error_console.print(f"{what}; finished parts are kept, --resume goes on")
        sys.exit(128 + (signal.SIGTERM if terminated else signal.SIGINT))
    sys.exit(status)


def _run(words: list[str]) -> int:
    """Runs a command line and returns its exit status."""
    app = build_app()
    if words and words[0] not in (*COMMANDS, *app.help_flags, *app.version_flags):
        return _refuse(unknown_command(words[0], list(COMMANDS)))
    try:
        if words and words[0] in COMMANDS:
            collection = _import(app, words[0])
            flags = flags_of(words[0], collection)
            words = words[:1] + positionals_first(words[1:], collection)
        else:
            flags = {}
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _refuse(usage_message(error))
    with translation(flags), shown_warnings():
        try:
            command(*bound.args, **bound.kwargs)
        except UserError as error:
            return _refuse(translated(str(error)))
    return 0 if words else 2


def _refuse(message: str) -> int:
    error_console.print(f"error: {message}", style="red", markup=False)
    return 2


def positionals_first(words: Sequence[str], arguments: ArgumentCollection) -> list[str]:
    """Moves positional arguments that follow the values of an option to the front.

    An option of several whole numbers ends at the first word that is no whole number, so that
    `--modes 0 1 MODEL` reads as `MODEL --modes 0 1`.

    Args:
        words: The words of the command line after the command's name.
        arguments: The arguments that the command declares.
    """
    several = {
        name
        for argument in arguments
        if argument.hint == list[int] or list[int] in get_args(argument.hint)
        for name in argument.names
    }
    front: list[str] = []
    rest: list[str] = []
    values: int | None = None  # of the option that takes whole numbers, so far
    for place, word in enumerate(words):
        if word == "--":
            return front + rest + list(words[place:])
        flag, equals, _ = word.partition("=")
        if flag in several:
            values = len(equals)
        elif values is not None and _is_whole_number(word):
            values += 1
        elif values and not word.startswith("-"):
            front.append(word)
            continue
        else:
            values = None
        rest.append(word)
    return front + rest


def _is_whole_number(word: str) -> bool:
    try:
        int(word)
    except ValueError:
        return False
    return True
