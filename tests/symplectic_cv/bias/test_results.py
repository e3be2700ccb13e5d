"""Free energies, errors and convergence of runs that were made from a known landscape."""

import numpy as np
import pytest

from symplectic_cv.bias.grid import BiasGrid
from symplectic_cv.bias.hills import Hills
from symplectic_cv.bias.results import (
    convergence,
    settled_blocks,
    weighted_surface,
    write_results,
)
from symplectic_cv.bias.run import BiasedFrames, BiasedRun, BiasRecord
from symplectic_cv.bias.well_tempered import bias_offset, known_free_energy
from symplectic_cv.reports.bias_figures import plot_convergence
from symplectic_cv.reports.style import save_figure

GAMMA, TEMPERATURE, WIDTH, HEIGHT = 6.0, 300.0, 0.12, 1.0
KT = 8.31446261815324e-3 * TEMPERATURE


def landscape(x):
    """kJ/mol; minima at ∓1, 3 kJ/mol apart, and a barrier of 12."""
    return 12.0 * (x**2 - 1.0) ** 2 + 1.5 * x


RECORD = BiasRecord(
    method="metadynamics",
    modes=["mode_0"],
    grid=BiasGrid.for_widths(-2.5, 2.5, [WIDTH]),
    widths=[WIDTH],
    wall=100.0,
    bias_factor=GAMMA,
    temperature=TEMPERATURE,
    pace_ps=1.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Well-tempered metadynamics of one coordinate: 30 Monte Carlo moves between two hills."""
    rng = np.random.default_rng(1)
    axis = RECORD.grid.axes[0]
    fine, count = axis[1] - axis[0], 6000
    bias, x, rows, heights = np.zeros(len(axis)), -1.0, [], []
    for _ in range(count):
        steps, dice = rng.normal(scale=0.35, size=30), np.log(rng.random(30))
        for step, die in zip(steps, dice, strict=True):
            new = x + step
            if abs(new) > 2.4:
                continue
            change = landscape(new) - landscape(x)
            change += np.interp(new, axis, bias) - np.interp(x, axis, bias)
            if die < -change / KT:
                x = new
        felt = float(np.interp(x, axis, bias))
        rows.append([x, felt, bias_offset(bias, GAMMA, KT)])
        heights.append(HEIGHT * np.exp(-felt / (GAMMA - 1.0) / KT))
        bias = bias + heights[-1] * np.exp(-0.5 * ((axis - x) / WIDTH) ** 2)
    modes, felt, offset = np.array(rows).T
    time = np.arange(1.0, count + 1)
    colvar = BiasedFrames(
        time, modes[:, None], felt, offset, np.exp((felt - offset) / KT), np.ones(count, dtype=int)
    )
    hills = Hills(time, modes[:, None], np.full((count, 1), WIDTH), np.array(heights))
    assert fine < WIDTH / 2
    return BiasedRun(tmp_path_factory.mktemp("run"), RECORD, colvar, hills)


def _exact_difference():
    x = np.linspace(-2.4, 2.4, 4801)
    weight = np.exp(-landscape(x) / KT)
    top = x[np.abs(x) < 0.5][landscape(x[np.abs(x) < 0.5]).argmax()]
    return -KT * np.log(weight[x > top].sum() / weight[x <= top].sum())


def test_both_estimates_find_the_landscape(run):
    axis = RECORD.grid.axes[0]
    exact = landscape(axis)
    low = exact - exact.min() < 12.0
    reweighted, error = weighted_surface(run.frames, RECORD)
    surface = known_free_energy(run.hill_list.on_grid(RECORD.grid), GAMMA)
    for found in (reweighted, surface):
        gap = (found - exact)[low]
        assert np.isfinite(found[low]).all()
        assert np.sqrt(np.mean((gap - gap.mean()) ** 2)) < 0.7  # blurred by half a hill and noise
    assert np.isfinite(error[low]).all()
    assert 0.02 < np.median(error[low]) < 0.5


@pytest.mark.statistical
def test_the_error_covers_the_truth(run):
    """The gap to the exact populations of the bins, in units of its own error, is near one."""
    reweighted, error = weighted_surface(run.frames, RECORD)
    axis = RECORD.grid.axes[0]
    exact = -KT * np.log(_blurred(axis))
    low = exact - exact.min() < 10.0
    weights = np.exp(-exact[low] / KT)
    gap = (reweighted - exact)[low]
    gap -= (gap * weights).sum() / weights.sum()
    assert 0.3 < np.sqrt(np.mean((gap / error[low]) ** 2)) < 3.0


def _blurred(axis):
    """The exact density, with frames counted as Gaussians of half a hill."""
    x = np.linspace(-2.4, 2.4, 2401)
    density = np.exp(-landscape(x) / KT)
    kernel = np.exp(-0.5 * ((axis[:, None] - x) / (0.5 * WIDTH)) ** 2)
    return (kernel * density).sum(1)


def test_the_difference_of_the_basins_converges_to_the_exact_one(run):
    curve = convergence(run, known_free_energy(run.hill_list.on_grid(RECORD.grid), GAMMA))
    exact = _exact_difference()
    assert exact == pytest.approx(3.0, abs=0.3)
    assert curve.time_ps[-1] == 6000.0
    assert curve.error[-1] < 0.6
    assert abs(curve.from_weights[-1] - exact) < 3.0 * curve.error[-1]
    assert abs(curve.from_bias[-1] - exact) < 1.0
    assert np.isfinite(curve.from_bias).sum() > 30
    early = np.nanstd(curve.from_weights[:8] - exact)
    assert np.nanstd(curve.from_weights[-8:] - exact) < early


def test_one_basin_has_no_difference(run):
    assert convergence(run, np.where(np.arange(len(RECORD.grid.axes[0])) < 30, 1.0, np.inf)) is None


def test_blocks_are_stretches_of_time_of_each_walker(run):
    rows = np.r_[0:40, 0:20]
    walkers = np.repeat([1, 2], [40, 20])
    part = run.frames[rows]
    colvar = BiasedFrames(part.time_ps, part.modes, part.bias, part.offset, part.weight, walkers)
    kept, blocks = settled_blocks(colvar)
    assert np.bincount(kept.walker)[1:].tolist() == [32, 16]
    assert blocks.max() == 9
    assert (np.diff(blocks) >= 0).all()
    assert len(set(blocks[kept.walker == 1]) & set(blocks[kept.walker == 2])) == 0


def test_a_summary_holds_both_estimates(run, tmp_path):
    RECORD.write(tmp_path)
    names = ["time_ps", "mode_0", "bias_kj_per_mol", "c_kj_per_mol", "weight"]
    c = run.frames
    table = np.column_stack([c.time_ps, c.modes, c.bias, c.offset, c.weight])
    _csv(tmp_path / "colvar.csv", names, table)
    h = run.hill_list
    _csv(
        tmp_path / "hills.csv",
        ["time_ps", "mode_0", "width_mode_0", "height_kj_per_mol"],
        np.column_stack([h.time_ps, h.centres, h.widths, h.heights]),
    )
    bias = h.on_grid(RECORD.grid)
    curve = write_results(BiasedRun.read(tmp_path), bias)
    with np.load(tmp_path / "free_energy.npz") as archive:
        np.testing.assert_array_equal(archive["bias"], bias)
        np.testing.assert_allclose(
            archive["free_energy"], GAMMA / (GAMMA - 1) * (bias.max() - bias)
        )
        assert archive["reweighted"].shape == archive["error"].shape == bias.shape
        assert archive["modes"].tolist() == ["mode_0"]
    rows = np.genfromtxt(tmp_path / "convergence.csv", delimiter=",", names=True)
    np.testing.assert_allclose(rows["from_weights_kj_per_mol"], curve.from_weights, rtol=1e-5)
    save_figure(plot_convergence(curve), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def _csv(path, names, table):
    lines = [",".join(names)] + [",".join(f"{x:.12g}" for x in row) for row in table]
    path.write_text("\n".join(lines) + "\n")
