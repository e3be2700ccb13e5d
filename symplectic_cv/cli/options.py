"""Declarations of arguments and options, and the options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from symplectic_cv.data.mdtraj_files import LengthUnit

HAS_METAVAR = hasattr(Parameter, "metavar")
"""Cyclopts for Python 3.10 has no names for the values of options in its help."""


def argument(name: str, *, help: str, required: bool | None = None) -> Parameter:
    """A positional argument.

    Args:
        name: The name of the argument in the help.
        help: The description of the argument.
        required: Whether the argument has to be given; by default, where it has no default value.
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
        names: The flag and its aliases; by default the parameter's name with dashes.
        help: The description of the option, with its unit.
        metavar: The name of the option's value in the help; by default its type.
        negative: The flag that means False.
        at_least: The smallest value that is accepted.
        at_most: The largest value that is accepted.
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


class Backend(str, Enum):
    AUTO = "auto"
    NATIVE = "native"
    TORCHFORCE = "torchforce"
    PYTHON = "python"
    OPENMM = "openmm"


class Device(str, Enum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Trajectory = Annotated[
    str,
    argument(
        "TRAJ",
        help="Trajectory files of any format that MDTraj reads, or .npz with positions in nm, "
        "or mdshare:FILE for a file of the mdshare repository.",
        required=True,
    ),
]
ModelFolder = Annotated[Path, argument("MODEL", help="Model folder written by train.")]
Output = Annotated[
    Path, option("--output", "-o", help="Folder to write into; it must be new or empty.")
]
Top = Annotated[
    Path | None,
    option("--top", help="Topology file. Default: the one beside the first trajectory."),
]
Atoms = Annotated[
    str | None,
    option(
        "--atoms",
        help="MDTraj selection of the atoms to model. Default: the heavy atoms of the solute.",
    ),
]
Strict = Annotated[
    bool,
    option("--strict", help="Refuse files that end in the middle of a frame."),
]
LengthUnitOption = Annotated[
    LengthUnit | None,
    option(
        "--length-unit",
        help="Unit of the numbers in the trajectory files. Default: that of their format; nm for "
        ".npz.",
    ),
]
MdshareFolder = Annotated[Path, option(help="Folder that keeps the files downloaded from mdshare.")]
MdshareCatalogue = Annotated[
    Path | None,
    option(help="Catalogue (YAML) of an mdshare mirror. Default: the public repository."),
]
FlexibleSystem = Annotated[
    Path | None,
    option("--system", help="The system.xml of the model's molecule, without constraints."),
]
SystemTop = Annotated[
    Path | None,
    option("--top", help="PDB file of the molecule. Default: topology.pdb beside --system."),
]
TrustSystem = Annotated[
    bool,
    option(
        "--trust-system",
        help="Open system.xml and force-field files that can run code (PythonForce, TorchForce, "
        "scripts); give it only where you trust their author.",
    ),
]
HamiltonianOption = Annotated[
    str | None,
    option(
        "--hamiltonian",
        metavar="FILE.py:CLASS",
        help="Your own Hamiltonian, for a model that was learned from it: a Python file runs only "
        "when you name it. Default: the built-in one that the model names.",
    ),
]
Temperature = Annotated[float, option("--temperature", help="Temperature in K.")]
Seed = Annotated[
    int,
    option(
        "--seed",
        at_least=0,
        help="Seed of the random numbers, at least 0; the same seed repeats the run.",
    ),
]
DeviceOption = Annotated[Device, option("--device", help="Device on which torch computes.")]
Threads = Annotated[
    int,
    option(
        "--threads",
        at_least=1,
        help="Number of threads for torch, at least 1; small networks are fastest with 1.",
    ),
]
Modes = Annotated[
    list[int],
    option("--modes", metavar="K [K...]", help="Numbers of the modes; mode 0 is the slowest."),
]
Resume = Annotated[bool, option("--resume", help="Continue the run that the output folder holds.")]
BackendOption = Annotated[
    Backend,
    option(
        "--backend",
        help="How OpenMM evaluates the modes; auto takes the fastest backend that works here. "
        "openmm, OpenMM's own forces, is for modes of torsions.",
    ),
]
Platform = Annotated[
    str | None,
    option("--platform", help="OpenMM platform. Default: the fastest for the size of the system."),
]
Precision = Annotated[
    str | None,
    option("--precision", help="Precision on a GPU: single, mixed or double. Default: mixed."),
]
DeviceIndex = Annotated[
    str | None,
    option(
        "--device-index",
        help="GPU, counted from 0, or several with commas. Walkers and windows take one each, in "
        "turn. Default: the first; all of them for walkers and windows.",
    ),
]
Timestep = Annotated[float, option("--timestep-fs", help="Time step in fs.")]
TemperatureOfModel = Annotated[
    float | None, option("--temperature", help="Temperature in K. Default: that of the model.")
]
