"""Options that several commands share, defined once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Device(str, Enum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Trajectories = Annotated[
    list[str],
    typer.Argument(
        metavar="TRAJ...",
        help="Trajectory files (.xtc .dcd .h5 .nc .trr .pdb, or .npz of positions in nm), "
        "or names mdshare:FILE.",
    ),
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder from `train`.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")]
Top = Annotated[
    Optional[Path],
    typer.Option("--top", help="Topology file; by default the one beside the first trajectory."),
]
Atoms = Annotated[
    Optional[str],
    typer.Option(
        "--atoms",
        help="MDTraj selection of the atoms to model (default: heavy atoms of the solute).",
    ),
]
MdshareFolder = Annotated[
    Path, typer.Option(help="Where files from the mdshare repository are kept.")
]
MdshareCatalogue = Annotated[
    Optional[Path], typer.Option(help="Catalogue (YAML) of an mdshare mirror.")
]
FlexibleSystem = Annotated[
    Optional[Path],
    typer.Option("--system", help="system.xml of the model's molecule, without constraints."),
]
SystemTop = Annotated[
    Optional[Path],
    typer.Option("--top", help="PDB of the molecule (default: topology.pdb beside --system)."),
]
Temperature = Annotated[float, typer.Option("--temperature", help="Temperature, K.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed that makes a run repeatable.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where torch computes.")]
Threads = Annotated[
    int, typer.Option("--threads", min=1, help="Threads for torch; small networks want 1.")
]
Modes = Annotated[
    list[int],
    typer.Option("--modes", metavar="K [K...]", help="Modes, 0 is the slowest: --modes 0 1."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")]
