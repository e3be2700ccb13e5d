"""How the commands declare arguments and options, and the options that several of them share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

HAS_METAVAR = hasattr(Parameter, "metavar")
"""Cyclopts for Python 3.10 has no names for the values of options in its help."""


def argument(name: str, *, help: str, required: bool | None = None) -> Parameter:
    """A positional argument.

    Args:
        name: what the help calls the argument.
        help: what the argument is.
        required: whether the argument has to be given; by default, where it has no default value.
    """
    return Parameter(name=name, help=help, required=required)


def option(
    *names: str,
    help: str,
    metavar: str | None = None,
    negative: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Parameter:
    """An option of a command.

    Args:
        names: the flag and its aliases; by default the parameter's name with dashes.
        help: what the option is, with its unit.
        metavar: what the help calls the option's value; by default its type.
        negative: the flag that stands for False.
        at_least: the smallest value that is accepted.
        at_most: the largest value that is accepted.
    """
    settings: dict[str, Any] = {"help": help}
    if names:
        settings["name"] = names
    if metavar is not None and HAS_METAVAR:
        settings["metavar"] = metavar
    if negative is not None:
        settings["negative"] = negative
    if at_least is not None or at_most is not None:
        settings["validator"] = validators.Number(gte=at_least, lte=at_most)
    return Parameter(**settings)


class Device(str, Enum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Trajectory = Annotated[
    str,
    argument(
        "TRAJ",
        help="Trajectory files (.xtc .dcd .h5 .nc .trr .pdb, or .npz of positions in nm), "
        "or names mdshare:FILE.",
        required=True,
    ),
]
ModelFolder = Annotated[Path, argument("MODEL", help="Model folder from `train`.")]
Output = Annotated[Path, option("--output", "-o", help="Folder to write into.")]
Top = Annotated[
    Path | None,
    option("--top", help="Topology file; by default the one beside the first trajectory."),
]
Atoms = Annotated[
    str | None,
    option(
        "--atoms",
        help="MDTraj selection of the atoms to model (default: heavy atoms of the solute).",
    ),
]
MdshareFolder = Annotated[Path, option(help="Where files from the mdshare repository are kept.")]
MdshareCatalogue = Annotated[Path | None, option(help="Catalogue (YAML) of an mdshare mirror.")]
FlexibleSystem = Annotated[
    Path | None,
    option("--system", help="system.xml of the model's molecule, without constraints."),
]
SystemTop = Annotated[
    Path | None,
    option("--top", help="PDB of the molecule (default: topology.pdb beside --system)."),
]
Temperature = Annotated[float, option("--temperature", help="Temperature, K.")]
Seed = Annotated[int, option("--seed", at_least=0, help="Seed that makes a run repeatable.")]
DeviceOption = Annotated[Device, option("--device", help="Where torch computes.")]
Threads = Annotated[
    int, option("--threads", at_least=1, help="Threads for torch; small networks want 1.")
]
Modes = Annotated[
    list[int],
    option("--modes", metavar="K [K...]", help="Modes, 0 is the slowest: --modes 0 1."),
]
Resume = Annotated[bool, option("--resume", help="Go on with the run in the output folder.")]
