"""Progress of the rounds of an adaptive loop: states, crossings, and the decision to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from symplectic_cv.bias.states import (
    BANDWIDTH,
    States,
    count_crossings,
    find_states,
)

LEAST_GROWTH = 0.2
"""Default share by which crossings per ns must exceed those of the best earlier round to grow."""


@dataclass(frozen=True)
class RoundProgress:
    """The moves of one run of the loop between the states that the newest model sees.

    Attributes:
        round: The number of the round; 0 for the frames that the loop began with.
        frames: The number of frames of the run.
        time_ns: The length of the run, ns; NaN where the time between frames is unknown.
        states: The number of states that the run visited.
        crossings: The number of crossings between states.
        crossings_per_ns: The crossings per ns; NaN where the time is unknown.
    """

    round: int
    frames: int
    time_ns: float
    states: int
    crossings: int
    crossings_per_ns: float

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON, with null for NaN."""
        return {k: None if v != v else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> RoundProgress:
        """Reads what `to_json` gave."""
        fields: dict[str, Any] = {k: float("nan") if v is None else v for k, v in record.items()}
        return cls(**fields)


def judge_runs(
    modes: np.ndarray,
    weights: np.ndarray,
    lengths: Sequence[Sequence[int]],
    times_ns: Sequence[float],
    kt: float,
    first_round: int = 1,
    bandwidth: float | Sequence[float] = BANDWIDTH,
) -> tuple[States, list[RoundProgress]]:
    """Finds the states that the newest model sees, and counts the crossings of each round.

    Args:
        modes: The slow modes of the newest model on all frames, round after round, (F, D).
        weights: The unbiased weights of the frames, (F,); frames with weight 0 do not shape the
            states.
        lengths: The number of frames of each continuous run, for each round.
        times_ns: The simulated time of each round, ns; NaN where it is unknown.
        kt: kT in kJ/mol.
        first_round: The number of the first round; 0 where the frames begin with the starting data.
        bandwidth: The width of the smoothing of the density, as for `find_states`.

    Returns:
        The states, and one row of progress for each round.
    """
    shaping = weights > 0.0
    states = find_states(modes[shaping], weights[shaping], kt, bandwidth=bandwidth)
    rows, start = [], 0
    for place, (runs, time) in enumerate(zip(lengths, times_ns, strict=True)):
        crossings, seen = 0, set()
        for length in runs:
            visited = states.visited(modes[start : start + length])
            crossings += count_crossings(visited)
            seen |= set(visited[visited >= 0].tolist())
            start += length
        rows.append(
            RoundProgress(
                round=first_round + place,
                frames=int(sum(runs)),
                time_ns=float(time),
                states=len(seen),
                crossings=crossings,
                crossings_per_ns=crossings / time if time > 0 else float("nan"),
            )
        )
    return states, rows


def still_growing(rows: Sequence[RoundProgress], least_growth: float = LEAST_GROWTH) -> bool:
    """Whether another round is worth it: not after two rounds in a row that did not grow.

    A round grows where its crossings per ns exceed those of the best earlier round by at least
    the share `least_growth`, or where it visits more states than any earlier round. The loop
    also goes on while nothing has crossed. A single round without growth is no reason to stop,
    because trainings and crossings are random.

    Args:
        rows: The progress of rounds 1, 2, …, all judged by the newest model's states; round 0 is
            ignored.
        least_growth: The share by which crossings per ns must grow.

    Example:
        >>> counts = [(1, 8), (2, 310), (3, 320), (4, 290)]
        >>> rows = [RoundProgress(k, 5000, 5.0, 2, n, n / 5.0) for k, n in counts]
        >>> still_growing(rows[:3]), still_growing(rows)
        (True, False)
    """
    rounds = [row for row in rows if row.round > 0]

    def grew(place: int) -> bool:
        if place <= 0:
            return True
        earlier, here = rounds[:place], rounds[place]
        best = max(row.crossings_per_ns for row in earlier)
        more = here.crossings_per_ns >= (1.0 + least_growth) * best
        return more or here.states > max(row.states for row in earlier)

    return grew(len(rounds) - 1) or grew(len(rounds) - 2)


def best_round(rows: Sequence[RoundProgress]) -> int:
    """Number of the round with the most crossings per ns, the later one of equal rounds."""
    rounds = [row for row in rows if row.round > 0]
    return max(rounds, key=lambda row: (row.crossings_per_ns, row.round)).round


def thinning_strides(rows: Sequence[RoundProgress]) -> list[int]:
    """Every how many frames of each round are used in free energies.

    Rounds that rarely cross are thinned in proportion to their crossing rate, because MBAR would
    otherwise trust the basin they happened to be in. MBAR assumes that frames are independent,
    and what a run knows about the ratio of the basins comes from its crossings. Each round is
    therefore thinned to the crossings per frame of the best one. A round that never crosses
    keeps a single frame. Where no round crosses, all frames are used.

    Args:
        rows: The progress of rounds 1, 2, …, judged by the same states; round 0 is ignored.

    Returns:
        One stride for each round.

    Source: J. D. Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), for thinning by the
    statistical inefficiency, which is here the number of frames per crossing.

    Example:
        >>> counts = [(1, 16), (2, 212), (3, 124)]
        >>> thinning_strides([RoundProgress(k, 25000, 5.0, 2, n, n / 5.0) for k, n in counts])
        [13, 1, 2]
    """
    rounds = [row for row in rows if row.round > 0]
    density = [row.crossings / row.frames for row in rounds]
    best = max(density)
    return [
        1 if best == 0.0 else round(min(best / here, row.frames) if here else row.frames)
        for row, here in zip(rounds, density, strict=True)
    ]
