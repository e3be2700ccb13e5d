"""COLVAR and HILLS in the format of PLUMED, of a biased run of this package.

`plumed sum_hills` reads HILLS, and COLVAR is read by whatever reads PLUMED's tables. Heights of
well-tempered hills are multiplied by γ/(γ − 1), as PLUMED writes them, so that their sum is −F.
"""

from __future__ import annotations

import numpy as np

from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.files.atomic import write_atomically

COLVAR, HILLS = "COLVAR", "HILLS"


def write_plumed_tables(run: BiasedRun) -> None:
    """Writes COLVAR, and for metadynamics HILLS, into the folder of a run.

    Args:
        run: The run, with its tables.
    """
    write_atomically(run.folder / COLVAR, colvar_text(run).encode())
    if run.hill_list is not None:
        write_atomically(run.folder / HILLS, hills_text(run).encode())


def colvar_text(run: BiasedRun) -> str:
    """The frames of a run as PLUMED writes them: time in ps, modes, bias and bias − c in kJ/mol.

    Args:
        run: The run.
    """
    frames = run.frames
    names = ["time", *run.record.modes, "metad.bias", "metad.rbias"]
    columns = [frames.time_ps, *frames.modes.T, frames.bias, frames.bias - frames.offset]
    if frames.extrapolation is not None:
        names.append("extrapolation")
        columns.append(frames.extrapolation)
    return _text(names, np.column_stack(columns))


def hills_text(run: BiasedRun) -> str:
    """The hills of a run as PLUMED writes them.

    Args:
        run: A run of metadynamics.
    """
    assert run.hill_list is not None
    hills, modes, factor = run.hill_list, run.record.modes, run.record.bias_factor
    names = ["time", *modes, *(f"sigma_{mode}" for mode in modes), "height", "biasf"]
    heights = hills.heights * factor / (factor - 1.0)
    columns = [hills.time_ps, *hills.centres.T, *hills.widths.T, heights]
    table = np.column_stack([*columns, np.full(len(heights), factor)])
    return _text(
        names, table[heights > 0.0], "#! SET multivariate false\n#! SET kerneltype gaussian\n"
    )


def _text(names: list[str], table: np.ndarray, settings: str = "") -> str:
    rows = [" " + " ".join(f"{number:.9g}" for number in row) for row in table]
    return "\n".join(["#! FIELDS " + " ".join(names)]) + f"\n{settings}" + "\n".join(rows) + "\n"
