"""The figure of a path, and values over time."""

import numpy as np

from symplectic_cv.reports.bias_figures import plot_modes_over_time
from symplectic_cv.reports.path_figures import plot_path

TIME = np.arange(100) * 0.5


def test_modes_are_drawn_over_time(is_drawn):
    assert is_drawn(plot_modes_over_time(TIME, [np.sin(TIME), TIME], ["a", "b (nm)"]))


def test_paths_and_scans_are_drawn(is_drawn):
    angles = np.linspace(-4.0, 4.0, 20)[:, None]
    others = {"straight": TIME[:20], "refined": -0.5 * TIME[:20]}
    panels = plot_path(-TIME[:20], others, angles, angles, ["phi"])
    assert len(panels) == 2
    assert panels[1].get_ylabel().startswith("torsion (degrees)")
    assert is_drawn(panels)
    bare = plot_path(-TIME[:20], others)
    assert len(bare) == 1
    assert is_drawn(bare)
    scan = plot_path(-TIME[:20], {}, angles, None, ["phi"], (2, np.linspace(-2.0, 2.0, 20)))
    assert scan[-1].get_xlabel().startswith("mode 2")
    assert is_drawn(scan)
