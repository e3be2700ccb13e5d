"""The analysis of a trajectory by a model: its modes, beside torsions and on held-out time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mdtraj as md
import numpy as np

from symplectic_cv.analysis.kinetics import KineticComparison, compare_kinetics
from symplectic_cv.analysis.latent import (
    Analysis,
    TorsionAnalysis,
    TorsionFrames,
    latent_frames,
    torsion_frames,
)
from symplectic_cv.analysis.mutual_information import mutual_information
from symplectic_cv.data.torsions import Torsion, compute_torsions, find_torsions
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import TrajectoryError
from symplectic_cv.models.modes import MolecularModes
from symplectic_cv.models.torsion_folder import open_modes
from symplectic_cv.models.torsion_model import TorsionModel

FRAMES_SHARE, KINETICS_SHARE = 0.2, 0.3
"""Parts of the work that go into the modes and into the kinetics; the rest goes into torsions."""


def analyze(
    model: MolecularModes | str | Path,
    data: TrajectoryData | md.Trajectory,
    torsions: Sequence[str] | str | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    lag_ps: float | None = None,
    kinetic_modes: int = 2,
) -> Analysis:
    """Evaluates the modes of a trajectory and compares them with torsions and other variables.

    Where the frames are ordered in time, the slowest modes are scored on the last third of each
    run, beside TICA, principal components and all torsions (`analysis.kinetics`).

    Args:
        model: The model, a flow or modes of torsions, or its folder.
        data: The frames, from `read_trajectories` or MDTraj, with the model's atoms.
        torsions: The torsion or torsions to compare with: names such as "phi", "psi" or "chi1", or
            "NAME=i,j,k,l" with atom numbers of the topology counted from 1. Phi and psi of the
            model's atoms where None; an empty list leaves the comparison out. Modes of torsions
            are compared with their own torsions where there is no phi or psi.
        seed: The seed by which frames are drawn for the mutual information, states for the
            kinetics, and resamples for its errors.
        progress: A function that is called with the completed part of the work, from 0 to 1.
        lag_ps: The lag of the kinetics in ps; a fifth of the relaxation time of mode 0 where None.
        kinetic_modes: How many of the slowest modes the kinetics takes.

    Returns:
        A `TorsionAnalysis` for modes of torsions, otherwise an `Analysis`. Its `kinetics` is None,
        and `no_kinetics` says why, where the frames are too few or not ordered in time.

    Raises:
        OptionError: A torsion does not exist, or a number makes no sense.
        TrajectoryError: There are fewer than ten frames; or a lag is given, and the frames are not
            ordered in time or are too few for it.
        FrameError: The model maps a frame to infinity, or a torsion has no value.
    """
    model = open_modes(model)
    if isinstance(data, md.Trajectory):
        data = model.read_frames(data)
    found = compared_torsions(model, torsions)
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        if progress is not None:
            progress(min(done, 1.0))

    part = FRAMES_SHARE / data.n_frames
    frames = (
        torsion_frames(model, data, lambda n: advance(part * n))
        if isinstance(model, TorsionModel)
        else latent_frames(model, data, lambda n: advance(part * n))
    )
    angles = compute_torsions(model.positions_of(data), found, model.molecule)
    share = (1.0 - FRAMES_SHARE - KINETICS_SHARE) / max(1, model.dimension * len(found))
    information = mutual_information(
        frames.modes, angles, seed=seed, progress=lambda pairs: advance(share * pairs)
    )
    kinetics, reason = _kinetics(model, data, frames.modes, lag_ps, kinetic_modes, seed)
    advance(1.0)
    own: dict[str, Any] = {
        "omega": model.omega if isinstance(model, TorsionModel) else model.omega.double().numpy(),
        "torsions": found,
        "angles": angles,
        "mutual_information": information,
        "lengths": list(data.lengths),
        "names": list(data.names),
        "temperature": model.temperature,
        "times_ps": data.times_ps,
        "kinetics": kinetics,
        "no_kinetics": reason,
    }
    if isinstance(frames, TorsionFrames):
        assert isinstance(model, TorsionModel)
        return TorsionAnalysis(frames=frames, model=model, **own)
    return Analysis(frames=frames, **own)


def _kinetics(
    model: MolecularModes,
    data: TrajectoryData,
    modes: np.ndarray,
    lag_ps: float | None,
    n_modes: int,
    seed: int,
) -> tuple[KineticComparison | None, str]:
    """The kinetics, or why there are none; raises where a lag was asked for."""
    try:
        n_modes = n_modes if lag_ps is not None else min(n_modes, model.dimension)
        return compare_kinetics(model, data, modes, lag_ps, n_modes, seed), ""
    except TrajectoryError as error:
        if lag_ps is not None:
            raise
        return None, str(error)


def compared_torsions(
    model: MolecularModes, torsions: Sequence[str] | str | None = None
) -> list[Torsion]:
    """The torsions that an analysis compares the modes with.

    Args:
        model: The model.
        torsions: The torsions as `analyze` takes them.

    Raises:
        OptionError: A torsion does not exist.
    """
    found = find_torsions(model.molecule, torsions)
    if torsions is None and not found and isinstance(model, TorsionModel):
        return [Torsion(bond.name, bond.atoms) for bond in model.bonds]
    return found
