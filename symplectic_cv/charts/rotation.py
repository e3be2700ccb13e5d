"""The rotation of a least-squares superposition, and 3×3 systems of equations.

On the CPU both are LAPACK's. On a GPU, where LAPACK's twins wait for the host in each call, they
are sums and products; they agree to rounding.

Sources: B. K. P. Horn, J. Opt. Soc. Am. A 4, 629 (1987), for the quaternion; F. L. Markley,
J. Astronaut. Sci. 41, 261 (1993), for the rotation in closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor


def superposing_rotation(centered: Tensor, reference: Tensor, masses: Tensor) -> Tensor:
    """Proper rotation R that minimises Σ m |R x − r|², as (..., 3, 3).

    Args:
        centered: Positions with their centre of mass at the origin, shape (..., N, 3), in nm.
        reference: The reference, centred too, shape (N, 3), in nm.
        masses: The masses of the atoms, shape (N,), in Da.
    """
    s = centered.transpose(-1, -2) @ (masses.unsqueeze(-1) * reference)
    if s.is_cuda:  # where eigh waits for the host, and cannot be captured in a CUDA graph
        return rotation_in_closed_form(s)
    xx, xy, xz, yx, yy, yz, zx, zy, zz = s.flatten(-2).unbind(-1)
    a, b, c = yz - zy, zx - xz, xy - yx
    d, e, f = xy + yx, zx + xz, yz + zy
    key = torch.stack(
        [
            xx + yy + zz,
            a,
            b,
            c,
            a,
            xx - yy - zz,
            d,
            e,
            b,
            d,
            yy - xx - zz,
            f,
            c,
            e,
            f,
            zz - xx - yy,
        ],
        -1,
    )
    quaternion = torch.linalg.eigh(key.unflatten(-1, (4, 4)))[1][..., 3]
    w, x, y, z = quaternion.unbind(-1)
    xw, yw, zw = x * w, y * w, z * w
    xy, xz, yz = x * y, x * z, y * z
    x2, y2, z2 = x * x, y * y, z * z
    half = 0.5 * torch.ones_like(w)
    rotation = torch.stack(
        [
            half - y2 - z2,
            xy - zw,
            xz + yw,
            xy + zw,
            half - x2 - z2,
            yz - xw,
            xz - yw,
            yz + xw,
            half - x2 - y2,
        ],
        -1,
    )
    return 2.0 * rotation.unflatten(-1, (3, 3))


def rotation_in_closed_form(s: Tensor, steps: int = 14) -> Tensor:
    """The rotation of `superposing_rotation` without an eigensolver, to rounding.

    The largest eigenvalue λ is the largest root of (λ² − |S|²)² − 8 λ det S − 4 |cof S|², by
    Newton's method from above; the rotation follows from S and λ by sums and products. A last step
    of Newton and Schulz makes it orthogonal to rounding.

    Args:
        s: S = Σ m x rᵀ, shape (..., 3, 3), in Da nm².
        steps: Steps from √3 |S| to the root. Frames of a molecule need eight, structures that have
            nothing in common with the reference need more.

    Source: F. L. Markley, J. Astronaut. Sci. 41, 261 (1993).
    """
    cofactors = torch.cross(s.roll(-1, -2), s.roll(-2, -2), dim=-1)
    determinant = (s * cofactors).sum(-1)[..., 0]
    size = (s * s).sum(-1).sum(-1)
    minors = 4.0 * (cofactors * cofactors).sum(-1).sum(-1)
    root = (3.0 * size).sqrt()
    for _ in range(steps):
        part = root * root - size
        value = part * part - 8.0 * root * determinant - minors
        root = root - value / (4.0 * root * part - 8.0 * determinant)
    kappa = 0.5 * (root * root - size)
    scale = (kappa * root - determinant).unsqueeze(-1).unsqueeze(-1)
    kappa, size = kappa.unsqueeze(-1).unsqueeze(-1), size.unsqueeze(-1).unsqueeze(-1)
    product = s @ s.transpose(-1, -2) @ s
    rotation = (kappa + size) * s + root.unsqueeze(-1).unsqueeze(-1) * cofactors - product
    rotation = (rotation / scale).transpose(-1, -2)
    return 1.5 * rotation - 0.5 * rotation @ rotation.transpose(-1, -2) @ rotation


def solve_three(matrix: Tensor, right: Tensor) -> Tensor:
    """x of M x = b, for M (..., 3, 3) and b (..., 3).

    By Cramer's rule on a GPU, where `torch.linalg.solve` waits for the host.
    """
    if not matrix.is_cuda:
        return torch.linalg.solve(matrix, right.unsqueeze(-1)).squeeze(-1)
    return solve_by_cofactors(matrix, right)


def solve_by_cofactors(matrix: Tensor, right: Tensor) -> Tensor:
    """x of M x = b by Cramer's rule, for M (..., 3, 3) and b (..., 3)."""
    columns = matrix.transpose(-1, -2)
    cofactors = torch.cross(columns.roll(-1, -2), columns.roll(-2, -2), dim=-1)
    determinant = (columns * cofactors).sum(-1)[..., :1]
    return (cofactors @ right.unsqueeze(-1)).squeeze(-1) / determinant
