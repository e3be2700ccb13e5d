"""`symplectic-cv export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from symplectic_cv.cli import options as o
from symplectic_cv.cli.console import note
from symplectic_cv.cli.options import option
from symplectic_cv.exporting.export import export as write_export
from symplectic_cv.exporting.export import files_to_export


def export(
    model: o.ModelFolder,
    /,
    *,
    modes: o.Modes = [0, 1],  # noqa: B006 - the parser reads the default
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            help="Folder for cv.pt, or a file name ending in .pt. Default: the model folder.",
        ),
    ] = None,
    plumed: Annotated[
        bool, option("--plumed", help="Also write cv-plumed.pt and cv-plumed.dat, for PLUMED.")
    ] = False,
) -> None:
    """Write the chosen modes as a function of positions for other programs.

    The function takes positions of all atoms, shape (n_atoms, 3), in nm. Its values ω_k Q_k are
    dimensionless and have unit variance in the training data. cv.pt is TorchScript and needs
    nothing of this package: torch.jit.load("cv.pt")(positions, box or None). The native force and
    symplectic_cv.load_core read cv.safetensors beside it. Of modes of torsions cv.json is written
    too, for OpenMM's own forces, and for PLUMED lines of TORSION and CUSTOM that need no plugin.

    Example: symplectic-cv export model --modes 0 1
    """
    metadata = write_export(model, modes, output, plumed)
    for mode, omega in zip(metadata["modes"], metadata["omega_rad_per_ps"], strict=True):
        note(f"mode {mode}: ω = {omega:.3f} rad/ps")
    files = files_to_export(model, output, plumed)
    note("collective variables: " + ", ".join(map(str, files)))
