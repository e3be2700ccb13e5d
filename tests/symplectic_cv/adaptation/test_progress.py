"""What a round learns from, how it is judged, and when the loop ends."""

import numpy as np
import pytest

from symplectic_cv.adaptation.progress import (
    Progress,
    RoundModel,
    best_round,
    flattening_weights,
    judge,
    modes_to_bias,
    still_growing,
    strides,
)
from symplectic_cv.bias.states import describe_states, find_states
from symplectic_cv.errors import OptionError
from symplectic_cv.reports.adaptation_figures import plot_rounds

KT = 2.5


def rounds(*per_ns, states=2):
    return [
        Progress(0, 5000, float("nan"), 1, 0, float("nan")),
        *(Progress(k, 5000, 5.0, states, round(5 * r), r) for k, r in enumerate(per_ns, 1)),
    ]


@pytest.mark.parametrize(("flatten", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_flattening_goes_from_all_frames_alike_to_all_places_alike(flatten, share):
    """Two stretches of equal length, nine frames in the one for each in the other."""
    cloud = np.linspace(-8.0, -1.0, 45_000)[:, None]
    few = np.linspace(1.0, 8.0, 5_000)[:, None]
    weights = flattening_weights(np.concatenate([cloud, few]), flatten)
    assert weights.mean() == pytest.approx(1.0)
    assert weights[len(cloud) :].sum() / weights.sum() == pytest.approx(share, abs=0.015)


def test_no_single_frame_far_outside_rules_the_next_model():
    rng = np.random.default_rng(2)
    slow = np.concatenate([rng.normal(size=(10_000, 2)), [[60.0, -1e4], [7.0, 8.0]]])
    weights = flattening_weights(slow, 1.0)
    assert np.isfinite(weights).all()
    assert weights[-2:].max() <= np.quantile(weights, 0.95) * 1.001
    assert flattening_weights(slow, 0.0).tolist() == [1.0] * len(slow)


def test_a_power_that_does_not_flatten_is_refused():
    with pytest.raises(OptionError, match="--flatten must lie between 0 and 1"):
        flattening_weights(np.zeros((5, 1)), 1.5)


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
    progress = [*rounds(50.0, 40.0), Progress(3, 5000, 5.0, 3, 200, 40.0)]
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
    assert strides(rounds(*per_ns)) == expected


def test_modes_below_the_widest_gap_are_biased():
    assert modes_to_bias(np.array([2.3, 5.5, 18.4, 36.0])) == [0, 1]
    assert modes_to_bias(np.array([2.7, 5.1, 5.5, 19.7, 36.0])) == [0, 1, 2]
    # more than three soft modes: a grid holds three
    assert modes_to_bias(np.array([1.0, 2.0, 2.5, 3.0, 3.5, 40.0])) == [0, 1, 2]
    assert modes_to_bias(np.array([3.0])) == [0]


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
    states, found = judge(
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
    row = Progress(0, 10, float("nan"), 1, 0, float("nan"))
    back = Progress.from_json(row.to_json())
    assert back.round == 0
    assert np.isnan(back.time_ns)
    assert Progress.from_json(rounds(3.0)[1].to_json()) == rounds(3.0)[1]


def test_the_figure_of_the_rounds_says_rates_and_lengths():
    """Every bar has its crossings per ns above it, and the length of its run below it."""
    progress = [
        Progress(0, 100, float("nan"), 1, 7, float("nan")),
        Progress(1, 50, 0.5, 2, 1, 2.0),
        Progress(2, 50, 5.0, 2, 1524, 304.8),
    ]
    models = [RoundModel(-3.0, [1.0, 2.0, 9.0], [0, 1])] * 2
    left, _ = plot_rounds(progress, models)
    assert [text.get_text() for text in left.texts] == ["7 in all", "2", "305"]
    below = [tick.get_text() for tick in left.get_xticklabels()]
    assert below == ["start\nunknown", "1\n0.5 ns", "2\n5 ns"]
    assert [bar.get_height() for bar in left.patches] == [0.0, 2.0, 304.8]
    assert left.get_ylabel() == "crossings between states (1/ns)"
