"""Checks of option values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from symplectic_cv.checks import check_number, check_whole, choose, set_choices
from symplectic_cv.errors import OptionError
from symplectic_cv.flows.options import Coupling, Flow


def test_strings_and_members_are_the_same_choice():
    assert choose(Flow, "linear", "flow") is Flow.LINEAR
    assert choose(Flow, Flow.LINEAR, "flow") is Flow.LINEAR


@pytest.mark.parametrize("value", ["planar", "", None, 3, Coupling.SPLINE])
def test_what_is_no_choice_is_refused_with_the_choices(value):
    with pytest.raises(OptionError, match="`flow` must be point, linear or continuous"):
        choose(Flow, value, "flow")


def test_fields_of_a_frozen_dataclass_become_members_and_none_stays():
    @dataclass(frozen=True)
    class Options:
        flow: Flow | str
        coupling: Coupling | None = None

        def __post_init__(self) -> None:
            set_choices(self, flow=Flow, coupling=Coupling)

    options = Options("point")
    assert options.flow is Flow.POINT
    assert options.coupling is None


@pytest.mark.parametrize("value", [1.0, "3", True, None, float("nan"), np.float64(2)])
def test_numbers_that_are_not_whole_are_refused(value):
    with pytest.raises(OptionError, match="`steps` must be a whole number"):
        check_whole(value, "steps")


def test_whole_numbers_have_limits():
    assert type(check_whole(np.int64(7), "steps")) is int
    with pytest.raises(OptionError, match="`steps` must be at least 1; got 0"):
        check_whole(0, "steps")
    with pytest.raises(OptionError, match="`bins` must be from 2 to 128; got 129"):
        check_whole(129, "bins", 2, 128)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "a finite number"),
        (float("inf"), "a finite number"),
        ("2", "a number"),
        (True, "a number"),
        (None, "a number"),
        (0.0, "positive"),
        (11.0, "at most 10"),
    ],
)
def test_numbers_out_of_range_are_refused(value, words):
    with pytest.raises(OptionError, match=f"`rate` must be {words}"):
        check_number(value, "rate", above=0.0, most=10.0)


def test_other_limits_of_a_number():
    assert check_number(0, "rate", least=0.0) == 0.0
    with pytest.raises(OptionError, match="0 or more"):
        check_number(-1e-9, "rate", least=0.0)
    with pytest.raises(OptionError, match="below 1"):
        check_number(1.0, "rate", below=1.0)
