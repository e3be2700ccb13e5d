"""The native core against the model in float64: values, gradients, invariance, any call."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation as Turn

import symplectic_cv as sc
from symplectic_cv import _core
from symplectic_cv.errors import FrameError, ModelError, OptionError
from symplectic_cv.exporting.native_core import Core
from symplectic_cv.exporting.native_file import core_bytes, core_tensors
from symplectic_cv.exporting.torchscript import script
from symplectic_cv.flows.build import build_flow
from symplectic_cv.flows.layers import ModeOrder, NormalModes, Rotation
from symplectic_cv.flows.options import Coupling, FlowOptions
from symplectic_cv.flows.point import PointTransformation
from symplectic_cv.flows.spline import SplineCoupling

pytestmark = pytest.mark.second_openmm

INDICES = np.array([4, 5, 6, 9, 11, 12, 13, 17, 18, 2])
OTHERS = np.setdiff1d(np.arange(20), INDICES)
MODES = [3, 0]
COUPLINGS = ["affine", "spline"]
INSTRUCTIONS = ["baseline", "avx2", "avx512"]
"""Upper limits: a machine without the faster ones runs what it has, twice."""
BOXES = {
    "cubic": np.eye(3) * 2.0,
    "triclinic": np.array([[2.2, 0.0, 0.0], [0.7, 2.0, 0.0], [-1.0, 0.9, 1.9]]),
}


@pytest.fixture(scope="module")
def models(make_model):
    """A double model per kind of coupling, of ten atoms scattered among twenty."""
    return {
        kind: make_model(torch.float64, INDICES, 20, layers=5, hidden=24, coupling=kind)
        for kind in COUPLINGS
    }


@pytest.fixture(scope="module")
def cores(models):
    return {kind: Core(core_bytes(model, MODES)) for kind, model in models.items()}


@pytest.fixture(scope="module")
def frames(wobble):
    """(70, 20, 3): more than two blocks of the core, the modelled atoms among others."""
    x = 3.0 * np.random.default_rng(1).normal(size=(70, 20, 3))
    x[:, INDICES] = wobble(70, seed=2)
    return x


def _reference(model, modes, x, box=None):
    """Values and gradients of one frame by the exported module, float64 throughout."""
    module = script(model, modes)
    identity = torch.eye(len(modes), dtype=torch.float64)
    box = None if box is None else torch.as_tensor(box)
    values, gradients = module.values_and_gradients(torch.as_tensor(x), box, identity)
    return values.numpy(), gradients.numpy()


def _assert_agrees(values, gradients, model, modes, x, box=None):
    expected, slopes = _reference(model, modes, x, box)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
    assert np.abs(gradients - slopes).max() < 1e-4 * np.abs(slopes).max()


@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_values_and_gradients_are_the_models(models, frames, kind, instructions):
    core = Core(core_bytes(models[kind], MODES), instructions=instructions)
    values, gradients = core.values_and_gradients(frames)
    assert np.ptp(values, axis=0).min() > 0.1
    for f in range(0, 70, 9):
        _assert_agrees(values[f], gradients[f], models[kind], MODES, frames[f])
    assert (gradients[:, :, OTHERS] == 0.0).all()


@pytest.mark.parametrize("kind", COUPLINGS)
def test_no_net_force_and_no_torque(cores, frames, kind):
    gradients = cores[kind].gradient(frames)
    assert np.abs(gradients).max() > 1.0
    assert np.abs(gradients.sum(2)).max() < 1e-10
    assert np.abs(np.cross(frames[:, None], gradients).sum(2)).max() < 1e-10


@pytest.mark.parametrize("kind", COUPLINGS)
def test_rigid_motion_changes_nothing_and_turns_the_gradient(cores, frames, kind):
    turn = Turn.random(rng=np.random.default_rng(4)).as_matrix()
    values, gradients = cores[kind].values_and_gradients(frames)
    moved, turned = cores[kind].values_and_gradients(frames @ turn.T + [3.0, -2.0, 1.0])
    np.testing.assert_allclose(moved, values, rtol=0, atol=2e-6)
    scale = np.abs(gradients).max()
    np.testing.assert_allclose(turned, gradients @ turn.T, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_gradients_are_those_of_the_values(cores, frames, kind):
    """Finite differences of float32 networks: good to a per cent."""
    core, x = cores[kind], frames[:1]
    gradient = core.gradient(x)[0]
    direction = np.random.default_rng(6).normal(size=x.shape)
    step = 1e-4
    slope = (core.values(x + step * direction) - core.values(x - step * direction))[0] / (2 * step)
    expected = (gradient * direction).sum((1, 2))
    np.testing.assert_allclose(slope, expected, rtol=0, atol=2e-2 * np.abs(gradient).max())


@pytest.mark.parametrize("kind", COUPLINGS)
def test_many_frames_are_each_as_alone(cores, frames, kind):
    """Values agree up to the order of sums, for any block that a frame falls into."""
    values, gradients = cores[kind].values_and_gradients(frames)
    np.testing.assert_allclose(cores[kind].values(frames), values, rtol=0, atol=1e-6)
    for f in (0, 31, 32, 69):
        alone, slope = cores[kind].values_and_gradients(frames[f : f + 1])
        np.testing.assert_allclose(alone[0], values[f], rtol=0, atol=5e-6)
        np.testing.assert_allclose(slope[0], gradients[f], rtol=0, atol=5e-5 * np.abs(slope).max())


def test_gradients_of_combinations_are_combinations_of_gradients(cores, frames):
    weights = np.array([[1.0, -2.0], [0.0, 0.5], [3.0, 0.0]])
    combined = cores["affine"].gradient(frames[:5], weights)
    assert combined.shape == (5, 3, 20, 3)
    expected = np.einsum("mk,fknc->fmnc", weights, cores["affine"].gradient(frames[:5]))
    np.testing.assert_allclose(combined, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", BOXES)
def test_molecules_are_made_whole(models, cores, frames, name):
    box = BOXES[name]
    rng = np.random.default_rng(8)
    broken = frames + rng.integers(-2, 3, size=(70, 20, 3)) @ box
    whole, slopes = cores["affine"].values_and_gradients(frames)
    values, gradients = cores["affine"].values_and_gradients(broken, box=box)
    np.testing.assert_allclose(values, whole, rtol=0, atol=2e-6)
    np.testing.assert_allclose(gradients, slopes, rtol=0, atol=2e-5 * np.abs(slopes).max())
    _assert_agrees(values[3], gradients[3], models["affine"], MODES, broken[3], box)
    many = np.broadcast_to(box, (70, 3, 3))
    np.testing.assert_array_equal(cores["affine"].values(broken, box=many), values)


def test_without_a_box_a_torn_molecule_is_refused(cores, frames):
    core = cores["affine"]
    box = BOXES["cubic"]
    torn = frames.copy()
    torn[5, INDICES[0]] += box[1]
    with pytest.raises(FrameError, match=r"frame 5: .* are .* nm apart: .*give the box with `box`"):
        core.values(torn)
    with pytest.raises(FrameError, match="frame 5"):
        core.values(torn[:, INDICES], selected=True)
    values = core.values(frames)
    np.testing.assert_allclose(core.values(torn, box=box), values, atol=1e-5)


@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize(("layers", "hidden"), [(1, 1), (2, 7), (4, 33), (3, 130)])
def test_any_size(make_model, perturb, frames, kind, layers, hidden):
    model = make_model(torch.float64, INDICES, 20, layers=layers, hidden=hidden, coupling=kind)
    with torch.no_grad():  # as wide as a trained one is, whatever the width
        for layer in model.flow.layers[1:-1]:
            layer.conditioner.second.weight.mul_(min(1.0, 4.0 / hidden**0.5))
            layer.conditioner.last.weight.mul_(min(1.0, 4.0 / hidden**0.5))
    for modes in ([23], list(range(24))):
        values, gradients = Core(core_bytes(model, modes)).values_and_gradients(frames[:3])
        _assert_agrees(values[2], gradients[2], model, modes, frames[2])


def test_couplings_that_cannot_matter_are_left_out(make_model, frames):
    """Of the two last couplings each moves what the other keeps: one mode needs one of them."""
    model = make_model(torch.float64, INDICES, 20, layers=2, hidden=8)
    first, second = model.flow.layers[1:3]
    order = model.flow.layers[-1].order.tolist()
    moved_last = [mode for mode in range(24) if order[mode] in second.moved.tolist()]
    moved_first = [mode for mode in range(24) if order[mode] in first.moved.tolist()]
    assert Core(core_bytes(model, moved_first[:1])).n_couplings_used == 1
    assert Core(core_bytes(model, moved_last[:1])).n_couplings_used == 2
    for modes in (moved_first[:1], moved_last[:1], moved_first[:1] + moved_last[:1]):
        values, gradients = Core(core_bytes(model, modes)).values_and_gradients(frames[:1])
        _assert_agrees(values[0], gradients[0], model, modes, frames[0])


def test_a_model_with_learned_rotations(make_model, perturb, frames):
    model = make_model(torch.float64, INDICES, 20, layers=2, hidden=8)
    start, *rest = model.flow.layers
    turns = [Rotation(24).double(), Rotation(24).double()]
    for k, turn in enumerate(turns):
        perturb(turn, seed=k, size=0.1)
    model.flow = PointTransformation([start, *turns, *rest]).double()
    values, gradients = Core(core_bytes(model, MODES)).values_and_gradients(frames[:2])
    _assert_agrees(values[1], gradients[1], model, MODES, frames[1])
    model.flow = PointTransformation([start, *rest[:-1], turns[0], rest[-1]]).double()
    with pytest.raises(ModelError, match="a layer Rotation among couplings"):
        core_bytes(model, MODES)


def test_what_the_core_cannot_express_is_said_by_name(make_model):
    model = make_model()
    start, last = model.flow.layers[0], model.flow.layers[-1]
    half = torch.arange(12), torch.arange(12, 24)
    ring = SplineCoupling(*half, torch.ones(24), 8, circular=torch.ones(24, dtype=torch.bool))
    model.flow = PointTransformation([start, ring, last])
    with pytest.raises(ModelError, match="circular spline"):
        core_bytes(model, MODES)
    identity = NormalModes(torch.eye(24), torch.zeros(24))
    options = FlowOptions(flow="linear", coupling=Coupling.AFFINE)
    model.flow = build_flow(options, identity, torch.ones(24))
    with pytest.raises(ModelError, match="Composition"):
        core_bytes(model, MODES)
    model.flow = PointTransformation([ModeOrder(torch.arange(24))] * 2)
    with pytest.raises(ModelError, match="from normal modes"):
        core_bytes(model, MODES)


def test_single_precision_positions_and_the_modelled_atoms_alone(cores, frames):
    values = cores["affine"].values(frames)
    single = cores["affine"].values(frames.astype(np.float32))
    np.testing.assert_allclose(single, values, rtol=0, atol=2e-3)  # nm of order 3, modes of 0.01 nm
    assert np.abs(single - values).max() > 0.0
    alone, slopes = cores["affine"].values_and_gradients(frames[:, INDICES], selected=True)
    np.testing.assert_array_equal(alone, values)
    assert slopes.shape == (70, 2, 10, 3)
    np.testing.assert_array_equal(slopes, cores["affine"].gradient(frames)[:, :, INDICES])
    strided = np.asfortranarray(frames)
    np.testing.assert_array_equal(cores["affine"].values(strided), values)
    assert cores["affine"].values(frames[:0]).shape == (0, 2)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_threads_share_a_core(cores, frames, kind):
    core, expected = cores[kind], cores[kind].values(frames)
    slopes = core.gradient(frames)
    wrong, rounds = [], []

    def work(offset):
        for k in range(40):
            f = (offset + 7 * k) % 70
            values, gradient = core.values_and_gradients(frames[f : f + 1])
            near = np.allclose(values[0], expected[f], rtol=0, atol=5e-6)
            if not near or np.abs(gradient[0] - slopes[f]).max() > 5e-5 * np.abs(slopes).max():
                wrong.append(f)
            rounds.append(f)

    threads = [threading.Thread(target=work, args=(11 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rounds) == 160
    assert not wrong


def test_positions_that_have_no_value_are_named(cores, frames):
    broken = frames[:6].copy()
    broken[4, INDICES[2], 1] = np.nan
    with pytest.raises(FrameError, match="frame 4: the modes are not finite"):
        cores["affine"].values(broken)
    broken[4] = frames[4]
    broken[2, INDICES[0]] = np.inf
    with pytest.raises(FrameError, match="frame 2"):
        cores["affine"].gradient(broken)
    broken[2] = frames[2]
    broken[:, OTHERS[0]] = np.nan
    assert np.isfinite(cores["affine"].values(broken)).all()
    broken[5, INDICES] = broken[5, INDICES[0]]  # all atoms in one place: no orientation
    assert np.isfinite(cores["affine"].values(broken[:5])).all()
    with pytest.raises(FrameError, match="frame 5"):
        cores["affine"].gradient(broken)


def test_arrays_of_a_wrong_shape_are_refused(cores, frames):
    core = cores["affine"]
    for call, message in (
        (lambda: core.values(frames[0]), r"shape \(20, 3\), not \(frames, atoms, 3\)"),
        (lambda: core.values(frames[:, :18]), "18 atoms; the model needs a system of at least 19"),
        (lambda: core.values(frames, selected=True), "exactly its own 10"),
        (lambda: core.values(frames, box=np.eye(2)), r"box has shape \(2, 2\)"),
        (lambda: core.gradient(frames, np.ones((1, 3))), r"\(1, 3\), not \(m, 2\)"),
    ):
        with pytest.raises(OptionError, match=message):
            call()


def test_the_file_holds_what_the_page_says(models):
    tensors = core_tensors(models["affine"], MODES)
    assert tensors["to_modes"].shape == (30, 24)
    assert tensors["layers"].tolist() == [0] * 5
    kinds = {name: tensor.dtype.name for name, tensor in tensors.items()}
    assert kinds["reference"] == kinds["to_modes"] == kinds["omega"] == "float64"
    assert kinds["layer0.w1"] == "float32"
    assert kinds["atoms"] == kinds["layer0.kept"] == "int64"


def test_load_core_reads_what_export_writes_beside_cv_pt(models, frames, tmp_path):
    metadata = sc.export(models["spline"], MODES, tmp_path / "cv.pt")
    core = sc.load_core(tmp_path / "cv.safetensors")
    assert core.metadata["modes"] == metadata["modes"] == MODES
    assert core.metadata["sha256"] == metadata["core_sha256"]
    assert core.metadata["molecule"] == metadata["molecule"]
    np.testing.assert_allclose(core.metadata["omega_rad_per_ps"], metadata["omega_rad_per_ps"])
    np.testing.assert_array_equal(core.indices, INDICES)
    values, gradients = core.values_and_gradients(frames[:1])
    _assert_agrees(values[0], gradients[0], models["spline"], MODES, frames[0])
    with pytest.raises(ModelError, match="no such file"):
        sc.load_core(tmp_path / "other.safetensors")


def test_the_best_kernels_of_this_machine_are_taken(models):
    content = core_bytes(models["affine"], MODES)
    assert Core(content).instructions == _core.instructions()
    assert Core(content, instructions="baseline").instructions == "baseline"


def test_loading_a_core_imports_neither_torch_nor_mdtraj_nor_openmm(models, tmp_path):
    path = tmp_path / "cv.safetensors"
    path.write_bytes(core_bytes(models["affine"], MODES))
    program = (
        "import sys, symplectic_cv as sc; core = sc.load_core(sys.argv[1]); "
        "core.values([[[0.01 * i, 0.0005 * i * i, 0.03 * (i % 3)] for i in range(20)]]); "
        "print(sorted({'torch', 'mdtraj', 'openmm'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
