"""Internal coordinates: bonds, angles and torsions as a point transformation of q.

A molecule's shape has 3N−6 dimensions, in the Eckart frame (q) as in its Z-matrix
(ξ: N−1 bonds, N−2 angles, N−3 torsions). Between the two,

    ln|det ∂ξ/∂q| = ln|det A(q)| − Σ (2 ln r + ln sin θ) + const,

because d³ᴺx ∝ |det A(q)| dq dΩ dX and each atom brings r² sin θ dr dθ dφ. The constant is
that of the reference structure. So in ξ the target is ∏ r² sin θ exp(−βU), and the map is
one more layer of a point transformation: likelihoods and momenta go through it exactly.

Source: J. Parsons et al., J. Comput. Chem. 26, 1063 (2005), for the placing of atoms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from symplectic_cv.charts.eckart import (
    EckartFrame,
    eckart_matrix,
    pull_back_to_positions,
    superpose,
    superpose_differentiable,
)
from symplectic_cv.charts.zmatrix import ZMatrix
from symplectic_cv.flows.layers import PointLayer


class InternalCoordinates(PointLayer):
    """q (ps, Eckart frame) → ξ: bonds in nm, angles in rad, torsions in rad from −π to π.

    ξ is ordered bonds (N−1), angles (N−2), torsions (N−3), each in the order of the
    Z-matrix. Torsions have the IUPAC sign. All is computed in float64 for
    inputs of any type. The inverse of numbers that do not describe a structure (bonds or angles
    that are not positive, angles of π or more) has the log-determinant +∞, a density of zero.

    Args:
        frame: The Eckart frame of q; its reference, masses and basis are copied.
        table: The Z-matrix, which names the atoms of each coordinate.
    """

    atoms: Tensor
    references: Tensor
    constant: Tensor
    frame_reference: Tensor
    frame_masses: Tensor
    frame_scale: Tensor
    frame_basis: Tensor

    def __init__(self, frame: EckartFrame, table: ZMatrix) -> None:
        super().__init__()
        self.register_buffer("atoms", torch.as_tensor(table.atoms))
        self.register_buffer("references", torch.as_tensor(table.references))
        for name in ("reference", "masses", "scale", "basis"):
            self.register_buffer(f"frame_{name}", getattr(frame, name).clone())
        self._levels = _levels(table)
        n = frame.dimension
        origin = torch.zeros(n, dtype=torch.float64)
        slopes = jacobian(lambda q: self._from_positions(self._positions(q)), origin)
        volume = self._log_volume(self._from_positions(self._positions(origin)))
        constant = torch.linalg.slogdet(slopes)[1] + volume
        self.register_buffer("constant", constant.detach())

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Follows a device but never a dtype, as the frame does."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self

    @property
    def n_atoms(self) -> int:
        return self.atoms.shape[0]

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        y = self._positions(q)
        xi = self._from_positions(y)
        log_det = self._log_det_eckart(y) - self._log_volume(xi) + self.constant
        return xi.to(q.dtype), log_det.to(q.dtype)

    def inverse(self, q_new: Tensor) -> tuple[Tensor, Tensor]:
        xi = q_new.to(torch.float64)
        possible = self._possible(xi)
        safe = torch.where(possible.unsqueeze(-1), xi, self._typical())
        q = self._coordinates(self.place(safe))
        y = self._positions(q)
        log_det = self._log_volume(safe) - self._log_det_eckart(y) - self.constant
        log_det = torch.where(possible, log_det, math.inf)
        return q.to(q_new.dtype), log_det.to(q_new.dtype)

    def push(self, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        xi, log_det = self.forward(q)
        return self._push_momenta(p, q), xi, log_det

    def record(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.forward(q)[0], [q]

    def pull_back(self, p_new: Tensor, tape: list[Tensor]) -> Tensor:
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            q = tape[0] if tape[0].requires_grad else tape[0].detach().requires_grad_(True)
            xi = self._from_positions(self._positions(q))
            (p,) = torch.autograd.grad(xi, q, p_new.to(xi.dtype), create_graph=again)
        return p.to(p_new.dtype)

    def place(self, xi: Tensor) -> Tensor:
        """Positions (..., N, 3) in nm of internal coordinates ξ, in an arbitrary orientation."""
        n = self.n_atoms
        r, theta, phi = xi[..., : n - 1], xi[..., n - 1 : 2 * n - 3], xi[..., 2 * n - 3 :]
        zero = torch.zeros_like(r[..., 0])
        first = torch.stack([r[..., 0], zero, zero], -1)
        # row 1 is at the origin, row 0 on the x axis, row 2 in the xy plane
        cos, sin = theta[..., 0].cos(), theta[..., 0].sin()
        third = r[..., 1].unsqueeze(-1) * torch.stack([cos, sin, zero], -1)
        x: list[Tensor] = [first, torch.zeros_like(first), third]
        placed = torch.stack(x, -2)
        for rows, where in self._levels:
            a, b, c = (placed.index_select(-2, w.to(placed.device)) for w in where)
            u = _unit(b - a)
            m = c - b
            m = _unit(m - (m * u).sum(-1, keepdim=True) * u)
            normal = torch.linalg.cross(m, u)
            k = rows.to(placed.device)
            length = r.index_select(-1, k - 1).unsqueeze(-1)
            angle = theta.index_select(-1, k - 2).unsqueeze(-1)
            turn = phi.index_select(-1, k - 3).unsqueeze(-1)
            across = turn.cos() * m + turn.sin() * normal
            new = a + length * (angle.cos() * u + angle.sin() * across)
            placed = torch.cat([placed, new], -2)
        return placed.index_select(-2, self._order.to(placed.device))

    @property
    def _order(self) -> Tensor:
        """Index of each atom in the order of placement, which goes level by level."""
        rows = torch.cat([torch.arange(3), *(level[0] for level in self._levels)])
        return torch.argsort(self.atoms.cpu()[rows])

    def _positions(self, q: Tensor) -> Tensor:
        flat = q.to(torch.float64) @ self.frame_basis.T
        return self.frame_reference + flat.unflatten(-1, (-1, 3)) / self.frame_scale.unsqueeze(-1)

    def _coordinates(self, positions: Tensor) -> Tensor:
        reference, masses = self.frame_reference, self.frame_masses
        if positions.requires_grad:
            y = superpose_differentiable(positions, reference, masses)
        else:
            y = superpose(positions, reference, masses)[0]
        return (self.frame_scale.unsqueeze(-1) * (y - reference)).flatten(-2) @ self.frame_basis

    def _log_det_eckart(self, y: Tensor) -> Tensor:
        here = eckart_matrix(y, self.frame_reference, self.frame_masses)
        start = eckart_matrix(self.frame_reference, self.frame_reference, self.frame_masses)
        return torch.linalg.slogdet(here)[1] - torch.linalg.slogdet(start)[1]

    def _from_positions(self, y: Tensor) -> Tensor:
        """ξ (..., 3N−6) of positions (..., N, 3)."""
        i = y.index_select(-2, self.atoms)
        a, b, c = (y.index_select(-2, self.references[:, k].clamp(min=0)) for k in range(3))
        bond = (i - a)[..., 1:, :]
        r = bond.norm(dim=-1)
        s, u = (i - a)[..., 2:, :], _unit((b - a)[..., 2:, :])
        along = (s * u).sum(-1)
        theta = torch.atan2(torch.linalg.cross(s, u).norm(dim=-1), along)
        s, u = s[..., 1:, :], u[..., 1:, :]
        m = (c - b)[..., 3:, :]
        m = _unit(m - (m * u).sum(-1, keepdim=True) * u)
        phi = torch.atan2((s * torch.linalg.cross(m, u)).sum(-1), (s * m).sum(-1))
        return torch.cat([r, theta, phi], -1)

    def _log_volume(self, xi: Tensor) -> Tensor:
        """Σ (2 ln r + ln sin θ)."""
        n = self.n_atoms
        angles = xi[..., n - 1 : 2 * n - 3]
        return 2.0 * xi[..., : n - 1].log().sum(-1) + angles.sin().log().sum(-1)

    def _possible(self, xi: Tensor) -> Tensor:
        n = self.n_atoms
        angles, torsions = xi[..., n - 1 : 2 * n - 3], xi[..., 2 * n - 3 :]
        return (
            (xi[..., : n - 1] > 0.0).all(-1)
            & ((angles > 0.0) & (angles < math.pi)).all(-1)
            & (torsions.abs() <= math.pi).all(-1)
        )

    def _typical(self) -> Tensor:
        return self._from_positions(self.frame_reference)

    def _push_momenta(self, p: Tensor, q: Tensor) -> Tensor:
        """p_ξ = p · ∂q/∂ξ: the momentum as a force on the atoms, turned to where `place` puts them.

        Neither step differentiates a superposition, so that derivatives of the result are
        exact too.
        """
        again = torch.is_grad_enabled()
        y = self._positions(q)
        covector = (p.to(torch.float64) @ self.frame_basis.T).unflatten(-1, (-1, 3))
        covector = covector * self.frame_scale.unsqueeze(-1)
        a = eckart_matrix(y, self.frame_reference, self.frame_masses)
        still = torch.eye(3, dtype=torch.float64, device=y.device).expand(a.shape)
        force = pull_back_to_positions(
            covector, y, still, a, self.frame_reference, self.frame_masses
        )
        root = y.index_select(-2, self.atoms[:3])
        x = _unit(root[..., 0, :] - root[..., 1, :])
        arm = root[..., 2, :] - root[..., 1, :]
        across = _unit(arm - (arm * x).sum(-1, keepdim=True) * x)
        axes = torch.stack([x, across, torch.linalg.cross(x, across)], -2)
        force = force @ axes.transpose(-1, -2)
        with torch.enable_grad():
            xi = self._from_positions(y)
            if not xi.requires_grad:
                xi = xi.detach().requires_grad_(True)
            (p_new,) = torch.autograd.grad(self.place(xi), xi, force, create_graph=again)
        return p_new.to(p.dtype)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _levels(table: ZMatrix) -> list[tuple[Tensor, list[Tensor]]]:
    """Rows that can be placed at once, and the indices of their references among placed rows."""
    row_of = {int(atom): row for row, atom in enumerate(table.atoms)}
    place = {0: 0, 1: 1, 2: 2}
    rest = list(range(3, table.n_atoms))
    levels = []
    while rest:
        needed = {row: [row_of[int(k)] for k in table.references[row]] for row in rest}
        now = [row for row in rest if all(k in place for k in needed[row])]
        where = [torch.tensor([place[needed[row][k]] for row in now]) for k in range(3)]
        levels.append((torch.tensor(now), where))
        for row in now:
            place[row] = len(place)
        rest = [row for row in rest if row not in place]
    return levels
