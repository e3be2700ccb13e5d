"""The adaptive loop: what a round learns from, how far it got, and when to stop.

A model of one basin cannot know another. Each round trains on everything seen so far, biases
the slowest modes it finds, and adds what that run saw. Two distributions are kept apart. The
model learns from a flattened one: biased frames count as they are, which is canonical for
V + bias, and all of them more where they are few. Free energies take the exact weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from symplectic_cv.analysis.latent import SLOW_AMONG, slow_modes
from symplectic_cv.bias.states import BANDWIDTH, States, count_crossings, find_states
from symplectic_cv.errors import OptionError
from symplectic_cv.files.tables import write_table

LEAST_GROWTH = 0.2
"""A round that crosses less than this much more often than any before has not grown."""
MOST_MODES = 3
FLATTEN = 0.5
"""Power of the density along the slow modes by which frames count less in training."""
FLAT_SPACING, FARTHEST = 0.25, 10.0
"""Of the grid on which frames are counted, and its ends, in units of a mode."""
THINNEST = 0.05
"""Part of the frames that lie where too few are to know the density."""


@dataclass(frozen=True)
class Progress:
    """How one run moves between the states that the newest model sees.

    Attributes:
        round: 0 for the data that the loop began with.
        frames, time_ns: of the run; the time is NaN where the frames' spacing is unknown.
        states: visited, of those that the newest model sees.
        crossings: between them.
        crossings_per_ns: NaN where the time is unknown.
    """

    round: int
    frames: int
    time_ns: float
    states: int
    crossings: int
    crossings_per_ns: float

    def to_json(self) -> dict[str, Any]:
        return {k: None if v != v else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Progress:
        fields: dict[str, Any] = {k: float("nan") if v is None else v for k, v in record.items()}
        return cls(**fields)


@dataclass(frozen=True)
class RoundModel:
    """What a round's model is like: validation NLL (nats), ω (rad/ps), and the biased modes."""

    validation_nll: float
    omega: list[float]
    modes: list[int]


def flattening_weights(slow: np.ndarray, flatten: float = FLATTEN) -> np.ndarray:
    """Weights of the frames that the next model learns from, (F,), of mean 1.

    They are density^(−flatten), with the density of all frames along the slow modes of the newest
    model: transition states, where frames are few, shape the next model as the basins do. A frame
    in the thinnest places counts no more than one where the thinnest twentieth begins.

    Args:
        slow: slow modes of the newest model on all frames, whatever run they are of, (F, D).
        flatten: 0 counts all frames the same; 1 makes every place count the same.

    Raises:
        OptionError: a power outside of [0, 1].

    Example:
        >>> crowd, few = np.zeros((900, 1)), np.full((100, 1), 5.0)
        >>> w = flattening_weights(np.concatenate([crowd, few]), 0.5)
        >>> round(float(w[-1] / w[0]), 3)
        3.0
    """
    if not 0.0 <= flatten <= 1.0:
        raise OptionError(f"--flatten must lie between 0 and 1; got {flatten}")
    near = np.clip(np.asarray(slow), -FARTHEST, FARTHEST)
    places = tuple(np.rint((near + FARTHEST) / FLAT_SPACING).astype(int).T)
    counts = np.zeros((round(2 * FARTHEST / FLAT_SPACING) + 1,) * len(places))
    np.add.at(counts, places, 1.0)
    density = gaussian_filter(counts, 1.0, mode="constant")[places]
    weights = np.maximum(density, np.quantile(density, THINNEST)) ** -flatten
    return weights / weights.mean()


def modes_to_bias(omega: np.ndarray) -> list[int]:
    """The slow modes below the widest gap in ln ω, at most three, at least two.

    Example:
        >>> modes_to_bias(np.array([2.7, 5.1, 5.5, 19.7, 36.0, 40.0]))
        [0, 1, 2]
    """
    count = min(slow_modes(np.asarray(omega)[:SLOW_AMONG]), MOST_MODES, len(omega))
    return list(range(count))


def judge(
    modes: np.ndarray,
    weights: np.ndarray,
    lengths: Sequence[Sequence[int]],
    times_ns: Sequence[float],
    kt: float,
    first_round: int = 1,
    bandwidth: float | Sequence[float] = BANDWIDTH,
) -> tuple[States, list[Progress]]:
    """States that the newest model sees, and how each source of frames moves between them.

    Args:
        modes: slow modes of the newest model on all frames, source after source, (F, D).
        weights: exact weights of the frames, (F,); 0 for those that are not to shape the states.
        lengths: frames of each run of each source.
        times_ns: simulated by each source, NaN where unknown.
        kt: kT in kJ/mol.
        first_round: number of the first source; 0 for starting data.
        bandwidth: as for `find_states`.
    """
    shaping = weights > 0.0
    states = find_states(modes[shaping], weights[shaping], kt, bandwidth=bandwidth)
    found, start = [], 0
    for place, (runs, time) in enumerate(zip(lengths, times_ns, strict=True)):
        crossings, seen = 0, set()
        for length in runs:
            visited = states.visited(modes[start : start + length])
            crossings += count_crossings(visited)
            seen |= set(visited[visited >= 0].tolist())
            start += length
        found.append(
            Progress(
                round=first_round + place,
                frames=int(sum(runs)),
                time_ns=float(time),
                states=len(seen),
                crossings=crossings,
                crossings_per_ns=crossings / time if time > 0 else float("nan"),
            )
        )
    return states, found


def still_growing(progress: Sequence[Progress], least_growth: float = LEAST_GROWTH) -> bool:
    """Whether another round is worth it: not after two rounds in a row that did not grow.

    A round grows where it crosses at least `least_growth` more often per ns than the best one
    before it, or sees a state that none of them saw. Where nothing has crossed yet, looking goes
    on. A single round tells little: trainings and crossings are random.

    Args:
        progress: of rounds 1, 2, …, all judged by the newest model's states.

    Example:
        >>> counts = [(1, 8), (2, 310), (3, 320), (4, 290)]
        >>> rounds = [Progress(k, 5000, 5.0, 2, n, n / 5.0) for k, n in counts]
        >>> still_growing(rounds[:3]), still_growing(rounds)
        (True, False)
    """
    rounds = [row for row in progress if row.round > 0]

    def grew(place: int) -> bool:
        if place <= 0:
            return True
        earlier, here = rounds[:place], rounds[place]
        best = max(row.crossings_per_ns for row in earlier)
        more = here.crossings_per_ns >= (1.0 + least_growth) * best
        return more or here.states > max(row.states for row in earlier)

    return grew(len(rounds) - 1) or grew(len(rounds) - 2)


def best_round(progress: Sequence[Progress]) -> int:
    """The round with the most crossings per ns; the later one of equals."""
    rounds = [row for row in progress if row.round > 0]
    return max(rounds, key=lambda row: (row.crossings_per_ns, row.round)).round


def strides(progress: Sequence[Progress]) -> list[int]:
    """Every how many frames of each round count in free energies: the fewer it crosses, the less.

    MBAR takes frames for independent, and would take it for knowledge which basin a run that
    hardly crosses happened to be in. What a run knows of the basins' ratio goes by its crossings,
    so each is thinned to the crossings per frame of the best. One that never crosses leaves a
    single frame. Where none crosses, all count alike.

    Source: J. D. Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), for thinning by the
    statistical inefficiency, which is here frames per crossing.

    Args:
        progress: of rounds 1, 2, …, judged by the same states; round 0 is passed over.

    Example:
        >>> counts = [(1, 16), (2, 212), (3, 124)]
        >>> strides([Progress(k, 25000, 5.0, 2, n, n / 5.0) for k, n in counts])
        [13, 1, 2]
    """
    rounds = [row for row in progress if row.round > 0]
    density = [row.crossings / row.frames for row in rounds]
    best = max(density)
    return [
        1 if best == 0.0 else round(min(best / here, row.frames) if here else row.frames)
        for row, here in zip(rounds, density, strict=True)
    ]


def write_rounds(
    path: str | Path, progress: Sequence[Progress], models: Sequence[RoundModel]
) -> None:
    """Writes rounds.csv, a row for each source of frames; round 0 is the data at the start.

    Args:
        path: The file to write.
        progress: What each source brought, all judged by the newest model's states.
        models: The models of rounds 1, 2, …
    """
    of_rounds = [models[row.round - 1] if row.round > 0 else None for row in progress]
    losses = [f"{model.validation_nll:.6g}" if model else "" for model in of_rounds]
    table = {
        "round": [row.round for row in progress],
        "frames": [row.frames for row in progress],
        "time_ns": [row.time_ns for row in progress],
        "states_visited": [row.states for row in progress],
        "crossings": [row.crossings for row in progress],
        "crossings_per_ns": [row.crossings_per_ns for row in progress],
        "validation_nll_nats": losses,
        "slowest_omega_rad_per_ps": [
            " ".join(f"{omega:.4g}" for omega in model.omega[:6]) if model else ""
            for model in of_rounds
        ],
        "modes": [" ".join(map(str, model.modes)) if model else "" for model in of_rounds],
    }
    write_table(path, table, "%.6g")
