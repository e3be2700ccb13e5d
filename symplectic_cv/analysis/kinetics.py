"""Scores and timescales of the slowest modes on held-out time, beside those of other variables.

The frames of each run are cut in time. On the first two thirds everything is fitted: TICA, the
principal components, and for each set of few variables a division of its space into states with
the slowest functions of these states. Of all torsions together, the slowest functions are those of
TICA on their first and second harmonics. On the last third the functions are scored. With C(0) and
C(τ) their reversible covariances there, and λ_i the eigenvalues of C(0)⁻¹ C(τ),

    VAMP-2 = 1 + Σ_i λ_i²,        t_i = −τ / ln λ_i.

VAMP-2 is higher where variables see more of the slow processes. It counts the constant function
and four others. Standard errors are those of a bootstrap over blocks of held-out time. All sets use
the same resamples, so that the error of a difference is smaller than those of both scores.

Sources: H. Wu and F. Noé, J. Nonlinear Sci. 30, 23 (2020), for the score; R. T. McGibbon and V. S.
Pande, J. Chem. Phys. 142, 124105 (2015), for its use on held-out data; G. Pérez-Hernández et al.,
J. Chem. Phys. 139, 015102 (2013), for TICA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh

from symplectic_cv.analysis.slow_functions import FUNCTIONS, TICA_SET, Parts, slowest_of_each
from symplectic_cv.checks import check_whole
from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import OptionError, TrajectoryError
from symplectic_cv.models.modes import MolecularModes
from symplectic_cv.training.torsion import blocks_of_runs

TRAINING = 2.0 / 3.0
"""The part of each run that functions are fitted on; they are scored on the rest."""
FEWEST_BLOCKS, RESAMPLES = 5, 400


@dataclass(frozen=True)
class KineticComparison:
    """Scores and timescales of sets of variables on held-out time.

    Attributes:
        names: What the S sets are called, the model's own modes first.
        lag_ps: The lag τ in ps.
        n_modes: The number of variables of the sets, except of all torsions.
        vamp2: The VAMP-2 scores, shape (S,), from 1 to 5.
        vamp2_error: Their standard errors.
        difference: The score less that of TICA, shape (S,).
        difference_error: Its standard error, from the same resamples.
        timescales: The implied timescales in ps, slowest first, shape (S, 4); 0 where there are
            fewer functions.
        timescale_error: Their standard errors in ps.
        training_frames: The number of frames that functions were fitted on.
        held_out_frames: The number of frames that they were scored on.
        held_out_ps: The length of the held-out time in ps.
        blocks: The number of blocks of held-out time.
        tica_of: What TICA is made of: torsions, or Cartesian coordinates where there are none.
    """

    names: list[str]
    lag_ps: float
    n_modes: int
    vamp2: np.ndarray
    vamp2_error: np.ndarray
    difference: np.ndarray
    difference_error: np.ndarray
    timescales: np.ndarray = field(repr=False)
    timescale_error: np.ndarray = field(repr=False)
    training_frames: int
    held_out_frames: int
    held_out_ps: float
    blocks: int
    tica_of: str

    def table(self) -> dict[str, np.ndarray]:
        """The columns of kinetics.csv, one row for each set."""
        columns = {
            "variables": np.array(self.names),
            "lag_ps": np.full(len(self.names), self.lag_ps),
            "vamp2": self.vamp2,
            "vamp2_error": self.vamp2_error,
            "vamp2_less_tica": self.difference,
            "vamp2_less_tica_error": self.difference_error,
        }
        for k in range(self.timescales.shape[1]):
            columns[f"t{k + 1}_ps"] = self.timescales[:, k]
            columns[f"t{k + 1}_error_ps"] = self.timescale_error[:, k]
        return columns


def compare_kinetics(
    model: MolecularModes,
    data: TrajectoryData,
    modes: np.ndarray | None = None,
    lag_ps: float | None = None,
    n_modes: int = 2,
    seed: int = 0,
) -> KineticComparison:
    """Scores the slowest modes on held-out time, beside TICA, PCA and all torsions.

    TICA works on cosines and sines of the torsions of rotatable bonds, and PCA on superposed
    Cartesian coordinates. Frames of a biased run give the kinetics of that run, not the molecule's.

    Args:
        model: A model of a molecule.
        data: The frames, with times.
        modes: The modes of the frames, shape (n_frames, ≥ n_modes), where they are known already.
        lag_ps: The lag in ps, rounded to a whole number of frames; a fifth of the relaxation time
            of mode 0 where None.
        n_modes: How many of the slowest modes, and of the components of TICA and PCA, are scored.
        seed: The seed of the states and of the resamples.

    Raises:
        OptionError: The lag is not positive, or the model has fewer modes.
        TrajectoryError: The frames are not ordered in time, or the runs are too short for the lag.
    """
    check_whole(n_modes, "n_modes")
    model.check_modes(range(n_modes), "n_modes")
    step = time_step(data)
    runs = _runs(data.lengths)
    training = [(a, a + int(TRAINING * (b - a))) for a, b in runs]
    test = [(split, b) for (_, split), (_, b) in zip(training, runs, strict=True)]
    values = model.modes(data) if modes is None else modes
    values = np.asarray(values[:, :n_modes], dtype=np.float64)
    if lag_ps is None:
        lag = max(1, round(relaxation_time(values[:, 0], training) / 5))
    elif not (np.isfinite(lag_ps) and lag_ps > 0.0):
        raise OptionError(f"`lag_ps` must be positive and finite; got {lag_ps}")
    else:
        lag = round(lag_ps / step)
        if lag < 1:
            raise OptionError(f"`lag_ps` {lag_ps:g} is less than the {step:g} ps between frames")
    blocks = held_out_blocks(test, lag, step)
    sets, tica_of = slowest_of_each(model, data, values, training, lag, seed)
    draws = np.random.default_rng(seed).multinomial(
        len(blocks), np.full(len(blocks), 1.0 / len(blocks)), RESAMPLES
    )
    found = [_score(functions, blocks, lag, draws) for functions in sets.values()]
    eigenvalues = np.stack([value for value, _ in found])
    resampled = np.stack([value for _, value in found])
    score, scores = 1.0 + (eigenvalues**2).sum(-1), 1.0 + (resampled**2).sum(-1)
    tica = list(sets).index(TICA_SET)
    return KineticComparison(
        names=list(sets),
        lag_ps=lag * step,
        n_modes=n_modes,
        vamp2=score,
        vamp2_error=scores.std(1, ddof=1),
        difference=score - score[tica],
        difference_error=(scores - scores[tica]).std(1, ddof=1),
        timescales=_timescales(eigenvalues, lag * step),
        timescale_error=_timescales(resampled, lag * step).std(1, ddof=1),
        training_frames=sum(b - a for a, b in training),
        held_out_frames=sum(b - a for a, b in test),
        held_out_ps=step * sum(b - a for a, b in test),
        blocks=len(blocks),
        tica_of=tica_of,
    )


def time_step(data: TrajectoryData) -> float:
    """The time between frames in ps.

    Args:
        data: Frames of one or several runs.

    Raises:
        TrajectoryError: Times are unknown, or frames are not evenly spaced and ordered in time.

    Example:
        >>> import mdtraj as md
        >>> from symplectic_cv.data.mdshare import heavy_atom_topology
        >>> frames = 0.015 * np.random.default_rng(0).normal(size=(4, 10, 3))
        >>> trajectory = md.Trajectory(frames, heavy_atom_topology(), time=[0.0, 0.5, 1.0, 1.5])
        >>> time_step(TrajectoryData.from_mdtraj(trajectory))
        0.5
    """
    if data.times_ps is None or not np.isfinite(data.times_ps).all():
        raise TrajectoryError("the times of the frames are unknown, so there are no kinetics")
    steps = [np.diff(data.times_ps[a:b]) for a, b in _runs(data.lengths)]
    joined = np.concatenate(steps)
    if len(joined) == 0 or not (joined > 0.0).all():
        raise TrajectoryError("the frames are not ordered in time, so there are no kinetics")
    step = float(np.median(joined))
    # files hold times in single precision: the mean over the runs rounds less than one step
    step = float(sum(part.sum() for part in steps)) / len(joined) if _even(joined, step) else step
    tolerance = 0.01 * step + 4.0 * np.finfo(np.float32).eps * float(np.abs(data.times_ps).max())
    for name, some in zip(data.names, steps, strict=True):
        wrong = np.flatnonzero(np.abs(some - step) > tolerance)
        if len(wrong):
            raise TrajectoryError(
                f"{name}: frames {wrong[0]} and {wrong[0] + 1} are {some[wrong[0]]:g} ps apart, "
                f"others {step:g} ps, so there are no kinetics"
            )
    return float(f"{step:.6g}")


def _even(steps: np.ndarray, typical: float) -> bool:
    return bool(np.abs(steps - typical).max() < 0.5 * typical)


def relaxation_time(values: np.ndarray, parts: Sequence[tuple[int, int]]) -> int:
    """The number of frames after which the autocorrelation of a variable is below 1/e.

    Args:
        values: The variable, shape (n_frames,).
        parts: First and last-but-one frame of continuous pieces.

    Raises:
        TrajectoryError: It does not fall so far within half of the longest piece.
    """
    pieces = [values[a:b] for a, b in parts]
    every = np.concatenate(pieces)
    mean, variance = every.mean(), every.var()
    half = max(len(piece) for piece in pieces) // 2
    if half > 1 and variance > 0.0:
        for lag in np.unique(np.geomspace(1, half, 100).astype(int)):
            products = [(p[:-lag] - mean) * (p[lag:] - mean) for p in pieces if len(p) > lag]
            if np.concatenate(products).mean() < variance / np.e:
                return int(lag)
    raise TrajectoryError("mode 0 does not relax within the runs: they are too short for kinetics")


def held_out_blocks(test: Sequence[tuple[int, int]], lag: int, step: float) -> Parts:
    """Blocks of held-out time, about ten, each at least twice as long as the lag.

    Raises:
        TrajectoryError: There are fewer than five such blocks.
    """
    lengths = [b - a for a, b in test]
    starts = np.repeat([a for a, _ in test], lengths) - np.repeat(
        np.cumsum([0, *lengths[:-1]]), lengths
    )
    blocks = []
    for rows in blocks_of_runs(lengths):
        if len(rows) >= 2 * lag + 1:
            blocks.append((int(rows[0] + starts[rows[0]]), int(rows[-1] + starts[rows[-1]] + 1)))
    if len(blocks) < FEWEST_BLOCKS:
        raise TrajectoryError(
            f"{sum(lengths) * step:g} ps of held-out time are too short for a lag of "
            f"{lag * step:g} ps: give longer runs, or a shorter `lag_ps`"
        )
    return blocks


def _runs(lengths: Sequence[int]) -> Parts:
    ends = np.cumsum(lengths)
    return [(int(end - length), int(end)) for end, length in zip(ends, lengths, strict=True)]


def _score(
    x: np.ndarray, blocks: Parts, lag: int, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (FUNCTIONS,) of functions on all blocks, and those on resamples."""
    sums = [_pair_sums(x[a : b - lag], x[a + lag : b]) for a, b in blocks]
    counts, first, second, lagged = (np.array(part) for part in zip(*sums, strict=True))

    def eigenvalues(times: np.ndarray) -> np.ndarray:
        n = times @ counts
        mean = np.tensordot(times, first, 1) / n
        now, later = (np.tensordot(times, part, 1) / n for part in (second, lagged))
        return _eigenvalues(now - np.outer(mean, mean), later - np.outer(mean, mean))

    return eigenvalues(np.ones(len(blocks))), np.stack([eigenvalues(draw) for draw in draws])


def _pair_sums(
    now: np.ndarray, later: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """The number of pairs, and symmetric sums of functions, of products and of lagged products."""
    lagged = now.T @ later
    return (
        float(len(now)),
        0.5 * (now.sum(0) + later.sum(0)),
        0.5 * (now.T @ now + later.T @ later),
        0.5 * (lagged + lagged.T),
    )


def _eigenvalues(covariance: np.ndarray, lagged: np.ndarray) -> np.ndarray:
    """The eigenvalues of C(0)⁻¹ C(τ), largest first, padded with zeros to FUNCTIONS."""
    variance, axes = np.linalg.eigh(covariance)
    kept = variance > 1e-10 * max(float(variance[-1]), 1e-300)
    white = axes[:, kept] / np.sqrt(variance[kept])
    found = eigh(white.T @ lagged @ white, eigvals_only=True)[::-1]
    return np.pad(found, (0, FUNCTIONS - len(found)))


def _timescales(eigenvalues: np.ndarray, lag_ps: float) -> np.ndarray:
    """−τ / ln λ in ps; 0 where λ is not positive."""
    inside = np.clip(eigenvalues, 1e-300, 1.0 - 1e-12)
    return np.where(eigenvalues > 0.0, -lag_ps / np.log(inside), 0.0)
