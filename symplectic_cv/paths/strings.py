"""Strings of structures in the latent space: refined to the most likely path, or along one mode.

A string starts as any latent path and climbs ln ρ(q) at every point, while its points are
kept at equal distances: the simplified string method of W. E, W. Ren and E. Vanden-Eijnden,
J. Chem. Phys. 126, 164103 (2007), in the metric of the scaled latent coordinates. It ends
as the path along which the least likely structure is as likely as can be nearby.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.errors import OptionError
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.paths.interpolation import LatentPath

STEP = 0.02
"""First step along the gradient; it halves where the string gets no better."""
LONGEST = 0.1
"""No point moves further than this in one step."""


def latent_structures(model: NeuralCanonicalTransformation, scaled: Tensor) -> LatentPath:
    """Structures and likelihoods of scaled latent coordinates u = ωQ (P, n), in float64."""
    exact = in_float64(model)
    with torch.no_grad():
        q, log_det = exact.flow.inverse(scaled / exact.omega)
        log_likelihood = exact.prior.log_prob_coordinates(scaled / exact.omega) - log_det
        return LatentPath(
            latent=scaled.numpy(),
            positions=exact.frame.positions(q).numpy(),
            log_likelihood=log_likelihood.numpy(),
        )


def straight_latent_path(
    model: NeuralCanonicalTransformation, start: np.ndarray, end: np.ndarray, n_points: int
) -> LatentPath:
    """The straight line between scaled latent coordinates (n,): through the unlikely inside."""
    share = torch.linspace(0.0, 1.0, n_points, dtype=torch.float64).unsqueeze(-1)
    ends = [torch.as_tensor(x, dtype=torch.float64) for x in (start, end)]
    return latent_structures(model, (1.0 - share) * ends[0] + share * ends[1])


def scan_mode(
    model: NeuralCanonicalTransformation,
    mode: int,
    reach: float,
    n_points: int,
    origin: np.ndarray | None = None,
) -> LatentPath:
    """One mode from −reach/ω to reach/ω, the others held.

    Args:
        mode: which, 0 is the slowest.
        reach: in standard deviations of the mode.
        n_points: at least 2.
        origin: scaled latent coordinates (n,) of the others; zero where None.

    Raises:
        OptionError: a mode that does not exist, a reach or number of points too small.
    """
    model.check_modes([mode], "--scan")
    if n_points < 2:
        raise OptionError(f"--points must be at least 2, the two ends; got {n_points}")
    if not 0.0 < reach < 20.0:
        raise OptionError(f"--reach must be positive, in standard deviations; got {reach}")
    scaled = torch.zeros(n_points, model.dimension, dtype=torch.float64)
    if origin is not None:
        scaled += torch.as_tensor(origin, dtype=torch.float64)
    scaled[:, mode] = torch.linspace(-reach, reach, n_points, dtype=torch.float64)
    return latent_structures(model, scaled)


def refine_path(
    model: NeuralCanonicalTransformation, path: LatentPath, iterations: int = 200
) -> LatentPath:
    """The most likely path near a latent path, with the same ends.

    Neither the mean nor the least ln ρ of the result is below that of the path it starts from.

    Args:
        path: at least 3 points.
        iterations: steps at most.
    """
    exact = in_float64(model)
    u = torch.as_tensor(path.latent, dtype=torch.float64).clone()
    values = torch.as_tensor(path.log_likelihood)
    mean, least = float(values.mean()), float(values.min())
    step = STEP
    for _ in range(iterations):
        slope = _slope(exact, u[1:-1])
        move = step * slope
        length = move.norm(dim=-1, keepdim=True)
        move = move * (LONGEST / length.clamp(min=LONGEST))
        trial = u.clone()
        trial[1:-1] += move
        trial = _equidistant(trial)
        values = _log_likelihood(exact, trial)
        if not (float(values.mean()) > mean and float(values.min()) >= least - 1e-9):
            step = 0.5 * step
            if step < 1e-3 * STEP:
                break
            continue
        u, mean = trial, float(values.mean())
    return latent_structures(model, u)


def _log_likelihood(model: NeuralCanonicalTransformation, u: Tensor) -> Tensor:
    latent = u / model.omega
    return model.prior.log_prob_coordinates(latent) - model.flow.inverse(latent)[1]


def _slope(model: NeuralCanonicalTransformation, u: Tensor) -> Tensor:
    """∂ ln ρ/∂u, zero where it is not finite."""
    u = u.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(_log_likelihood(model, u).sum(), u)
    return slope.nan_to_num(0.0, 0.0, 0.0)


def _equidistant(u: Tensor) -> Tensor:
    """The same polygon with its points at equal distances along it."""
    pieces = (u[1:] - u[:-1]).norm(dim=-1)
    along = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)]).numpy()
    if not along[-1] > 0.0:
        return u
    wanted = np.linspace(0.0, along[-1], len(u))
    columns = [np.interp(wanted, along, column) for column in u.numpy().T]
    return torch.from_numpy(np.stack(columns, 1))
