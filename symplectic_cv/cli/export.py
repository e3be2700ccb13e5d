"""`symplectic-cv export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note
from symplectic_cv.exporting.native_file import SUFFIX
from symplectic_cv.exporting.plumed import export_for_plumed, plumed_files
from symplectic_cv.exporting.torchscript import export as write_export
from symplectic_cv.files.run_folder import require_free_file
from symplectic_cv.models.model_folder import load_model

FILE = "cv.pt"


def export(
    model: o.ModelFolder,
    modes: o.Modes = [0, 1],  # noqa: B006 - Typer reads the default
    output: Annotated[
        Optional[Path],
        typer.Option(
            "-o", "--output", help="Folder for cv.pt, or a file *.pt (default: the model folder)."
        ),
    ] = None,
    plumed: Annotated[
        bool, typer.Option("--plumed", help="Also cv-plumed.pt and cv-plumed.dat, for PLUMED.")
    ] = False,
) -> None:
    """Write the chosen modes for other programs: positions (n_atoms, 3) in nm → values.

    The values are ω_k Q_k, dimensionless, with unit variance under the training data. cv.pt is
    TorchScript and needs nothing of this package: torch.jit.load("cv.pt")(positions, box or None).
    cv.safetensors beside it is what the native force and sc.load_core read.

    Example: symplectic-cv export model --modes 0 1
    """
    path = model / FILE if output is None else output
    if path.suffix != ".pt":
        path = path / FILE
    network = load_model(model)
    if plumed:  # before anything is written
        for file in plumed_files(path):
            require_free_file(file)
    metadata = write_export(network, modes, path)
    for mode, omega in zip(metadata["modes"], metadata["omega_rad_per_ps"], strict=True):
        note(f"mode {mode}: ω = {omega:.3f} rad/ps")
    note(f"collective variables: {path}, {path.with_suffix(SUFFIX).name} beside it")
    if plumed:
        note("for PLUMED: " + ", ".join(map(str, export_for_plumed(network, modes, path))))
