"""Regions in torsions and distances, from texts."""

import numpy as np
import pytest

from symplectic_cv.bias.regions import parse_regions
from symplectic_cv.data.descriptors import Column
from symplectic_cv.errors import OptionError

PHI = Column("phi", "rad", np.radians([-170.0, -60.0, 50.0, 175.0]), True)
ENDS = Column("ends", "nm", np.array([0.5, 0.6, 0.7, 0.8]), False)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("a=phi:-180:0", [True, True, False, False]),
        ("a=phi:160:-160", [True, False, False, True]),  # across ±180 degrees
        ("a=ends:0.55:0.75", [False, True, True, False]),
        ("a=phi:-180:0,ends:0.55:0.75", [False, True, False, False]),
    ],
)
def test_frames_inside_a_region(text, inside):
    region, _ = parse_regions([text, "b=phi:0:180"])
    assert region.holds([PHI, ENDS]).tolist() == inside


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a=phi:0", "b=phi:0:9"], "`regions` a=phi:0: not a region"),
        (["a=phi:0:nan", "b=phi:0:9"], "not a region"),
        (["a=phi:0:9", "a=phi:9:18"], "a is defined twice"),
        (["a=phi:0:9"], "`regions` takes two or more"),
    ],
)
def test_texts_that_are_no_regions(texts, words):
    with pytest.raises(OptionError, match=words):
        parse_regions(texts)
