"""Strings of structures in the latent space: refined to the most likely path, or along one mode.

A string starts as any latent path and climbs ln ρ(q) at every point, while its points are
kept at equal distances in the metric of the scaled latent coordinates. This is the simplified
string method. It ends where the least likely structure of the path is as likely as possible.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symplectic_cv.checks import check_number, check_whole
from symplectic_cv.models.model_folder import open_molecular_model
from symplectic_cv.models.molecular_model import NeuralCanonicalTransformation
from symplectic_cv.models.phase_space import in_float64
from symplectic_cv.paths.circles import latent_of_unwound, unwound
from symplectic_cv.paths.interpolation import latent_point, require_latent_modes
from symplectic_cv.paths.latent_path import LatentPath, latent_structures

STEP = 0.02
"""The first step along the gradient; it is halved when the string does not improve."""
LONGEST = 0.1
"""The greatest distance that a point moves in one step."""


def scan_mode(
    model: NeuralCanonicalTransformation | str | Path,
    mode: int,
    reach: float = 2.5,
    n_points: int = 50,
    origin: np.ndarray | None = None,
) -> LatentPath:
    """One mode from −reach/ω to reach/ω, while the others are held.

    Args:
        model: A model, or its folder.
        mode: The mode to move; 0 is the slowest.
        reach: The greatest displacement, in standard deviations of the mode.
        n_points: The number of points, at least 2.
        origin: Where the other modes are held: scaled latent coordinates, shape (n,), or a whole
            structure, shape (n_atoms, 3), in nm. They are held at zero where None.

    Raises:
        OptionError: A mode that does not exist, or a reach or number of points that is too small.
        FrameError: A point is no structure, or a torsion is undefined there.
    """
    model = open_molecular_model(model)
    require_latent_modes(model, "scan")
    model.check_modes([mode], "scan")
    check_whole(n_points, "points", least=2)
    check_number(reach, "reach", above=0.0, below=20.0)
    scaled = torch.zeros(n_points, model.dimension, dtype=torch.float64)
    if origin is not None and np.ndim(origin) == 2:
        scaled += latent_point(model, origin, "start")
    elif origin is not None:
        scaled += torch.as_tensor(origin, dtype=torch.float64)
    scaled[:, mode] = torch.linspace(-reach, reach, n_points, dtype=torch.float64)
    return latent_structures(model, scaled).check()


def refine_path(
    model: NeuralCanonicalTransformation, path: LatentPath, iterations: int = 200
) -> LatentPath:
    """The most likely path near a latent path, with the same ends.

    Neither the mean nor the least ln ρ of the result is below that of the path it starts from.

    Args:
        model: The model.
        path: The path to start from, of at least 3 points.
        iterations: The greatest number of steps.

    Source: W. E, W. Ren, E. Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007).
    """
    exact = in_float64(model)
    u = unwound(exact, torch.as_tensor(path.latent, dtype=torch.float64)).clone()
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
    with torch.no_grad():
        scaled = exact.prior.to_normal(latent_of_unwound(exact, u))
    scaled[0], scaled[-1] = torch.as_tensor(path.latent[0]), torch.as_tensor(path.latent[-1])
    return latent_structures(model, scaled)


def _log_likelihood(model: NeuralCanonicalTransformation, u: Tensor) -> Tensor:
    latent = latent_of_unwound(model, u)
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
