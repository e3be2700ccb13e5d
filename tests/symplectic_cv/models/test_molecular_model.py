"""A model's methods: arrays in, arrays out; tensors in, tensors out."""

from __future__ import annotations

import mdtraj as md
import numpy as np
import pytest
import torch

from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import FrameError, OptionError, SelectionError
from symplectic_cv.models import molecular_model
from symplectic_cv.training.fit import fit


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["single", "double"])
def model(request, make_model):
    return make_model(request.param)


@pytest.fixture(scope="module")
def data(topology, wobble) -> TrajectoryData:
    trajectory = md.Trajectory(wobble(30), topology, time=2.0 * np.arange(30))
    return TrajectoryData.from_mdtraj(trajectory, name="run")


@pytest.mark.parametrize("method", ["encode", "log_likelihood", "collective_variables"])
def test_arrays_and_tensors_give_the_same_values(model, data, method, monkeypatch):
    monkeypatch.setattr(molecular_model, "BATCH", 7)
    x = data.positions
    tensor = getattr(model, method)(torch.as_tensor(x))
    array = getattr(model, method)(x)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == model.dtype
    assert array.dtype == np.float64
    np.testing.assert_allclose(array, tensor.detach().double(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(getattr(model, method)(x[3]), array[3], rtol=1e-5, atol=1e-5)
    folded = getattr(model, method)(x.reshape(5, 6, 10, 3))
    np.testing.assert_allclose(folded.reshape(array.shape), array, rtol=1e-5, atol=1e-5)
    assert getattr(model, method)(x[:0]).shape == (0, *array.shape[1:])


@pytest.mark.parametrize("method", ["encode", "log_likelihood", "collective_variables"])
def test_frames_give_what_their_positions_give(model, data, topology, method):
    from_array = getattr(model, method)(data.positions)
    np.testing.assert_array_equal(getattr(model, method)(data), from_array)
    trajectory = md.Trajectory(data.positions, topology)
    np.testing.assert_array_equal(getattr(model, method)(trajectory), from_array)


def test_decode_inverts_encode(model, data):
    latent = model.encode(data.positions)
    x = model.decode(latent)
    assert x.shape == data.positions.shape
    assert x.dtype == np.float64
    np.testing.assert_allclose(model.encode(x), latent, atol=2e-4)
    assert isinstance(model.decode(torch.as_tensor(latent)), torch.Tensor)


def test_tensors_keep_their_gradient(model, data):
    x = torch.as_tensor(data.positions[:2], dtype=torch.float64).requires_grad_(True)
    model.collective_variables(x, [0]).sum().backward()
    assert float(x.grad.abs().max()) > 0.0


@pytest.mark.parametrize(
    ("method", "argument", "shape"),
    [
        ("encode", "positions", (10, 2)),
        ("encode", "positions", (4, 9, 3)),
        ("log_likelihood", "positions", (3,)),
        ("collective_variables", "positions", (4, 30)),
        ("decode", "latent", (23,)),
        ("modes", "data", (30,)),
        ("modes", "data", (4, 9, 3)),
    ],
)
def test_shapes_that_do_not_fit_name_the_argument(model, method, argument, shape):
    with pytest.raises(OptionError, match=rf"`{argument}` has shape \({shape[0]},"):
        getattr(model, method)(np.zeros(shape))


def test_modes_of_any_frames(model, data, topology):
    values = model.modes(data)
    assert values.shape == (30, 24)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, model.collective_variables(data.positions))
    np.testing.assert_array_equal(model.modes(data, [2, 0]), values[:, [2, 0]])
    np.testing.assert_array_equal(model.modes(data.positions, 1), values[:, [1]])
    np.testing.assert_array_equal(model.modes(torch.as_tensor(data.positions)), values)
    trajectory = md.Trajectory(data.positions, topology)
    np.testing.assert_array_equal(model.modes(trajectory), values)
    assert model.modes(data.positions[0]).shape == (1, 24)
    with pytest.raises(OptionError, match="`modes` 24: the model has 24 modes"):
        model.modes(data, [24])


def test_modes_of_other_atoms_or_of_no_structure_are_refused(model, data, topology):
    other = TrajectoryData.from_array(data.positions, topology, atoms=range(9))
    with pytest.raises(SelectionError, match="array: has 9 atoms"):
        model.modes(other)
    broken = data.positions.copy()
    broken[4] = np.inf
    with pytest.raises(FrameError, match="frame 4 has NaN or infinite"):
        model.modes(broken)


def test_a_table_has_the_frame_the_time_and_the_file(model, data):
    twice = data.joined(TrajectoryData.from_array(
        data.positions[:5], data.molecule.topology, name="more"))  # fmt: skip
    table = model.modes_frame(twice, which=[0, 3])
    assert list(table.columns) == ["frame", "time_ps", "file", "mode_0", "mode_3"]
    assert table["frame"].tolist() == [*range(30), *range(5)]
    assert table["file"].tolist() == ["run"] * 30 + ["more"] * 5
    assert table["time_ps"][:30].tolist() == (2.0 * np.arange(30)).tolist()
    assert table["time_ps"][30:].isna().all()
    np.testing.assert_array_equal(table[["mode_0", "mode_3"]], model.modes(twice, [0, 3]))


def test_samples_are_reproducible_independent_structures_of_the_model(model):
    x = model.sample(2000, seed=3)
    assert x.shape == (2000, 10, 3)
    np.testing.assert_array_equal(x[:], model.sample(2000, seed=3))
    assert not np.array_equal(x[:4], model.sample(2000, seed=4)[:4])
    values = model.modes(x)
    assert abs(values.mean(0)).max() < 5.0 / np.sqrt(2000)
    assert abs(values.var(0) - 1.0).max() < 5.0 * np.sqrt(2.0 / 2000)
    with pytest.raises(OptionError, match="`n` must be at least 1"):
        model.sample(0)


def test_samples_in_internal_coordinates_are_all_structures(data):
    internal = fit(data, chart="internal", steps=2, batch=8, layers=1, hidden=4, device="cpu").model
    x = internal.sample(50)
    assert np.isfinite(x).all()
    assert np.isfinite(internal.log_likelihood(x)).all()
