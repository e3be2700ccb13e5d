"""Fixtures of the tests of figures."""

import pytest
from matplotlib.image import imread

from symplectic_cv.reports.style import save_figure


@pytest.fixture
def is_drawn(tmp_path):
    """Whether a figure, saved, is a picture of some size with something on it."""

    def check(figure):
        path = tmp_path / "figure.png"
        save_figure(figure, path)
        picture = imread(path)
        return picture.std() > 0.01 and min(picture.shape[:2]) > 200

    return check
