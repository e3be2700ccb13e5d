"""The Eckart frame: positions of a molecule ↔ 3N−6 internal coordinates, exactly.

A frame x (N atoms, nm) is superposed on a reference r by *mass-weighted* least squares,
rotations only. The superposed positions y meet the Eckart conditions

    Σ m (y − r) = 0,    Σ m r × (y − r) = 0,

which are linear, so √(m/kT)(y − r) lies in a fixed subspace of dimension 3N−6 with the
orthonormal basis U, and q = Uᵀ √(m/kT)(y − r), in ps, loses nothing but rigid motion.
The momenta conjugate to q are N(0, I) exactly, and the volume element is
d³ᴺx ∝ |det A(q)| dq dΩ dX with A = Σ m [(r·y) 1 − y rᵀ].

The rotation's response to a displacement follows from the Eckart conditions by a 3×3
solve with A, so no eigenvector is ever differentiated.

Sources: C. Eckart, Phys. Rev. 47, 552 (1935); K. N. Kudin and A. Y. Dymarsky,
J. Chem. Phys. 122, 224105 (2005), for the equivalence with mass-weighted superposition;
the rotation itself is in `charts.rotation`.

The free functions compile with TorchScript and take any number of leading batch
dimensions; they are what the exported collective variable runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from symplectic_cv.charts.rotation import solve_three, superposing_rotation
from symplectic_cv.errors import FrameError, SelectionError
from symplectic_cv.units import thermal_energy

COLLINEAR = 1e-3
"""Below this ratio of the two largest extents of a structure it counts as a line."""

HEALTH_WARNING = 0.05
"""Below this ratio of the smallest det A to its median, a frame is near its limit."""

HEALTH_LIMIT = 1e-8
"""Below this ratio the superposition is no longer unique."""


def eckart_matrix(superposed: Tensor, reference: Tensor, masses: Tensor) -> Tensor:
    """A_ab = Σ m [(r·y) δ_ab − y_a r_b], in Da nm², as (..., 3, 3)."""
    weighted = masses.unsqueeze(-1) * reference
    outer = superposed.transpose(-1, -2) @ weighted
    trace = outer.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
    return torch.diag_embed(trace.expand(outer.shape[:-1])) - outer


def superpose(
    positions: Tensor, reference: Tensor, masses: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Superposed positions y (..., N, 3), the rotation R and the Eckart matrix A.

    y = R (x − X), with X the centre of mass. R carries no gradient; use
    `superpose_differentiable` where a gradient with respect to the positions is wanted.
    """
    mean = (masses.unsqueeze(-1) * positions).sum(-2, keepdim=True) / masses.sum()
    centered = positions - mean
    rotation = superposing_rotation(centered.detach(), reference, masses)
    superposed = centered @ rotation.transpose(-1, -2)
    return superposed, rotation, eckart_matrix(superposed.detach(), reference, masses)


def superpose_differentiable(positions: Tensor, reference: Tensor, masses: Tensor) -> Tensor:
    """Superposed positions whose autograd gradient is the exact one.

    With R held fixed a displacement gives δy⁰ = R δ(x − X); the frame then turns by
    δθ = −A⁻¹ Σ m r × δy⁰, and δy = δy⁰ + δθ × y. Adding that (vanishing) turn to the
    result makes its first derivative exact.
    """
    y, _, a = superpose(positions, reference, masses)
    fixed = y.detach()
    weighted = (masses.unsqueeze(-1) * reference).expand_as(y)
    moment = torch.cross(weighted, y - fixed, dim=-1).sum(-2)
    turn = -solve_three(a, moment)
    return y + torch.cross(turn.unsqueeze(-2).expand_as(fixed), fixed, dim=-1)


def pull_back_to_positions(
    gradient: Tensor,
    superposed: Tensor,
    rotation: Tensor,
    eckart: Tensor,
    reference: Tensor,
    masses: Tensor,
) -> Tensor:
    """Gradient with respect to positions x from the one with respect to y, by hand.

    The transpose of `superpose_differentiable`: with τ = Σ y × g and Aᵀ w = τ, the
    gradient is Rᵀ (g − m (w × r)) less its mass-weighted mean. Net force and torque
    vanish to rounding.

    Args:
        gradient: The gradient g = ∂L/∂y, (..., N, 3).
        superposed, rotation, eckart: What `superpose` returned.
        reference, masses: The reference and the masses that `superpose` was given.
    """
    torque = torch.cross(superposed, gradient, dim=-1).sum(-2)
    w = solve_three(eckart.transpose(-1, -2), torque)
    turned = torch.cross(w.unsqueeze(-2).expand_as(gradient), reference.expand_as(gradient), dim=-1)
    body = gradient - masses.unsqueeze(-1) * turned
    total = body.sum(-2, keepdim=True)
    share = (masses / masses.sum()).unsqueeze(-1)
    return (body - share * total) @ rotation


def eckart_basis(reference: Tensor, masses: Tensor) -> Tensor:
    """Orthonormal basis U of the Eckart subspace, (3N, 3N−6), in float64.

    It is the complement of the three mass-weighted translations √m e_a and the three
    rotations √m (e_a × r).
    """
    n = reference.shape[0]
    root = masses.sqrt().unsqueeze(-1)
    rigid = []
    for axis in torch.eye(3, dtype=reference.dtype):
        rigid.append((root * axis).reshape(-1))
        rigid.append((root * torch.linalg.cross(axis.expand(n, 3), reference)).reshape(-1))
    full = torch.linalg.svd(torch.stack(rigid, 1), full_matrices=True)[0]
    return full[:, 6:].contiguous()


def mean_structure(
    positions: np.ndarray | Tensor,
    masses: np.ndarray | Tensor,
    weights: np.ndarray | Tensor | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 100,
) -> Tensor:
    """Iterated mean of mass-weighted superposed frames, centred, (N, 3) in nm.

    Args:
        positions: Whole frames, shape (F, N, 3), in nm.
        masses: The masses of the atoms, shape (N,), in Da.
        weights: One non-negative weight per frame, shape (F,); all equal where None.
        tolerance: The search ends when no atom of the mean moves by more than this, in nm.
        max_iterations: The largest number of rounds.

    Raises:
        SelectionError: There are fewer than three atoms, or the mean structure lies on one line.
    """
    x = torch.as_tensor(positions, dtype=torch.float64)
    m = torch.as_tensor(masses, dtype=torch.float64)
    if m.shape[0] < 3:
        raise SelectionError(
            f"the selection has {m.shape[0]} atoms, a molecular frame needs at least 3: "
            "choose more with `atoms`"
        )
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else torch.as_tensor(weights)
    w = (w.to(torch.float64) / w.sum()).reshape(-1, 1, 1)

    reference = x[0] - (m[:, None] * x[0]).sum(0) / m.sum()
    for _ in range(max_iterations):
        _require_two_dimensions(reference, m)
        mean = torch.zeros_like(reference)
        for part, share in zip(x.split(8192), w.split(8192), strict=True):
            mean += (share * superpose(part, reference, m)[0]).sum(0)
        mean = mean - (m[:, None] * mean).sum(0) / m.sum()
        moved = float((mean - reference).abs().max())
        reference = mean
        if moved < tolerance:
            break
    _require_two_dimensions(reference, m)
    return reference


def _require_two_dimensions(structure: Tensor, masses: Tensor) -> None:
    extents = torch.linalg.svdvals(masses.sqrt()[:, None] * structure)
    if not extents[1] > COLLINEAR * extents[0]:  # so that a single point is refused too
        raise SelectionError(
            "the selected atoms lie on one line (on average), which leaves their rotation "
            "undefined: choose atoms that span a plane with `atoms`"
        )


@dataclass(frozen=True)
class FrameHealth:
    """The distance of a set of frames from the limit of the Eckart frame.

    Attributes:
        smallest: The smallest det A over the median; the superposition fails at 0.
        frame: The index of the frame with the smallest det A.
    """

    smallest: float
    frame: int

    @property
    def near_limit(self) -> bool:
        return self.smallest < HEALTH_WARNING

    def require_unique(self) -> None:
        """Raises FrameError where the superposition of a frame is not unique."""
        if not self.smallest > HEALTH_LIMIT:
            raise FrameError(
                f"frame {self.frame} cannot be superposed on the mean structure: its "
                f"orientation is not unique (det A is {self.smallest:.1e} of the median); "
                "choose fewer or stiffer atoms with `atoms`"
            )


class EckartFrame(nn.Module):
    """Chart between positions of N atoms and 3N−6 internal coordinates in ps.

    Args:
        reference: The structure to superpose on, shape (N, 3), in nm; usually `mean_structure`.
        masses: The masses of the atoms, shape (N,), in Da.
        temperature: The temperature in K; it scales q so that momenta are N(0, I).

    Raises:
        SelectionError: There are fewer than three atoms, or they lie on one line.
        OptionError: The temperature is not positive.

    Example:
        >>> water = torch.tensor([[0.0, 0.0, 0.0], [0.0957, 0.0, 0.0], [-0.024, 0.0927, 0.0]])
        >>> frame = EckartFrame(water, torch.tensor([15.999, 1.008, 1.008]), 300.0)
        >>> frame.coordinates(water + 1.0).shape
        torch.Size([3])
    """

    reference: Tensor
    masses: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self, reference: Tensor, masses: Tensor, temperature: float) -> None:
        super().__init__()
        m = masses.detach().to(torch.float64)
        r = reference.detach().to(torch.float64)
        if m.shape[0] < 3:
            raise SelectionError(f"a molecular frame needs at least 3 atoms, got {m.shape[0]}")
        r = r - (m[:, None] * r).sum(0) / m.sum()
        _require_two_dimensions(r, m)
        self.register_buffer("reference", r)
        self.register_buffer("masses", m)
        self.register_buffer("scale", (m / thermal_energy(temperature)).sqrt())
        self.register_buffer("basis", eckart_basis(r, m))

    @property
    def n_atoms(self) -> int:
        return self.masses.shape[0]

    @property
    def dimension(self) -> int:
        """3N − 6."""
        return self.basis.shape[1]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Follows a device but never a dtype: a frame is float64 at all times."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self

    def superpose(self, positions: Tensor) -> Tensor:
        """Superposed positions (..., N, 3) in nm, with the exact gradient."""
        x = positions.to(torch.float64)
        if not x.requires_grad:  # the gradient does not exist where A is singular, the value does
            return superpose(x, self.reference, self.masses)[0]
        return superpose_differentiable(x, self.reference, self.masses)

    def coordinates(self, positions: Tensor) -> Tensor:
        """q (..., 3N−6) in ps, float64, from whole positions (..., N, 3) in nm."""
        displacement = self.superpose(positions) - self.reference
        return (self.scale.unsqueeze(-1) * displacement).flatten(-2) @ self.basis

    def positions(self, coordinates: Tensor) -> Tensor:
        """Positions (..., N, 3) in nm, superposed on the reference, from q in ps."""
        flat = coordinates.to(torch.float64) @ self.basis.T
        return self.reference + flat.unflatten(-1, (-1, 3)) / self.scale.unsqueeze(-1)

    def log_volume(self, coordinates: Tensor) -> Tensor:
        """ln |det A(q)|, (...), up to the constant of the reference itself: 0 at q = 0."""
        here = eckart_matrix(self.positions(coordinates), self.reference, self.masses)
        start = eckart_matrix(self.reference, self.reference, self.masses)
        return torch.linalg.slogdet(here)[1] - torch.linalg.slogdet(start)[1]

    def health(self, coordinates: Tensor) -> FrameHealth:
        """The distance of a set of frames q (F, 3N−6) from the limit of this frame."""
        log_volume = torch.cat([self.log_volume(part) for part in coordinates.split(8192)])
        smallest, index = log_volume.min(0)
        ratio = float((smallest - log_volume.median()).exp())
        return FrameHealth(smallest=ratio, frame=int(index))
