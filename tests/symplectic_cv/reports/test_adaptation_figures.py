"""The figure of the rounds of an adaptive loop."""

from symplectic_cv.adaptation.judging import RoundProgress
from symplectic_cv.adaptation.round_folders import RoundModel
from symplectic_cv.reports.adaptation_figures import plot_rounds


def test_the_figure_of_the_rounds_says_rates_and_lengths(is_drawn):
    """Every bar has its crossings per ns above it, and the length of its run below it."""
    progress = [
        RoundProgress(0, 100, float("nan"), 1, 7, float("nan")),
        RoundProgress(1, 50, 0.5, 2, 1, 2.0),
        RoundProgress(2, 50, 5.0, 2, 1524, 304.8),
    ]
    models = [RoundModel(-3.0, [1.0, 2.0, 9.0], [0, 1])] * 2
    left, right = plot_rounds(progress, models)
    assert [text.get_text() for text in left.texts] == ["7 in all", "2", "305"]
    below = [tick.get_text() for tick in left.get_xticklabels()]
    assert below == ["start\nunknown", "1\n0.5 ns", "2\n5 ns"]
    assert [bar.get_height() for bar in left.patches] == [0.0, 2.0, 304.8]
    assert left.get_ylabel() == "crossings between states (1/ns)"
    assert right.get_ylabel().endswith("(rad/ps)")
    assert is_drawn(left)
