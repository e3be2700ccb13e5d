"""Errors caused by what a user gave: files, options, molecules.

Each message is one line that says what is wrong, where (file, frame, atom, parameter) and what
to do. It names parameters in backticks, as the Python argument is called; the command line shows
its own flags instead, prints the line and ends with exit status 2.
"""

from __future__ import annotations


class UserError(ValueError):
    """Base of all errors that a user can correct; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class RunWarning(UserWarning):
    """Something that a user should know about a run that goes on nevertheless."""


class DataWarning(RunWarning):
    """A warning about data on which a model can be evaluated, but with care.

    The message is one line. The command line prints it; in Python `warnings.filterwarnings` with
    this class turns such warnings off, or into errors.
    """


class TrajectoryError(UserError):
    """A trajectory or topology file that is missing, damaged or does not fit."""


class SelectionError(UserError):
    """Atoms that cannot carry a model: too few, collinear, or not in the system."""


class FrameError(UserError):
    """Coordinates for which the Eckart frame or the quasi-harmonic start does not exist."""


class ModelError(UserError):
    """A model folder or exported file that is missing a part, damaged or altered."""


class HamiltonianError(UserError):
    """A Hamiltonian that cannot be learned from: wrong shape, NaN, no gradient."""


class OptionError(UserError):
    """An option with a value that makes no sense here."""


class OutputError(UserError):
    """An output folder that cannot be written without losing data."""


class SamplingError(UserError):
    """A sampling that cannot work: no weight anywhere, or nothing ever accepted."""


class BackendError(UserError):
    """A backend that is absent, or a pair of versions known to crash."""
