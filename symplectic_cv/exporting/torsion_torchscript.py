"""Torsion modes as TorchScript: positions (n_atoms, 3) in nm → values of the modes.

The module is called as that of a flow is (`symplectic_cv.exporting.torchscript`). Three atoms on
one line give NaN. The gradients are those of `symplectic_cv.charts.torsion_metric`, which names
their source.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import torch
from torch import Tensor, nn

from symplectic_cv.models.torsion_model import TorsionModel

LINE = 1e-6
"""Below this sine of a bond angle a torsion has no value."""


class TorsionVariables(nn.Module):
    """The chosen torsion modes as a function of all positions of a system.

    Args:
        model: The modes.
        modes: The modes to export; 0 is the slowest.

    Raises:
        OptionError: A mode that the model does not have.
    """

    torsions: Tensor
    harmonics: Tensor
    cosines: Tensor
    sines: Tensor
    constant: Tensor
    chosen: Tensor

    def __init__(self, model: TorsionModel, modes: Sequence[int]) -> None:
        super().__init__()
        self.line = LINE
        chosen = model.check_modes(modes)
        places = np.array([bond.atoms for bond in model.bonds])
        orders = np.arange(1, model.order + 1)
        coefficients = torch.as_tensor(model.coefficients[chosen])
        self.register_buffer("torsions", torch.as_tensor(model.molecule.indices[places]))
        self.register_buffer("harmonics", torch.as_tensor(np.outer(model.folds, orders)))
        self.register_buffer("cosines", coefficients[..., 0].flatten(1).clone())
        self.register_buffer("sines", coefficients[..., 1].flatten(1).clone())
        self.register_buffer("constant", torch.as_tensor(model.constant[chosen]).clone())
        self.register_buffer("chosen", torch.as_tensor(chosen))

    def bond(self, x: Tensor, first: int, second: int, box: Optional[Tensor]) -> Tensor:
        """Vectors from one atom of each torsion to another, to its nearest image in a box."""
        vector = x.index_select(0, self.torsions[:, second]) - x.index_select(
            0, self.torsions[:, first]
        )
        if box is not None:
            edges = box.to(torch.float64)
            for axis in (2, 1, 0):
                count = torch.round(vector[:, axis] / edges[axis, axis]).detach()
                vector = vector - count.unsqueeze(-1) * edges[axis]
        return vector

    def angles(self, f: Tensor, g: Tensor, h: Tensor) -> Tensor:
        """The torsions (n_bonds,) in rad; NaN where three atoms lie on one line."""
        a, b = torch.linalg.cross(f, g), torch.linalg.cross(h, g)
        sine = (torch.linalg.cross(b, a) * g).sum(-1)
        cosine = (a * b).sum(-1) * torch.linalg.vector_norm(g, dim=-1)
        least = self.line**2 * (g * g).sum(-1)
        flat = ((a * a).sum(-1) <= least * (f * f).sum(-1)) | (
            (b * b).sum(-1) <= least * (h * h).sum(-1)
        )
        return torch.atan2(sine, cosine).masked_fill(flat, float("nan"))

    def values(self, angles: Tensor) -> Tensor:
        """The modes (len(modes),) at given torsions."""
        phase = (angles.unsqueeze(-1) * self.harmonics).flatten()
        return self.cosines @ torch.cos(phase) + self.sines @ torch.sin(phase) - self.constant

    def forward(self, positions: Tensor, box: Optional[Tensor] = None) -> Tensor:
        """Values of the modes (len(modes),), dimensionless, float64; autograd works.

        Args:
            positions: The positions of the whole system, (n_atoms, 3) in nm.
            box: The periodic box vectors (3, 3) in nm in OpenMM's reduced form, or None.
        """
        x = positions.to(torch.float64)
        f, g, h = self.bond(x, 1, 0, box), self.bond(x, 2, 1, box), self.bond(x, 2, 3, box)
        return self.values(self.angles(f, g, h))

    @torch.jit.export
    def values_and_gradients(
        self, positions: Tensor, box: Optional[Tensor], combinations: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (len(modes),) and gradients of combinations · values, (m, n_atoms, 3) in 1/nm.

        Args:
            positions, box: The positions and the box, as `forward` takes them.
            combinations: The weights of the modes in each gradient, (m, len(modes)), float64.
        """
        x = positions.to(torch.float64)
        f, g, h = self.bond(x, 1, 0, box), self.bond(x, 2, 1, box), self.bond(x, 2, 3, box)
        angles = self.angles(f, g, h)
        phase = angles.unsqueeze(-1) * self.harmonics
        n_modes = self.constant.shape[0]
        n_bonds, order = self.harmonics.shape[0], self.harmonics.shape[1]
        cosines = self.cosines.reshape(n_modes, n_bonds, order)
        sines = self.sines.reshape(n_modes, n_bonds, order)
        rates = sines * torch.cos(phase) - cosines * torch.sin(phase)
        slopes = combinations @ (self.harmonics * rates).sum(-1)  # (m, n_bonds)

        length = torch.linalg.vector_norm(g, dim=-1, keepdim=True)
        a, b = torch.linalg.cross(f, g), torch.linalg.cross(h, g)
        a, b = a / (a * a).sum(-1, keepdim=True), b / (b * b).sum(-1, keepdim=True)
        along_f = (f * g).sum(-1, keepdim=True) / length
        along_h = (h * g).sum(-1, keepdim=True) / length
        first, last, shift = -length * a, length * b, along_f * a - along_h * b
        of_atoms = torch.stack([first, shift - first, -shift - last, last], dim=1)
        rows = slopes.unsqueeze(-1).unsqueeze(-1) * of_atoms
        m = combinations.shape[0]
        gradients = torch.zeros(
            m, positions.shape[0], 3, dtype=torch.float64, device=positions.device
        )
        places = self.torsions.flatten()
        return self.values(angles), gradients.index_add(1, places, rows.reshape(m, -1, 3))


def script_torsions(model: TorsionModel, modes: Sequence[int]) -> torch.jit.ScriptModule:
    """The chosen modes as a compiled TorchScript module."""
    return torch.jit.script(TorsionVariables(model, modes).eval())
