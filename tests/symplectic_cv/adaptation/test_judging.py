"""The judgement of rounds, and the end of the loop."""

import numpy as np
import pytest

from symplectic_cv.adaptation.judging import (
    RoundProgress,
    best_round,
    judge_runs,
    still_growing,
    thinning_strides,
)
from symplectic_cv.bias.states import describe_states, find_states

KT = 2.5


def rounds(*per_ns, states=2):
    return [
        RoundProgress(0, 5000, float("nan"), 1, 0, float("nan")),
        *(RoundProgress(k, 5000, 5.0, states, round(5 * r), r) for k, r in enumerate(per_ns, 1)),
    ]


@pytest.mark.parametrize(
    ("per_ns", "expected"),
    [
        ((0.0,), True),  # one round tells nothing yet
        ((0.0, 0.0), True),  # nothing crossed so far: go on looking
        ((1.6, 62.0), True),
        ((1.6, 62.0, 40.0), True),  # one round that is worse may be bad luck
        ((1.6, 62.0, 70.0, 73.0), False),  # twice less than a fifth more
        ((1.6, 62.0, 70.0, 85.0), True),
        ((1.6, 62.0, 40.0, 30.0), False),
        ((62.0, 40.0, 65.0), False),  # not above the best of the earlier ones
    ],
)
def test_the_loop_goes_on_while_crossings_grow(per_ns, expected):
    assert still_growing(rounds(*per_ns)) is expected


def test_a_new_state_is_worth_another_round():
    progress = [*rounds(50.0, 40.0), RoundProgress(3, 5000, 5.0, 3, 200, 40.0)]
    assert still_growing(progress)
    assert not still_growing(rounds(50.0, 40.0, 40.0))


def test_the_best_round_is_the_one_that_crosses_most():
    assert best_round(rounds(1.0, 60.0, 40.0)) == 2
    assert best_round(rounds(0.0, 0.0)) == 2


@pytest.mark.parametrize(
    ("per_ns", "expected"),
    [
        ((3.2, 40.0, 24.0), [12, 1, 2]),  # in proportion, to whole frames
        ((0.0, 40.0), [5000, 1]),  # one frame is left of a run that knows no ratio
        ((0.0, 0.0), [1, 1]),
        ((38.0, 40.0), [1, 1]),
    ],
)
def test_rounds_count_in_free_energies_by_their_crossings(per_ns, expected):
    assert thinning_strides(rounds(*per_ns)) == expected


def test_all_sources_are_judged_by_the_states_of_the_newest_model():
    rng = np.random.default_rng(0)

    def hopping(n, dwell):
        truth = np.arange(n) // dwell % 2
        return truth, rng.normal(4.0 * truth - 2.0, 0.35)

    start = rng.normal(-2.0, 0.35, 1000)
    slow_truth, slow = hopping(3000, 1000)
    fast_truth, fast = hopping(3000, 50)
    modes = np.concatenate([start, slow, fast])[:, None]
    # the start does not shape the states, it is only judged
    weights = np.concatenate([np.zeros(1000), np.ones(6000)])
    states, found = judge_runs(
        modes, weights, [[400, 600], [3000], [3000]], [float("nan"), 3.0, 3.0], KT, first_round=0
    )
    assert states.count == 2
    assert [row.round for row in found] == [0, 1, 2]
    assert [row.states for row in found] == [1, 2, 2]
    expected = [0, (np.diff(slow_truth) != 0).sum(), (np.diff(fast_truth) != 0).sum()]
    assert [row.crossings for row in found] == expected
    assert np.isnan(found[0].crossings_per_ns)
    assert found[2].crossings_per_ns == pytest.approx(expected[2] / 3.0)


@pytest.mark.parametrize(
    ("centres", "frames", "words"),
    [
        ([0.0], 5, "No metastable state yet"),
        ([0.0], 4000, "One metastable state along the slowest modes: there is nothing to cross"),
        ([-2.5, 2.5], 4000, "2 metastable states along the slowest modes"),
    ],
)
def test_where_crossings_tell_nothing_it_is_said(centres, frames, words):
    rng = np.random.default_rng(4)
    cloud = np.concatenate([rng.normal(c, 0.4, size=(frames, 2)) for c in centres])
    states = find_states(cloud, np.full(len(cloud), 1.0 / len(cloud)), KT)
    assert describe_states(states).startswith(words)


def test_progress_survives_json():
    row = RoundProgress(0, 10, float("nan"), 1, 0, float("nan"))
    back = RoundProgress.from_json(row.to_json())
    assert back.round == 0
    assert np.isnan(back.time_ns)
    assert RoundProgress.from_json(rounds(3.0)[1].to_json()) == rounds(3.0)[1]
