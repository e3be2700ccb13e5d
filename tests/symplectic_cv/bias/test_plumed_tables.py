"""COLVAR and HILLS as PLUMED reads them: names, units, and hills whose sum is −F."""

import numpy as np
import pytest

from symplectic_cv.bias.plumed_tables import colvar_text, hills_text, write_plumed_tables
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.bias.well_tempered import free_energy
from symplectic_cv.data.frame_weights import read_weights


def fields(text):
    """Names and numbers of a table, as a reader of PLUMED's files takes them."""
    first, *lines = text.splitlines()
    assert first.startswith("#! FIELDS ")
    names = first.split()[2:]
    rows = [list(map(float, line.split())) for line in lines if not line.startswith("#")]
    return dict(zip(names, np.array(rows).T, strict=True))


@pytest.fixture(params=[(0,), (0, 2)], ids=["one mode", "two modes"])
def run(request, make_run, tmp_path):
    make_run(tmp_path / "run", modes=request.param)
    return BiasedRun.read(tmp_path / "run")


def test_the_frames_are_those_of_the_run(run):
    table = fields(colvar_text(run))
    assert list(table) == ["time", *run.record.modes, "metad.bias", "metad.rbias"]
    np.testing.assert_allclose(table["time"], run.frames.time_ps)
    np.testing.assert_allclose(table[run.record.modes[0]], run.frames.modes[:, 0], rtol=1e-8)
    np.testing.assert_allclose(table["metad.rbias"], run.frames.bias - run.frames.offset, atol=1e-7)


def test_the_hills_add_up_to_minus_the_free_energy(run):
    table = fields(hills_text(run))
    modes = run.record.modes
    axes = np.meshgrid(*run.record.grid.axes, indexing="ij")
    total = np.zeros(run.record.grid.shape)
    for k in range(len(table["time"])):
        exponent = sum(
            ((axis - table[mode][k]) / table[f"sigma_{mode}"][k]) ** 2
            for axis, mode in zip(axes, modes, strict=True)
        )
        total += table["height"][k] * np.exp(-0.5 * exponent)
    expected = free_energy(run.hill_list.on_grid(run.record.grid), run.record.bias_factor)
    np.testing.assert_allclose(-total - (-total).min(), expected, atol=1e-6)
    assert (table["biasf"] == run.record.bias_factor).all()


def test_weights_are_read_back_from_the_colvar(run):
    write_plumed_tables(run)
    found = read_weights(run.folder / "COLVAR", run.record.temperature).values
    np.testing.assert_allclose(
        found / found.max(), run.frames.weight / run.frames.weight.max(), rtol=1e-6
    )
