"""The slowest functions of sets of variables: modes, TICA, principal components, all torsions.

The space of few variables is divided into states, and the slowest functions of the states are found
by a reversible TICA on their transitions. Of all torsions together they are those of TICA on their
first and second harmonics.

Source: G. Pérez-Hernández et al., J. Chem. Phys. 139, 015102 (2013).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from deeptime.covariance import CovarianceModel
from deeptime.decomposition import TICA
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA

from symplectic_cv.charts.eckart import EckartFrame, mean_structure
from symplectic_cv.charts.torsion_basis import torsion_features
from symplectic_cv.charts.torsion_metric import torsion_angles
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import SelectionError
from symplectic_cv.models.modes import MolecularModes
from symplectic_cv.training.torsion import modelled_bonds

STATES, FRAMES_PER_STATE = 100, 25
"""States of each set of variables at most, and training frames that each needs on average."""
FUNCTIONS = 4
"""Functions of each set at most, beside the constant one."""
FIT_FRAMES = 20_000
"""Frames at most from which states and the mean structure are found."""
MODES, TICA_SET, PCA_SET, TORSIONS = "modes", "TICA", "PCA", "all torsions"
Parts = list[tuple[int, int]]


def slowest_of_each(
    model: MolecularModes,
    data: TrajectoryData,
    modes: np.ndarray,
    training: Parts,
    lag: int,
    seed: int,
) -> tuple[dict[str, np.ndarray], str]:
    """The slowest functions of the modes, TICA, PCA and all torsions, fitted on training frames.

    Args:
        model: The model.
        data: The frames.
        modes: Its slowest modes in the frames, shape (n_frames, k).
        training: The first and the one after the last frame of each continuous piece to fit on.
        lag: The lag in frames.
        seed: The seed of the states.

    Returns:
        The functions of each set by its name, shape (n_frames, ≤ FUNCTIONS), and what TICA is
        made of.
    """
    positions = model.positions_of(data)
    coordinates = _cartesian(positions, model.molecule.masses, training)
    k = modes.shape[1]
    try:
        bonds = modelled_bonds(model.molecule, positions[0])
        folds, angles = [bond.fold for bond in bonds], torsion_angles(positions, bonds)
        basis = torsion_features(angles, folds, 1)[0]
    except SelectionError:  # no rotatable bond
        bonds, basis = [], coordinates
    seen = np.concatenate([coordinates[a:b] for a, b in training])
    variables = {
        MODES: modes,
        TICA_SET: _tica(basis, training, lag, k),
        PCA_SET: PCA(k, random_state=seed).fit(_thinned(seen)).transform(coordinates),
    }
    functions = {
        name: _functions_of_states(values, training, lag, seed)
        for name, values in variables.items()
    }
    if bonds:
        functions[TORSIONS] = _tica(torsion_features(angles, folds, 2)[0], training, lag, FUNCTIONS)
    return functions, "torsions" if bonds else "Cartesian coordinates"


def _tica(basis: np.ndarray, training: Parts, lag: int, dimension: int) -> np.ndarray:
    """The slowest linear functions, fitted on training pieces, (n_frames, ≤ dimension)."""
    pieces = [basis[a:b] for a, b in training if b - a > lag]
    found = TICA(lagtime=lag, dim=min(dimension, basis.shape[1]), scaling=None).fit(pieces)
    return np.asarray(found.fetch_model().transform(basis))


def _thinned(values: np.ndarray) -> np.ndarray:
    return values[:: -(-len(values) // FIT_FRAMES)]


@torch.no_grad()
def _cartesian(positions: np.ndarray, masses: np.ndarray, training: Parts) -> np.ndarray:
    seen = np.concatenate([positions[a:b] for a, b in training])
    reference = mean_structure(_thinned(seen), masses)
    # the temperature only sets the scale
    frame = EckartFrame(reference, torch.as_tensor(masses), 300.0)
    parts = torch.as_tensor(positions).split(FIT_FRAMES)
    return np.concatenate([frame.coordinates(part.double()).numpy() for part in parts])


def _functions_of_states(values: np.ndarray, training: Parts, lag: int, seed: int) -> np.ndarray:
    """The slowest functions of states in the space of some variables, (n_frames, FUNCTIONS)."""
    seen = np.concatenate([values[a:b] for a, b in training])
    scale = np.maximum(seen.std(0), 1e-12)
    n_states = max(2, min(STATES, len(seen) // FRAMES_PER_STATE))
    clusters = MiniBatchKMeans(n_states, random_state=seed, n_init=1, batch_size=4096)
    clusters.fit(_thinned(seen / scale))
    states = clusters.predict(values / scale)
    pieces = [states[a:b] for a, b in training if b - a > lag]
    return slowest_functions(pieces, n_states, lag)[states]


def slowest_functions(pieces: Sequence[np.ndarray], n_states: int, lag: int) -> np.ndarray:
    """The slowest functions of states, shape (n_states, n_functions), by a reversible TICA.

    Args:
        pieces: The states of continuous pieces, each of shape (n_frames,).
        n_states: The number of states.
        lag: The lag in frames.
    """
    counts = np.zeros((n_states, n_states))
    for piece in pieces:
        np.add.at(counts, (piece[:-lag], piece[lag:]), 1.0)
    lagged = 0.5 * (counts + counts.T) / counts.sum()
    mean = lagged.sum(1)
    centre = np.outer(mean, mean)
    covariances = CovarianceModel(
        np.diag(mean) - centre,
        lagged - centre,
        np.diag(mean) - centre,
        mean,
        mean,
        symmetrized=True,
        lagtime=lag,
        data_mean_removed=True,
    )
    # populations are the variances here: the rarest states are dropped
    found = TICA(lagtime=lag, dim=min(FUNCTIONS, n_states - 1), scaling=None, epsilon=1e-5)
    return np.asarray(
        found.fit_from_covariances(covariances).fetch_model().transform(np.eye(n_states))
    )
