"""The start of a training on a Hamiltonian: cold, in a minimum of its potential.

A flow that starts in one place and is heated grows along the soft directions and bends with them. A
flow that starts broad is cut instead: Ringworld's disk of samples opens a slit, and no latent
variable becomes the angle.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from symplectic_cv.errors import HamiltonianError
from symplectic_cv.hamiltonians.base import COLD, Start
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian

WIDTHS = 2.5
"""The unit of length of the couplings, in thermal widths of the stiffest direction."""


def find_start(reduced: ReducedHamiltonian, seed: int = 0) -> Start:
    """The start that the Hamiltonian provides, or a cold start.

    Args:
        reduced: The Hamiltonian at its temperature.
        seed: The seed of the point from which a minimum is searched.
    """
    return reduced.hamiltonian.known_start(reduced.beta, reduced.scale) or cold_start(reduced, seed)


def cold_start(reduced: ReducedHamiltonian, seed: int = 0) -> Start:
    """A ball in a minimum of the potential, as narrow as its stiffest direction.

    Args:
        reduced: The Hamiltonian at its temperature.
        seed: The seed of the point from which the minimum is searched.

    Raises:
        HamiltonianError: No minimum is found, or it has no curvature at all.
    """
    hamiltonian, n = reduced.hamiltonian, reduced.dimension

    def potential(q: Tensor) -> Tensor:
        batch = q.unsqueeze(0)
        return reduced.energy(torch.zeros_like(batch), batch)[0]

    def value_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
        q = torch.as_tensor(x, dtype=torch.float64).requires_grad_(True)
        value = potential(q)
        (slope,) = torch.autograd.grad(value, q)
        return float(value.detach()), slope.numpy()

    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    guess = math.sqrt(reduced.scale) * hamiltonian.guess().to(torch.float64)
    begin = guess + 1e-3 * noise
    found = minimize(value_and_slope, begin.numpy(), jac=True, method="L-BFGS-B")
    shift = torch.as_tensor(found.x, dtype=torch.float64)
    if not (np.isfinite(found.x).all() and math.isfinite(found.fun)):
        raise HamiltonianError(f"{hamiltonian.name}: no minimum of the potential near its guess")
    hessian = torch.autograd.functional.hessian(potential, shift)
    stiffest = float(torch.linalg.eigvalsh(hessian)[-1])
    if not 1e-12 < stiffest < math.inf:
        raise HamiltonianError(
            f"{hamiltonian.name}: the potential is flat or bends down near its guess (largest "
            f"curvature {stiffest:.2g}): nothing confines it there; give another guess()"
        )
    omega = torch.full((n,), math.sqrt(stiffest), dtype=torch.float64)
    return Start(
        shift=shift,
        rotation=torch.eye(n, dtype=torch.float64),
        omega=omega,
        spread=WIDTHS / omega,
        energy=float(found.fun),
        cold=COLD if hamiltonian.kinetic else 1.0,
    )
