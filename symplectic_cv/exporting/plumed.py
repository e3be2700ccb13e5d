"""Exported modes for PLUMED: TorchScript of scalar arguments, and the input lines that feed it.

PLUMED's PYTORCH_MODEL takes a (1, 3N) tensor of float32 arguments to (1, n) values and lets
autograd find the derivatives; the arguments are the coordinates of the modelled atoms, x y z of
each in turn, in nm. Nothing has to be aligned: the modes do not change with rigid motion. What
PLUMED does not hand over is the box, so its own WHOLEMOLECULES must come first. `docs/native.md`
says what else it cannot do.

Source of the interface: PLUMED 2, module pytorch (L. Bonati, V. Rizzi, M. Parrinello,
J. Phys. Chem. Lett. 11, 2998 (2020)).
"""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from symplectic_cv.exporting.torchscript import CollectiveVariables
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.files.run_folder import require_free_file
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation


class PlumedVariables(nn.Module):
    """The module of PYTORCH_MODEL: (1, 3N) coordinates in nm → (1, n_modes), both float32."""

    def __init__(self, model: NeuralCanonicalTransformation, modes: Sequence[int]) -> None:
        super().__init__()
        self.cv = CollectiveVariables(model, modes)
        self.n_atoms = model.molecule.n_atoms
        self.n_modes = len(modes)
        self.cv.indices = torch.arange(self.n_atoms)  # PLUMED hands over these atoms alone

    def forward(self, arguments: Tensor) -> Tensor:
        if bool((arguments == 0.0).all()):  # PLUMED calls with zeros to learn the number of values
            return torch.zeros(1, self.n_modes)
        values = self.cv(arguments.reshape(self.n_atoms, 3), None)
        return values.to(torch.float32).unsqueeze(0)


def plumed_files(path: Path) -> tuple[Path, Path]:
    """Paths that `export_for_plumed` writes: module and input lines, named after cv.pt."""
    return path.with_name(f"{path.stem}-plumed.pt"), path.with_name(f"{path.stem}-plumed.dat")


def export_for_plumed(
    model: NeuralCanonicalTransformation, modes: Sequence[int], path: str | Path
) -> tuple[Path, Path]:
    """Writes `cv-plumed.pt` and `cv-plumed.dat`; returns both paths.

    Args:
        model: A trained model.
        modes: The modes to export; 0 is the slowest; PLUMED knows them as cv.node-0, ….
        path: The path of cv.pt, which sets the names; the file stays unchanged.

    Raises:
        OptionError: A mode that the model does not have.
        OutputError: One of the files exists.
    """
    script, lines = (require_free_file(file) for file in plumed_files(Path(path)))
    modes = model.check_modes(modes)
    module = copy.deepcopy(PlumedVariables(model, modes)).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module), buffer)
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(lines, input_lines(model, modes, script.name).encode())
    write_atomically(script, buffer.getvalue())
    return script, lines


def input_lines(model: NeuralCanonicalTransformation, modes: Sequence[int], file: str) -> str:
    """PLUMED input that defines the modes as cv.node-0, cv.node-1, …

    PLUMED numbers atoms from 1; its lengths are nm unless UNITS says otherwise.
    """
    atoms = [int(index) + 1 for index in model.molecule.indices]
    names = [model.molecule.atom_label(k) for k in range(len(atoms))]
    positions = [
        f"x{atom}: POSITION ATOM={atom} NOPBC  # {name.split(' ')[0]}"
        for atom, name in zip(atoms, names, strict=True)
    ]
    arguments = ",".join(f"x{atom}.{axis}" for atom in atoms for axis in "xyz")
    nodes = [f"cv.node-{k}" for k in range(len(modes))]
    slowest = ", ".join(
        f"{node} = mode {mode} ({float(model.omega[mode]):.3f} rad/ps)"
        for node, mode in zip(nodes, modes, strict=True)
    )
    return "\n".join(
        [
            f"# {slowest}; dimensionless, of unit variance in the training data",
            "UNITS LENGTH=nm TIME=ps ENERGY=kj/mol",
            "# the modes know no box: neighbours in this list must be within half of it",
            f"WHOLEMOLECULES ENTITY0={','.join(map(str, atoms))}",
            *positions,
            f"cv: PYTORCH_MODEL FILE={file} ARG={arguments}",
            f"PRINT FILE=COLVAR STRIDE=500 ARG={','.join(nodes)}",
            f"# METAD ARG={','.join(nodes)} SIGMA={','.join(['0.25'] * len(modes))} HEIGHT=1.0 "
            "PACE=500 BIASFACTOR=10 TEMP=300",
            "",
        ]
    )
