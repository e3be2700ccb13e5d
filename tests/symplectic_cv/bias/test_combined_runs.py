"""Weights of biased runs, against a toy whose free energies are known.

A particle in U(x, y) = 5 kT (x² − 1)² + kT x/2 + y²/2 is biased by well-tempered metadynamics
along x, along y, or along x + y, in NumPy; the run folders are what the package reads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from symplectic_cv.bias.blocks import block_of_frames
from symplectic_cv.bias.combined_runs import Weighting, biases_at, combine_runs, transients
from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import HILLS, hills_header
from symplectic_cv.bias.run import COLVAR, METADYNAMICS, BiasedRun, BiasRecord, colvar_header
from symplectic_cv.bias.surfaces import region_difference
from symplectic_cv.errors import OptionError
from symplectic_cv.units import thermal_energy

T = 300.0
KT = thermal_energy(T)
GRID = BiasGrid.for_widths(-4.0, 4.0, [0.3])
FACTOR, HEIGHT, WIDTH, PACE, WALL = 8.0, 0.6, 0.3, 25, 20.0
DIRECTIONS = {"x": (1.0, 0.0), "y": (0.0, 1.0), "sum": (1.0, 1.0)}


def exact_difference():
    """G(x > 0) − G(x < 0) in kJ/mol."""

    def density(x):
        return np.exp(-5.0 * (x * x - 1.0) ** 2 - 0.5 * x)

    return -KT * np.log(quad(density, 0, 3)[0] / quad(density, -3, 0)[0])


def metadynamics(folder, direction, n_frames, seed):
    """Biases u·(x, y) and writes the tables of a run; returns the frames (F, 2)."""
    rng = np.random.default_rng(seed)
    axis, u = GRID.axes[0], np.array(direction)
    step = axis[1] - axis[0]
    bias, point = np.zeros(len(axis)), np.array([-1.0, 0.0])
    noise = np.sqrt(2 * 0.01) * rng.normal(size=(n_frames, PACE, 2))
    frames, colvar, hills = [], [], []
    for frame in range(n_frames):
        slope = np.gradient(bias, step) / KT
        for kick in noise[frame]:
            x, y = point
            pull = slope[min(max(round((u @ point - axis[0]) / step), 0), len(axis) - 1)]
            beyond = u @ point - np.clip(u @ point, axis[0], axis[-1])
            force = np.array([-20.0 * x * (x * x - 1.0) - 0.5, -y])
            force = force - (pull * (beyond == 0.0) + WALL / KT * beyond) * u
            point = point + 0.01 * force + kick
        s = float(u @ point)
        table = float(np.interp(s, axis, bias))
        felt = table + 0.5 * WALL * (s - np.clip(s, axis[0], axis[-1])) ** 2
        scaled = bias / KT / (FACTOR - 1.0)
        offset = KT * float(np.log(np.exp(FACTOR * scaled).sum() / np.exp(scaled).sum()))
        height = HEIGHT * np.exp(-felt / KT / (FACTOR - 1.0))
        frames.append(point)
        colvar.append([frame + 1.0, s, felt, offset, np.exp((felt - offset) / KT)])
        hills.append([frame + 1.0, s, WIDTH, height])
        bias = bias + height * np.exp(-0.5 * ((axis - s) / WIDTH) ** 2)
    folder.mkdir()
    BiasRecord(METADYNAMICS, ["mode_0"], GRID, [WIDTH], WALL, FACTOR, T, 1.0).write(folder)
    for name, header, rows in (
        (COLVAR, colvar_header(["mode_0"]), colvar),
        (HILLS, hills_header(["mode_0"]), hills),
    ):
        lines = [",".join(header), *(",".join(f"{v:.10g}" for v in row) for row in rows)]
        (folder / name).write_text("\n".join(lines) + "\n")
    return np.array(frames)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Runs along x, y and x + y, and their frames."""
    root = tmp_path_factory.mktemp("toys")
    frames = [
        metadynamics(root / name, direction, 4000, seed)
        for seed, (name, direction) in enumerate(DIRECTIONS.items())
    ]
    return [BiasedRun.read(root / name) for name in DIRECTIONS], frames


def projections(frames, runs):
    """The mode of each run on the frames of all."""
    points = np.concatenate(frames)
    return [points @ np.array(DIRECTIONS[run.folder.name])[:, None] for run in runs]


@pytest.mark.statistical
@pytest.mark.parametrize("weighting", list(Weighting))
def test_one_run_gives_the_exact_free_energy_within_its_error(toys, weighting):
    (run, *_), (frames, *_) = toys
    combined = combine_runs([run], weighting=weighting)
    x = frames[combined.kept, 0]
    blocks = block_of_frames(combined.lengths)
    found = region_difference(x > 0, x < 0, combined.weights, KT, blocks)
    assert found.error < 1.2
    assert abs(found.value - exact_difference()) < 2.5 * found.error
    # unweighted, the bias has levelled most of it
    level = region_difference(x > 0, x < 0, np.ones(len(x)), KT, blocks)
    assert abs(level.value) < 0.7 * abs(exact_difference())


def test_runs_of_different_modes_combine(toys):
    runs, frames = toys
    combined = combine_runs(runs, projections(frames, runs))
    x, y = np.concatenate(frames)[combined.kept].T
    blocks = block_of_frames(combined.lengths)
    found = region_difference(x > 0, x < 0, combined.weights, KT, blocks)
    assert abs(found.value - exact_difference()) < 2.5 * found.error
    # y is independent of x and of unit variance, whatever was biased
    mean = (combined.weights * y**2).sum()
    assert mean == pytest.approx(1.0, abs=0.12)
    alone = combine_runs(runs[:1])
    assert combined.effective_frames > 1.5 * alone.effective_frames


def test_a_run_that_never_crossed_misleads_unless_it_is_thinned(toys):
    (run, *_), (frames, *_) = toys
    left = frames[:, 0] < 0.0
    stuck = BiasedRun(run.folder, run.record, run.frames[left], run.hill_list)
    x = np.concatenate([frames, frames[left]])[:, 0]
    modes = [x[:, None]] * 2

    def found(strides):
        combined = combine_runs([run, stuck], modes).thinned(strides)
        assert (np.diff(combined.kept) > 0).all()
        blocks = block_of_frames(combined.lengths)
        inside = x[combined.kept] > 0
        return region_difference(inside, ~inside, combined.weights, KT, blocks)

    alike, thinned = found([1, 1]), found([1, int(left.sum())])
    assert alike.value - exact_difference() > 1.0
    assert abs(thinned.value - exact_difference()) < 2.5 * thinned.error
    assert abs(thinned.value - exact_difference()) < 0.5 * (alike.value - exact_difference())


def test_the_bias_in_the_middle_is_the_sum_of_the_hills_until_then(toys):
    run = toys[0][0]
    points = np.array([[-1.0], [0.5], [4.5]])
    early, late = biases_at(run, points, [100.0, 4000.0])
    before = run.hill_list.time_ps <= 100.0
    centres, heights = run.hill_list.centres[before, 0], run.hill_list.heights[before]
    by_hand = [(heights * np.exp(-0.5 * ((s - centres) / WIDTH) ** 2)).sum() for s in (-1, 0.5, 4)]
    by_hand[2] += 0.5 * WALL * 0.5**2  # the wall beyond the grid's end
    assert early == pytest.approx(by_hand, abs=1e-9)
    assert late == pytest.approx(run.bias_at(points), abs=1e-9)


def test_a_bias_that_stands_still_is_the_same_at_all_later_times(toys):
    run = toys[0][0]
    filled = np.where(run.hill_list.time_ps <= 1000.0, run.hill_list.heights, 0.0)
    ended = replace(run, hill_list=replace(run.hill_list, heights=filled))
    points = np.linspace(-1.5, 1.5, 7)[:, None]
    times = [500.0, 1000.0, 1500.0, 4000.0]
    early, full, *later = biases_at(ended, points, times)
    assert early == pytest.approx(biases_at(run, points, [500.0])[0])
    assert full == pytest.approx(biases_at(run, points, [1000.0])[0])
    assert (full > early).all()
    for bias in later:
        assert bias == pytest.approx(full)


def test_the_filling_of_the_first_basin_is_left_out(toys):
    run = toys[0][0]
    (start,) = transients([run])
    first_crossing = int((toys[1][0][:, 0] > 0.5).argmax())
    assert 0.5 * first_crossing < start <= 2001.0


def test_walkers_that_stand_one_after_another_weigh_as_one_run(toys):
    """Frames of a run dealt to two walkers: the same weights, and blocks that keep them apart."""
    run, frames = toys[0][0], len(toys[0][0].frames)
    order = np.concatenate([np.arange(0, frames, 2), np.arange(1, frames, 2)])
    dealt = run.frames[order]
    walker = np.repeat([1, 2], frames // 2)
    two = BiasedRun(run.folder, run.record, replace(dealt, walker=walker), run.hill_list)
    one, other = combine_runs([run]), combine_runs([two])
    assert other.since_ps == one.since_ps
    assert len(other.lengths) == 2
    assert sum(other.lengths) == one.lengths[0]
    back = np.zeros(frames)
    back[order[other.kept]] = other.weights
    assert back[one.kept] == pytest.approx(one.weights, rel=1e-9)


def test_runs_at_two_temperatures_are_told(toys, tmp_path):
    run = toys[0][0]
    other = tmp_path / "hot"
    other.mkdir()
    record = run.record
    BiasRecord(METADYNAMICS, ["mode_0"], GRID, [WIDTH], WALL, FACTOR, 310.0, 1.0).write(other)
    hot = BiasedRun(other, BiasRecord.read(other), run.frames, run.hill_list)
    assert record.temperature == T
    with pytest.raises(OptionError, match=r"different temperatures .*300 K.*310 K"):
        combine_runs([run, hot], [run.frames.modes] * 2)


def test_frames_that_do_not_match_are_told(toys):
    runs = toys[0]
    with pytest.raises(OptionError, match="known on 4000 frames, the runs have 8000"):
        combine_runs(runs[:2], [run.frames.modes for run in runs[:2]])
    with pytest.raises(OptionError, match="modes of each on the frames of all"):
        combine_runs(runs[:2])
    with pytest.raises(OptionError, match="no frame is left from 4001 ps on"):
        combine_runs(runs[:1], since_ps=[4001.0])
    for strides in ([1, 1], [0]):
        with pytest.raises(OptionError, match="one number for each of the 1 runs"):
            combine_runs(runs[:1]).thinned(strides)
