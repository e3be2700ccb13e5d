"""Error messages of the command line, in the flags of the running command."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from cyclopts import (
    ArgumentCollection,
    CycloptsError,
    MissingArgumentError,
    UnusedCliTokensError,
)

SYNONYMS = {
    "folder": "output",
    "high": "range",
    "low": "range",
    "topology": "top",
}
"""Names in the library to names in the commands, where the two differ."""

SYNONYMS_OF_COMMANDS = {
    "adapt": {"data": "trajectories"},
    "export": {"path": "output"},
    "train": {"energies": "system"},
}
"""The same for single commands."""

COMMANDS_OF_CALLS = {
    "symplectic_cv.export": "export",
    "symplectic_cv.fit": "train",
    "symplectic_cv.variational": "variational",
    "openmm_plugin.simulate": "simulate",
}
"""Functions of the library that messages name, to the commands that call them."""

CALL = re.compile(r"`((?:symplectic_cv|openmm_plugin)\.\w+)`")
QUOTED = re.compile(r"`([A-Za-z_]\w*)(?:=([^`]*))?`")

_flags: ContextVar[Mapping[str, str] | None] = ContextVar("flags", default=None)


def flags_of(command: str, arguments: ArgumentCollection) -> dict[str, str]:
    """The names that a command's user knows its parameters by.

    Args:
        command: The name of the command.
        arguments: What the command declares.

    Returns:
        Python's name of each parameter, and the library's where it differs, to the flag of the
        option or the name of the positional argument.
    """
    flags = {}
    for argument in arguments:
        long = [name for name in argument.names if name.startswith("--")]
        # a name such as range_ only makes way for Python's own
        name = argument.field_info.name.removesuffix("_")
        flags[name] = long[0] if long else argument.name
        if long:
            flags.setdefault(long[0].strip("-").replace("-", "_"), long[0])
    for library, own in (SYNONYMS | SYNONYMS_OF_COMMANDS.get(command, {})).items():
        if own in flags:
            flags.setdefault(library, flags[own])
    return flags


@contextmanager
def translation(flags: Mapping[str, str]) -> Iterator[None]:
    """Within this context `translated` replaces parameters by these flags."""
    token = _flags.set(flags)
    try:
        yield
    finally:
        _flags.reset(token)


def translated(message: str) -> str:
    """A message of the library, with parameters as flags of the running command.

    Functions become commands.

    Example:
        >>> with translation({"bias_factor": "--bias-factor", "opes": "--opes"}):
        ...     translated("`bias_factor` must be above 1; leave out `opes=True` and `other`")
        '--bias-factor must be above 1; leave out --opes and `other`'
        >>> with translation({}):
        ...     translated("no such file (`symplectic_cv.export` writes one)")
        'no such file (`symplectic-cv export` writes one)'
    """
    flags = _flags.get()
    if flags is None:
        return message

    def replacement(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in flags:
            return match[0]
        if value is None or value == "True":
            return flags[name]
        return f"{flags[name]} {value.strip(chr(39) + chr(34))}"

    def command(match: re.Match[str]) -> str:
        name = COMMANDS_OF_CALLS.get(match[1])
        return match[0] if name is None else f"`symplectic-cv {name}`"

    return QUOTED.sub(replacement, CALL.sub(command, message))


def unknown_command(name: str, commands: Sequence[str]) -> str:
    """The error message for a command that does not exist."""
    if name.startswith("-"):
        return f"no option {name} before a command; see symplectic-cv --help"
    near = difflib.get_close_matches(name, commands, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"one of {', '.join(commands)}"
    return f"no command {name!r}: {remedy}"


def usage_message(error: CycloptsError) -> str:
    """The error message for a wrong command line, in one line."""
    error.verbose = False
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        argument = error.argument
        if argument.index is not None:
            return (
                f"the argument {argument.name} is missing; it comes before options that take "
                "several values"
            )
        count, _ = argument.token_count()
        flag = error.keyword or argument.name
        return f"{flag} takes {count} values" if count > 1 else f"{flag} takes a value"
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected argument {(error.unused_tokens or [''])[0]!r}; options begin with --"
    return " ".join(str(error).split())
