"""Collective variables as TorchScript: positions (n_atoms, 3) in nm → ω_k Q_k.

The exported module picks its atoms, makes them whole under periodic boundaries,
superposes them in float64, runs the flow in its own precision and returns the chosen
modes. Its gradient is a reverse pass written by hand: for the coordinate flow that is
the pull-back of a latent momentum, p = P · ∂Q/∂q, layer by layer; the frame then takes it
to the atoms. It costs a third or less of autograd's and leaves no net force or torque.

TorchScript is a format to leave this package with; models are stored by `storage`.
"""

import copy
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn

from symplectic_cv.charts.eckart import pull_back_to_positions, superpose, superpose_differentiable
from symplectic_cv.data.periodic import spanning_links
from symplectic_cv.errors import ModelError
from symplectic_cv.exporting.folded_flow import FoldedFlow, LayeredFlow
from symplectic_cv.flows.coupling import AffineCoupling
from symplectic_cv.flows.layers import ModeOrder, NormalModes
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation

METADATA = "symplectic_cv.json"
FORMAT = 1


class CollectiveVariables(nn.Module):
    """The chosen modes of a model as a function of all positions of a system.

    Args:
        model: A trained model: normal modes, point layers, an order of the modes.
        modes: The modes to export; 0 is the slowest.

    Raises:
        OptionError: A mode that the model does not have.
    """

    indices: Tensor
    parent_atoms: Tensor
    child_atoms: Tensor
    path: Tensor
    reference: Tensor
    masses: Tensor
    scale: Tensor
    to_modes: Tensor
    origin: Tensor
    chosen: Tensor
    omega: Tensor

    def __init__(self, model: NeuralCanonicalTransformation, modes: Sequence[int]) -> None:
        super().__init__()
        modes = model.check_modes(modes)
        molecule, frame = model.molecule, model.frame
        links = spanning_links(frame.reference.cpu().numpy(), None, molecule.bonds)
        self.root = links.root
        self.register_buffer("indices", torch.as_tensor(molecule.indices).clone())
        self.register_buffer("parent_atoms", torch.as_tensor(links.pairs[:, 0].copy()))
        self.register_buffer("child_atoms", torch.as_tensor(links.pairs[:, 1].copy()))
        self.register_buffer("path", torch.as_tensor(links.path_matrix()))
        self.register_buffer("reference", frame.reference.clone())
        self.register_buffer("masses", frame.masses.clone())
        self.register_buffer("scale", frame.scale.clone().unsqueeze(-1))

        start, *between, last = model.flow.layers
        couplings = [layer for layer in between if isinstance(layer, AffineCoupling)]
        assert isinstance(start, NormalModes)
        assert isinstance(last, ModeOrder)
        if couplings and len(couplings) == len(between):
            self.flow: FoldedFlow | LayeredFlow = FoldedFlow(couplings)
        else:
            self.flow = LayeredFlow(between, model.dimension)  # type: ignore[arg-type]
        # the frame's basis and the normal modes are one matrix, its columns in the flow's layout
        layout = self.flow.layout
        rotation = start.rotation.detach().to(torch.float64)
        self.register_buffer("to_modes", (frame.basis @ rotation)[:, layout].contiguous())
        self.register_buffer("origin", (start.shift.to(torch.float64) @ rotation)[layout])
        self.register_buffer("chosen", torch.argsort(layout)[last.order[modes]])
        self.register_buffer("omega", model.omega[modes].to(torch.float64))
        self.dtype = model.dtype
        self.dimension = model.dimension

    def whole(self, positions: Tensor, box: Optional[Tensor]) -> Tensor:
        """The modelled atoms (N, 3), made whole where a box (3, 3) is given, float64."""
        x = positions.index_select(0, self.indices).to(torch.float64)
        if box is None:
            return x
        edges = box.to(torch.float64)
        steps = x.index_select(0, self.child_atoms) - x.index_select(0, self.parent_atoms)
        for axis in (2, 1, 0):
            count = torch.round(steps[:, axis] / edges[axis, axis])
            steps = steps - count.unsqueeze(-1) * edges[axis]
        return x[self.root] + self.path @ steps

    def latent(self, superposed: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Values of the modes (len(modes),) and the tapes of the flow."""
        displacement = (self.scale * (superposed - self.reference)).reshape(1, -1)
        q = (displacement @ self.to_modes - self.origin).to(self.dtype)
        latent, tapes = self.flow.record(q)
        return self.omega * latent[0].index_select(0, self.chosen).to(torch.float64), tapes

    def forward(self, positions: Tensor, box: Optional[Tensor] = None) -> Tensor:
        """Values of the modes (len(modes),), dimensionless, float64; autograd works.

        Args:
            positions: The positions of the whole system, (n_atoms, 3) in nm.
            box: The periodic box vectors (3, 3) in nm in OpenMM's reduced form, or None.
        """
        y = superpose_differentiable(self.whole(positions, box), self.reference, self.masses)
        return self.latent(y)[0]

    @torch.jit.export
    def values_and_gradients(
        self, positions: Tensor, box: Optional[Tensor], combinations: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (len(modes),) and gradients of combinations · values, (m, n_atoms, 3) in 1/nm.

        One forward pass serves all m gradients.

        Args:
            positions, box: The positions and the box, as `forward` takes them.
            combinations: The weights of the modes in each gradient, (m, len(modes)), float64.
        """
        y, rotation, a = superpose(self.whole(positions, box), self.reference, self.masses)
        values, tapes = self.latent(y)

        m = combinations.shape[0]
        p = torch.zeros(m, self.dimension, dtype=torch.float64, device=y.device)
        p = p.index_add(1, self.chosen, self.omega * combinations).to(self.dtype)
        p = self.flow.pull_back(p, tapes).to(torch.float64)
        on_frame = self.scale * (p @ self.to_modes.t()).reshape(m, -1, 3)
        on_atoms = pull_back_to_positions(
            on_frame, y.expand_as(on_frame), rotation, a, self.reference, self.masses
        )
        gradients = torch.zeros(
            m, positions.shape[0], 3, dtype=torch.float64, device=positions.device
        )
        return values, gradients.index_add(1, self.indices, on_atoms)


def script(model: NeuralCanonicalTransformation, modes: Sequence[int]) -> torch.jit.ScriptModule:
    """The chosen modes as a compiled TorchScript module, without gradients of its weights."""
    module = copy.deepcopy(CollectiveVariables(model, modes)).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return torch.jit.script(module)


def load_exported(path: str | Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    """An exported file as a module on the CPU, and its metadata.

    Raises:
        ModelError: The file is missing, truncated, or not written by `export`.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file (`symplectic_cv.export` writes one)")
    extra = {METADATA: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
        metadata = json.loads(extra[METADATA])
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path}: truncated, altered, or not an exported collective variable ({reason})"
        ) from error
    return module, metadata


def stored_metadata(path: Path) -> dict[str, Any]:
    """Metadata of an exported file, without loading the module.

    Raises:
        ModelError: The file is truncated, or not written by `export`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(f"/extra/{METADATA}"))
            return json.loads(archive.read(name))
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path}: truncated, altered, or not an exported collective variable ({error})"
        ) from error
