"""Checks of option values: names of choices, whole numbers and finite numbers.

Option dataclasses call these functions in `__post_init__`, so that plain strings are accepted
wherever a choice is meant, and a value that makes no sense is refused where it is given.
"""

from __future__ import annotations

import math
import operator
from enum import Enum
from typing import Any, TypeVar

from symplectic_cv.errors import OptionError

Choice = TypeVar("Choice", bound=Enum)
Kind = TypeVar("Kind")


def choose(kind: type[Choice], value: Choice | str, name: str) -> Choice:
    """The member of an enumeration that a string or a member stands for.

    Frozen dataclasses of options use it as
    `object.__setattr__(self, "flow", choose(Flow, self.flow, "flow"))`, or `set_choices`.

    Args:
        kind: The enumeration; the values of its members are the strings that users write.
        value: A member of the enumeration, or the value of one.
        name: The parameter that holds the value, for the message.

    Raises:
        OptionError: The value is none of the choices; the message names them.

    Example:
        >>> class Colour(str, Enum):
        ...     RED = "red"
        ...     BLUE = "blue"
        >>> choose(Colour, "red", "colour")
        <Colour.RED: 'red'>
        >>> choose(Colour, "green", "colour")
        Traceback (most recent call last):
        symplectic_cv.errors.OptionError: `colour` must be red or blue; got 'green'
    """
    if isinstance(value, kind):
        return value
    try:
        return kind(value)
    except ValueError:
        pass
    *first, last = (str(member.value) for member in kind)
    choices = f"{', '.join(first)} or {last}" if first else last
    shown = value.value if isinstance(value, Enum) else value
    raise OptionError(f"`{name}` must be {choices}; got {shown!r}")


def set_choices(options: Any, **kinds: type[Enum]) -> None:
    """Replaces the strings in the named fields of a frozen dataclass by members.

    Args:
        options: The dataclass; called in its `__post_init__`.
        kinds: The enumeration of each field; a field that is None stays None.

    Raises:
        OptionError: A field holds none of its choices.
    """
    for name, kind in kinds.items():
        value = getattr(options, name)
        if value is not None:
            object.__setattr__(options, name, choose(kind, value, name))


def check_whole(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """A whole number as an int.

    Args:
        value: An int, or a NumPy integer.
        name: The parameter that holds the value, for the message.
        least: The smallest number allowed.
        most: The largest number allowed; no limit where None.

    Raises:
        OptionError: The value is not a whole number, or out of range.

    Example:
        >>> check_whole(5, "steps")
        5
        >>> check_whole(0.5, "steps")
        Traceback (most recent call last):
        symplectic_cv.errors.OptionError: `steps` must be a whole number; got 0.5
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"`{name}` must be a whole number; got {value!r}") from None
    if most is not None and not least <= number <= most:
        raise OptionError(f"`{name}` must be from {least} to {most}; got {number}")
    if number < least:
        raise OptionError(f"`{name}` must be at least {least}; got {number}")
    return number


def check_number(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """A finite number within its limits, as a float.

    Args:
        value: An int, a float, or a NumPy number.
        name: The parameter that holds the value, for the message.
        above: The value must be greater than this.
        least: The value must not be smaller than this.
        below: The value must be smaller than this.
        most: The value must not be greater than this.

    Raises:
        OptionError: The value is not a finite number, or out of range.

    Example:
        >>> check_number(2, "height", above=0.0)
        2.0
        >>> check_number(float("nan"), "height", above=0.0)
        Traceback (most recent call last):
        symplectic_cv.errors.OptionError: `height` must be a finite number; got nan
        >>> check_number(0, "height", above=0.0)
        Traceback (most recent call last):
        symplectic_cv.errors.OptionError: `height` must be positive; got 0
    """
    try:
        if isinstance(value, (str, bool)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise OptionError(f"`{name}` must be a number; got {value!r}") from None
    if not math.isfinite(number):
        raise OptionError(f"`{name}` must be a finite number; got {value}")
    wanted = None
    if above is not None and not number > above:
        wanted = "positive" if above == 0.0 else f"above {above:g}"
    elif least is not None and not number >= least:
        wanted = "0 or more" if least == 0.0 else f"at least {least:g}"
    elif below is not None and not number < below:
        wanted = f"below {below:g}"
    elif most is not None and not number <= most:
        wanted = f"at most {most:g}"
    if wanted is not None:
        raise OptionError(f"`{name}` must be {wanted}; got {value}")
    return number


def check_kind(value: Kind | None, kind: type[Kind], name: str) -> Kind:
    """Options of a kind; the default ones where None.

    Args:
        value: The options.
        kind: The dataclass that they must be.
        name: The parameter that holds them, for the message.

    Raises:
        OptionError: The value is of another type.

    Example:
        >>> check_kind({"step": 1}, slice, "options")
        Traceback (most recent call last):
        symplectic_cv.errors.OptionError: `options` must be of the class slice; got dict
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise OptionError(
            f"`{name}` must be of the class {kind.__name__}; got {type(value).__name__}"
        )
    return value
