"""Paths between structures that are given as arrays or as files, and what `save` writes."""

import mdtraj as md
import numpy as np
import pytest
import torch

import symplectic_cv as sc
from symplectic_cv.errors import FrameError, OptionError, SelectionError
from symplectic_cv.files.tables import read_table
from symplectic_cv.models.model_folder import save_model
from symplectic_cv.paths.interpolation import cartesian_path, spherical_path
from symplectic_cv.paths.path import compare_paths


@pytest.fixture(scope="module")
def network(make_model):
    return make_model(torch.float64)


@pytest.fixture
def folder(tmp_path, network, wobble, molecule):
    save_model(tmp_path / "model", network)
    trajectory = md.Trajectory(wobble(4, seed=3).astype(np.float32), molecule.topology)
    trajectory.save_xtc(str(tmp_path / "run.xtc"))
    trajectory[0].save_pdb(str(tmp_path / "run.pdb"))
    trajectory[2].save_pdb(str(tmp_path / "two.pdb"))
    return tmp_path


def test_files_and_their_positions_give_the_same_path(folder, network):
    files = sc.latent_path(folder / "model", f"{folder}/run.xtc:0", folder / "two.pdb", points=5)
    start = md.load_frame(str(folder / "run.xtc"), 0, top=str(folder / "run.pdb")).xyz[0]
    arrays = sc.latent_path(network, start, md.load(str(folder / "two.pdb")).xyz[0], points=5)
    np.testing.assert_array_equal(files.latent, arrays.latent)
    np.testing.assert_array_equal(files.positions, arrays.positions)


def test_single_frames_are_structures(folder, network):
    loaded = md.load(str(folder / "run.xtc"), top=str(folder / "run.pdb"))
    arrays = sc.latent_path(network, loaded.xyz[0], loaded.xyz[2], points=5)
    last = sc.TrajectoryData.from_mdtraj(loaded[2])
    frames = sc.latent_path(network, loaded[0], last, points=5)
    np.testing.assert_allclose(frames.positions, arrays.positions, atol=1e-6)
    with pytest.raises(OptionError, match=r"`end` has 4 frames: give one, such as trajectory\[0\]"):
        sc.latent_path(network, loaded[0], loaded)


def test_saving_writes_structures_and_the_table(folder, network, wobble):
    path = sc.latent_path(network, *wobble(2, seed=8, size=0.02), points=6, modes=[0, 1])
    path.save(folder / "out")
    assert {file.name for file in (folder / "out").iterdir()} == {"path.pdb", "path.csv"}
    written = md.load(str(folder / "out" / "path.pdb"))
    np.testing.assert_allclose(written.xyz, path.positions, atol=6e-5)
    table = read_table(folder / "out" / "path.csv")
    modes = [f"mode_{mode}" for mode in range(24)]
    assert list(table) == ["point", "log_likelihood_nats", *modes, "phi_deg", "psi_deg"]
    assert table["point"].tolist() == list(range(6))
    np.testing.assert_allclose(table[modes], path.latent, rtol=1e-7)
    np.testing.assert_allclose(table["phi_deg"], np.degrees(path.angles[:, 0]), rtol=1e-7)
    first = (folder / "out" / "path.csv").read_text().splitlines()[1].split(",")
    assert first[1] == f"{path.log_likelihood[0]:.8g}"


def test_the_other_ways_belong_to_the_same_ends(network, wobble):
    ends = wobble(2, seed=8, size=0.02)
    found = compare_paths(network, *ends, points=7, refine=True)
    np.testing.assert_array_equal(found.unrefined.latent, spherical_path(network, *ends, 7).latent)
    np.testing.assert_array_equal(found.straight.latent, cartesian_path(network, *ends, 7).latent)
    np.testing.assert_allclose(found.straight_latent.latent[0], found.path.latent[0], atol=1e-12)
    assert found.path.log_likelihood.mean() > found.unrefined.log_likelihood.mean()
    plain = sc.latent_path(network, *ends, points=7, refine=True)
    np.testing.assert_array_equal(plain.latent, found.path.latent)
    assert compare_paths(network, *ends, points=3).unrefined is None


def test_a_mirror_image_and_other_shapes_are_refused(network, dipeptide):
    mirror = dipeptide * [1.0, 1.0, -1.0]
    with pytest.raises(SelectionError, match=r"`end`: .* opposite handedness"):
        sc.latent_path(network, dipeptide, mirror)
    with pytest.raises(OptionError, match=r"`start` must have shape \(10, 3\)"):
        sc.latent_path(network, dipeptide[:4], dipeptide)
    with pytest.raises(OptionError, match="`points` must be at least 2"):
        sc.latent_path(network, dipeptide, dipeptide, points=1)


def test_undefined_torsions_are_told(folder, network, wobble):
    x = md.load(str(folder / "run.pdb"))
    i, j, k = md.compute_phi(x)[0][0][1:]
    x.xyz[0, i] = 2.0 * x.xyz[0, j] - x.xyz[0, k]
    with pytest.raises(FrameError, match="point 0 of the path: three atoms of phi lie on a line"):
        sc.latent_path(network, x.xyz[0], wobble(1, seed=3)[0], points=3)
