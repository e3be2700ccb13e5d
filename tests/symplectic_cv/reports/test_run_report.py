"""The figures of a biased run and of reweighted ones, from their folders."""

import numpy as np
import pytest
from matplotlib.image import imread

import symplectic_cv as sc
from symplectic_cv.bias.results import write_results
from symplectic_cv.bias.run import BiasedRun
from symplectic_cv.reports.reweighting_report import draw_reweighted
from symplectic_cv.reports.run_report import draw_biased_run


@pytest.mark.parametrize("modes", [(0,), (0, 1), (0, 1, 2)])
def test_a_run_has_its_figures(tmp_path, make_run, modes):
    folder = tmp_path / "run"
    make_run(folder, modes=modes)
    run = BiasedRun.read(folder)
    grid = np.stack(np.meshgrid(*run.record.grid.axes, indexing="ij"), -1)
    bias = run.hill_list.at(grid.reshape(-1, len(modes))).reshape(run.record.grid.shape)
    write_results(run, bias)
    (folder / "convergence.png").write_bytes(b"of an earlier part of the run")
    paths = draw_biased_run(folder)
    names = ["modes.png"] if len(modes) == 3 else ["modes.png", "free_energy.png"]
    if (folder / "convergence.csv").read_text().count("\n") > 1:
        names.append("convergence.png")
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(names)
    assert all(imread(path).std() > 0.01 for path in paths)


def test_planes_of_torsions_span_all_angles(tmp_path, make_run):
    make_run(tmp_path / "run")
    result = sc.reweight(tmp_path / "run", torsions=["phi", "psi"])
    paths = draw_reweighted(tmp_path, result)
    assert [path.name for path in paths] == ["profiles.png", "plane_phi_psi.png"]
    assert all(imread(path).std() > 0.01 for path in paths)
