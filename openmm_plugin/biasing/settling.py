"""Decisions before the first step of a biased run: the widths of the hills and the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import openmm

from openmm_plugin.biasing.equilibration import equilibrate
from openmm_plugin.biasing.native_engine import carried_file
from openmm_plugin.biasing.options import BiasOptions
from openmm_plugin.systems import MolecularSystem
from symplectic_cv.bias.run import RECORD, BiasRecord
from symplectic_cv.errors import OutputError

FIXED = ("method", "modes", "widths", "grid", "wall", "bias_factor", "temperature")
"""Fields of bias.json that cannot change when a run is resumed."""


@dataclass(frozen=True)
class SettledBias:
    """A bias whose widths are known.

    Attributes:
        options: The options, with widths.
        record: What bias.json says.
        file: The file of the native force that holds the grid itself; None where OpenMM does.
        start: The relaxed state, where it was needed to find the widths; else None.
    """

    options: BiasOptions
    record: BiasRecord
    file: bytes | None
    start: openmm.State | None = None


def settle(
    molecule: MolecularSystem,
    forces: list[openmm.Force],
    mode_names: Sequence[str],
    options: BiasOptions,
    folder: Path,
    platform: openmm.Platform,
) -> SettledBias:
    """The bias with the widths of bias.json, or those that a short unbiased run shows.

    A new run gets its bias.json here.

    Args:
        molecule: The molecule and the structure to start from.
        forces: One force per mode.
        mode_names: The name of each mode, such as `mode_0`.
        options: The options; `width` is None where the widths are still to be found.
        folder: The folder of the run.
        platform: OpenMM's platform.

    Raises:
        OptionError: A grid that OpenMM cannot fit anew at each hill.
        OutputError: The folder holds a run with another bias.
        SimulationError: The equilibration blew up.
    """
    file = carried_file(forces) if options.own_grid and not options.opes else None
    if (folder / RECORD).is_file():
        before = BiasRecord.read(folder)
        if options.width is None:
            options = replace(options, width=tuple(before.widths))
        now = options.record(mode_names)
        for name in FIXED:
            if getattr(before, name) != getattr(now, name):
                raise OutputError(
                    f"{folder / RECORD}: cannot resume, {name} was {getattr(before, name)} and is "
                    f"now {getattr(now, name)}: give the same options, or start anew in another "
                    "folder"
                )
        return SettledBias(options, now, file)
    start = None
    if options.width is None:
        start, fluctuation = equilibrate(molecule, forces, options, platform, folder)
        options = options.with_fluctuation(fluctuation.tolist(), file is not None)
    options.check_grid(len(forces), file is not None)
    record = options.record(mode_names)
    record.write(folder)
    return SettledBias(options, record, file, start)
