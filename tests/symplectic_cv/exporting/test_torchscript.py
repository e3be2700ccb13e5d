"""The exported collective variables against the model, autograd and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symplectic_cv.errors import ModelError
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.torchscript import load_exported, script

MODES = [3, 0, 23]
INDICES = np.array([4, 5, 6, 9, 11, 12, 13, 17, 18, 2])
N_SYSTEM = 20
COMBINATION = torch.tensor([0.7, -1.3, 0.4], dtype=torch.float64)
BOXES = {
    "cubic": np.eye(3) * 2.0,
    "triclinic": np.array([[2.2, 0.0, 0.0], [0.7, 2.0, 0.0], [-1.0, 0.9, 1.9]]),
}


@pytest.fixture(scope="module", params=["affine", "spline"])
def model(request, make_model):
    """A double model of ten atoms scattered among twenty, of either kind of coupling."""
    model = make_model(torch.float64, INDICES, N_SYSTEM, coupling=request.param)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def exported(model):
    return script(model, MODES)


def _place(solute):
    """A system of 20 atoms around positions (10, 3) of the modelled ones."""
    rng = np.random.default_rng(1)
    x = 3.0 * rng.normal(size=(N_SYSTEM, 3))
    x[INDICES] = solute
    return torch.as_tensor(x)


@pytest.fixture(scope="module")
def systems(wobble):
    return [_place(x) for x in wobble(4, seed=2)]


def _gradient(module, x, box=None):
    """Values and the gradient of one combination of them."""
    values, gradients = module.values_and_gradients(x, box, COMBINATION.unsqueeze(0))
    return values, gradients[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_values_are_those_of_the_model(make_model, systems, dtype, tolerance):
    model = make_model(dtype, INDICES, N_SYSTEM).requires_grad_(False)
    module = script(model, MODES)
    for x in systems:
        expected = model.collective_variables(x[INDICES], MODES).to(torch.float64)
        assert expected.abs().max() > 0.1
        for found in (module(x), _gradient(module, x)[0]):
            assert found.dtype == torch.float64
            assert found.shape == (3,)
            scale = max(1.0, float(expected.abs().max()))
            assert (found - expected).abs().max() < tolerance * scale


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-6)])
def test_the_gradient_by_hand_is_autograds(make_model, systems, dtype, tolerance):
    model = make_model(dtype, INDICES, N_SYSTEM).requires_grad_(False)
    module = script(model, MODES)
    for x in systems:
        moving = x[INDICES].clone().requires_grad_(True)
        value = (model.collective_variables(moving, MODES).to(torch.float64) * COMBINATION).sum()
        (of_model,) = torch.autograd.grad(value, moving)
        through_script = x.clone().requires_grad_(True)
        (automatic,) = torch.autograd.grad(
            (module(through_script) * COMBINATION).sum(), (through_script)
        )
        _, by_hand = _gradient(module, x)
        assert by_hand.dtype == torch.float64
        scale = float(by_hand.abs().max())
        assert scale > 1.0
        assert (by_hand - automatic).abs().max() < tolerance * scale
        assert (by_hand[INDICES] - of_model).abs().max() < tolerance * scale


def test_the_gradient_by_hand_matches_finite_differences(exported, systems):
    x = systems[0]
    _, gradient = _gradient(exported, x)
    h = 1e-6
    numerical = torch.zeros_like(x)
    for atom, axis in itertools.product(range(N_SYSTEM), range(3)):
        step = torch.zeros_like(x)
        step[atom, axis] = h
        numerical[atom, axis] = ((exported(x + step) - exported(x - step)) @ COMBINATION) / (2 * h)
    assert (gradient - numerical).abs().max() < 1e-6 * gradient.abs().max()


def test_one_pass_gives_the_gradients_of_several_combinations(exported, systems):
    x = systems[1]
    combinations = torch.cat([torch.eye(3, dtype=torch.float64), COMBINATION.unsqueeze(0)])
    values, gradients = exported.values_and_gradients(x, None, combinations)
    assert gradients.shape == (4, N_SYSTEM, 3)
    torch.testing.assert_close(values, exported(x), rtol=1e-12, atol=1e-12)
    moving = x.clone().requires_grad_(True)
    for value, gradient in zip(exported(moving), gradients, strict=False):
        (expected,) = torch.autograd.grad(value, moving, retain_graph=True)
        assert (gradient - expected).abs().max() < 1e-10 * expected.abs().max()
    combined = torch.einsum("k,kic->ic", COMBINATION, gradients[:3])
    assert (gradients[3] - combined).abs().max() < 1e-10 * combined.abs().max()


def test_only_the_modelled_atoms_feel_a_force(exported, systems):
    _, gradient = _gradient(exported, systems[0])
    others = np.setdiff1d(np.arange(N_SYSTEM), INDICES)
    assert gradient.shape == (N_SYSTEM, 3)
    assert torch.equal(gradient[others], torch.zeros(10, 3, dtype=torch.float64))
    assert (gradient[INDICES].norm(dim=-1) > 0.0).all()
    moved = systems[0].clone()
    moved[others] += 1.0
    assert torch.equal(exported(moved), exported(systems[0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_net_force_and_no_torque(make_model, systems, dtype):
    module = script(make_model(dtype, INDICES, N_SYSTEM), MODES)
    for x in systems:
        _, gradient = _gradient(module, x)
        scale = float(gradient.abs().max())
        assert gradient.sum(0).abs().max() < 1e-10 * max(1.0, scale)
        assert torch.linalg.cross(x, gradient).sum(0).abs().max() < 1e-10 * max(1.0, scale)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_values_ignore_and_gradients_follow_a_turn_of_the_system(exported, systems, seed):
    rng = np.random.default_rng(seed)
    x = systems[seed % len(systems)]
    turn = torch.as_tensor(Rotation.random(rng=rng).as_matrix())
    turned = x @ turn.T + torch.as_tensor(rng.normal(size=3))
    values, gradient = _gradient(exported, x)
    values_turned, gradient_turned = _gradient(exported, turned)
    assert (values_turned - values).abs().max() < 1e-10
    scale = float(gradient.abs().max())
    assert (gradient_turned - gradient @ turn.T).abs().max() < 1e-10 * scale


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(BOXES)))
def test_wrapping_atoms_changes_neither_value_nor_gradient(exported, systems, seed, name):
    box = torch.as_tensor(BOXES[name])
    rng = np.random.default_rng(seed)
    x = systems[seed % len(systems)]
    wrapped = x + torch.as_tensor(rng.integers(-2, 3, size=(N_SYSTEM, 3)).astype(float)) @ box
    values, gradient = _gradient(exported, x)
    values_wrapped, gradient_wrapped = _gradient(exported, wrapped, box)
    assert (values_wrapped - values).abs().max() < 1e-9
    assert (gradient_wrapped - gradient).abs().max() < 1e-9 * gradient.abs().max()
    assert (exported(wrapped, box) - values).abs().max() < 1e-9


def test_without_the_box_wrapped_atoms_do_change_the_value(exported, systems):
    box = torch.as_tensor(BOXES["cubic"])
    wrapped = systems[0].clone()
    wrapped[INDICES[3]] += box[0]
    assert (exported(wrapped) - exported(systems[0])).abs().max() > 0.1


def test_positions_in_single_precision_are_taken(exported, systems):
    x = systems[0]
    values, gradient = _gradient(exported, x.float())
    assert values.dtype == gradient.dtype == torch.float64
    reference, _ = _gradient(exported, x.float().double())
    assert torch.equal(values, reference)


def test_the_order_of_the_modes_is_the_one_asked_for(model, exported, systems):
    every = script(model, list(range(24)))(systems[1])
    assert torch.equal(exported(systems[1]), every[MODES])


def test_a_file_gives_the_same_numbers_and_tells_what_it_is(tmp_path, model, exported, systems):
    path = tmp_path / "deep" / "cv.pt"
    written = export(model, MODES, path)
    assert {file.name for file in path.parent.iterdir()} == {"cv.pt", "cv.safetensors"}
    module, metadata = load_exported(path)
    assert metadata == written
    assert metadata["modes"] == MODES
    assert metadata["temperature_k"] == 300.0
    assert metadata["omega_rad_per_ps"] == [float(model.omega[mode]) for mode in MODES]
    assert [atom["system_index"] for atom in metadata["molecule"]["atoms"]] == INDICES.tolist()
    for x in systems:
        assert torch.equal(module(x), exported(x))
        for found, expected in zip(_gradient(module, x), _gradient(exported, x), strict=True):
            assert torch.equal(found, expected)


def test_files_that_hold_no_collective_variable_are_named(tmp_path, model):
    path = tmp_path / "cv.pt"
    with pytest.raises(ModelError, match=r"cv.pt: no such file"):
        load_exported(path)
    export(model, MODES, path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-30], b"", b"not a module"):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match="truncated, altered, or not an exported") as error:
            load_exported(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_another_torchscript_file_is_not_taken_for_one(tmp_path):
    path = tmp_path / "other.pt"
    torch.jit.script(torch.nn.Linear(3, 1)).save(str(path))
    with pytest.raises(ModelError, match="not an exported collective variable"):
        load_exported(path)
