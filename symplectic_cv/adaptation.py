"""The adaptive loop: what a round learns from, how far it got, and when to stop.

A model of one basin cannot know another. Each round trains on everything seen so far, biases
the slowest modes it finds, and adds what that run saw. Two distributions are kept apart. The
model learns from a flattened one: every source counts the same, and biased frames count as
they are, which is canonical for V + bias. Free energies take the exact weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from symplectic_cv.analysis.latent import SLOW_AMONG, slow_modes
from symplectic_cv.errors import OptionError
from symplectic_cv.states import States, count_crossings, find_states

LEAST_GROWTH = 0.2
"""The loop ends when the newest round crosses less than this much more often than any before."""
MOST_MODES = 3


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


def training_weights(
    lengths: Sequence[Sequence[int]],
    biased: Sequence[np.ndarray],
    temper: float = 0.0,
) -> np.ndarray:
    """Weights of the frames that the next model learns from, (F,), each source of equal weight.

    Args:
        lengths: frames of each run of each source: the starting data, then round after round.
        biased: exact weights of the frames of each round, one array per round.
        temper: power of those weights: 0 counts biased frames as they are, 1 restores the
            unbiased distribution, in which a model forgets the rare states just found.

    Raises:
        OptionError: a power outside of [0, 1], or weights that do not match their frames.

    Example:
        >>> training_weights([[4], [2]], [np.array([1.0, 3.0])]).tolist()
        [0.25, 0.25, 0.25, 0.25, 0.5, 0.5]
    """
    if not 0.0 <= temper <= 1.0:
        raise OptionError(f"--temper must lie between 0 and 1; got {temper}")
    sizes = [int(sum(runs)) for runs in lengths]
    first = len(sizes) - len(biased)  # sources before the first round
    shares = []
    for place, size in enumerate(sizes):
        weight = np.ones(size)
        if place >= first:
            exact = np.asarray(biased[place - first], dtype=np.float64)
            if exact.shape != (size,):
                raise OptionError(
                    f"round {place - first + 1} has {size} frames and {len(exact)} weights: they "
                    "belong to different runs"
                )
            weight = exact**temper
        shares.append(weight / weight.sum())
    return np.concatenate(shares)


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
    persistence: float | None = None,
) -> tuple[States, list[Progress]]:
    """States that the newest model sees, and how each source of frames moves between them.

    Args:
        modes: the biased modes of the newest model on all frames, source after source, (F, D).
        weights: exact weights of the frames, (F,); 0 for those that are not to shape the states.
        lengths: frames of each run of each source.
        times_ns: simulated by each source, NaN where unknown.
        kt: kT in kJ/mol.
        first_round: number of the first source; 0 for starting data.
        persistence: least barrier between states, kT; the default of `find_states` where None.
    """
    shaping = weights > 0.0
    options = {} if persistence is None else {"persistence": persistence}
    states = find_states(modes[shaping], weights[shaping], kt, **options)
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
    """Whether another round is worth it.

    It is after the first round, and as long as no round has crossed at all; afterwards where the
    newest crosses at least `least_growth` more often per ns than the best of the earlier ones, or
    saw a state that none of them did.

    Args:
        progress: of rounds 1, 2, …, all judged by the newest model's states.

    Example:
        >>> rounds = [Progress(k, 5000, 5.0, 2, n, n / 5.0) for k, n in [(1, 8), (2, 310)]]
        >>> still_growing(rounds), still_growing([*rounds, Progress(3, 5000, 5.0, 2, 320, 64.0)])
        (True, False)
    """
    rounds = [row for row in progress if row.round > 0]
    if len(rounds) < 2:
        return True
    newest, earlier = rounds[-1], rounds[:-1]
    if newest.states > max(row.states for row in earlier):
        return True
    best = max(row.crossings_per_ns for row in earlier)
    return newest.crossings_per_ns >= (1.0 + least_growth) * best


def best_round(progress: Sequence[Progress]) -> int:
    """The round with the most crossings per ns; the later one of equals."""
    rounds = [row for row in progress if row.round > 0]
    return max(rounds, key=lambda row: (row.crossings_per_ns, row.round)).round
