"""Torsion modes in the native core: values, gradients, boxes, and files that are damaged."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from ligands import torsion_model

import symplectic_cv as sc
from symplectic_cv import _core
from symplectic_cv.charts.torsion_metric import torsion_angles, torsion_gradients
from symplectic_cv.errors import FrameError, ModelError, OptionError
from symplectic_cv.exporting.native_core import Core
from symplectic_cv.exporting.native_file import core_bytes, export_core
from symplectic_cv.exporting.native_format import sign
from symplectic_cv.exporting.torsion_core import torsion_core_bytes, torsion_core_tensors
from symplectic_cv.models.torsion_model import TorsionModel

pytestmark = pytest.mark.second_openmm

RELAXED = settings(max_examples=200, deadline=None)
INDICES = np.array([7, 2, 3, 9, 4, 11])
OTHERS = np.setdiff1d(np.arange(12), INDICES)
MODES = [1, 0]
STEP = 1e-6
CHAIN = 0.09 * np.array([[k, k % 2, k // 2 % 2] for k in range(6)])
BOXES = {
    "cubic": np.eye(3) * 2.0,
    "triclinic": np.array([[2.2, 0.0, 0.0], [0.7, 2.0, 0.0], [-1.0, 0.9, 1.9]]),
}


def scattered_model(order: int = 3) -> TorsionModel:
    """Two modes of six atoms scattered among twelve; one bond of fold 3."""
    model = torsion_model(order)
    bonds = tuple(
        replace(bond, fold=3 if place == 0 else 1) for place, bond in enumerate(model.bonds)
    )
    molecule = replace(model.molecule, indices=INDICES, n_system_atoms=12)
    return replace(model, molecule=molecule, bonds=bonds)


@pytest.fixture(scope="module")
def model() -> TorsionModel:
    return scattered_model()


@pytest.fixture(scope="module")
def content(model: TorsionModel) -> bytes:
    return core_bytes(model, MODES)


@pytest.fixture(scope="module")
def core(content: bytes) -> Core:
    return Core(content)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """(70, 12, 3): more than two blocks of the core; a bent chain among other atoms."""
    rng = np.random.default_rng(5)
    x = 3.0 * rng.normal(size=(70, 12, 3))
    x[:, INDICES] = CHAIN + 0.02 * rng.normal(size=(70, 6, 3))
    return x


def gradients_by_numpy(model: TorsionModel, modes: list[int], x: np.ndarray) -> np.ndarray:
    """(F, n_modes, n_system, 3), from the model's slopes and the chart's gradients."""
    own = x[:, model.molecule.indices]
    slopes = model.slopes(torsion_angles(own, model.bonds))[:, modes]
    by_atoms = torsion_gradients(own, model.bonds)
    out = np.zeros((len(x), len(modes), x.shape[1], 3))
    for i, bond in enumerate(model.bonds):
        for k, atom in enumerate(bond.atoms):
            place = model.molecule.indices[atom]
            out[:, :, place] += slopes[:, :, i, None] * by_atoms[:, None, i, k]
    return out


@pytest.mark.parametrize("order", [1, 2, 3])
def test_values_and_gradients_are_those_of_numpy(frames: np.ndarray, order: int) -> None:
    model = scattered_model(order)
    core = Core(core_bytes(model, MODES))
    values, gradients = core.values_and_gradients(frames)
    expected = model.modes(frames[:, INDICES], MODES)
    assert np.ptp(expected, axis=0).min() > 0.5
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    slopes = gradients_by_numpy(model, MODES, frames)
    np.testing.assert_allclose(gradients, slopes, rtol=0, atol=1e-12 * np.abs(slopes).max())
    assert (gradients[:, :, OTHERS] == 0.0).all()


def test_gradients_are_finite_differences(core: Core, frames: np.ndarray) -> None:
    gradients = core.gradient(frames[:1])[0]
    for place in INDICES:
        for axis in range(3):
            moved = np.repeat(frames[:1], 2, axis=0)
            moved[0, place, axis] += STEP
            moved[1, place, axis] -= STEP
            ends = core.values(moved)
            slope = (ends[0] - ends[1]) / (2 * STEP)
            off = 1e-6 * np.abs(gradients).max()
            np.testing.assert_allclose(gradients[:, place, axis], slope, rtol=0, atol=off)


def test_no_net_force_and_no_torque(core: Core, frames: np.ndarray) -> None:
    gradients = core.gradient(frames)
    size = np.abs(gradients).max()
    assert np.abs(gradients.sum(2)).max() < 1e-12 * size
    assert np.abs(np.cross(frames[:, None], gradients).sum(2)).max() < 1e-12 * size


def test_gradients_of_combinations(core: Core, frames: np.ndarray) -> None:
    weights = np.array([[1.0, -2.0], [0.0, 0.5], [3.0, 0.0]])
    combined = core.gradient(frames, weights)
    expected = np.einsum("mk,fknc->fmnc", weights, core.gradient(frames))
    np.testing.assert_allclose(combined, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", BOXES)
def test_molecules_are_made_whole(core: Core, frames: np.ndarray, name: str) -> None:
    box = BOXES[name]
    shifts = np.random.default_rng(8).integers(-2, 3, size=(70, 12, 3)) @ box
    whole, slopes = core.values_and_gradients(frames)
    values, gradients = core.values_and_gradients(frames + shifts, box=box)
    np.testing.assert_allclose(values, whole, rtol=0, atol=1e-11)
    np.testing.assert_allclose(gradients, slopes, rtol=0, atol=1e-10 * np.abs(slopes).max())
    with pytest.raises(FrameError, match="torn by a periodic boundary"):
        core.values(frames + shifts)
    many = np.broadcast_to(box, (70, 3, 3))
    np.testing.assert_array_equal(core.values(frames + shifts, box=many), values)


def test_modelled_atoms_alone_and_single_precision(core: Core, frames: np.ndarray) -> None:
    values = core.values(frames)
    alone, slopes = core.values_and_gradients(frames[:, INDICES], selected=True)
    np.testing.assert_array_equal(alone, values)
    np.testing.assert_array_equal(slopes, core.gradient(frames)[:, :, INDICES])
    single = core.values(frames.astype(np.float32))
    assert 0.0 < np.abs(single - values).max() < 1e-2
    assert core.values(frames[:0]).shape == (0, 2)
    assert core.n_couplings_used == 0
    assert core.instructions == "baseline"


def test_frames_without_a_value_are_named(core: Core, frames: np.ndarray) -> None:
    """NaN and infinite positions, atoms in one place, and three atoms on a line."""
    ruined = {
        1: lambda x: x.__setitem__((INDICES[1], 0), np.nan),
        2: lambda x: x.__setitem__((INDICES[2], 1), np.inf),
        3: lambda x: x.__setitem__(INDICES[3], x[INDICES[2]]),
        4: lambda x: x.__setitem__(INDICES[3], 2.0 * x[INDICES[2]] - x[INDICES[1]]),
    }
    for frame, ruin in ruined.items():
        broken = frames[:6].copy()
        ruin(broken[frame])
        for box in (None, 5.0 * np.eye(3)):
            with pytest.raises(FrameError, match=f"frame {frame}: "):
                core.values(broken, box=box)
            with pytest.raises(FrameError, match=f"frame {frame}: "):
                core.gradient(broken, box=box)
    untouched = frames[:6].copy()
    untouched[:, OTHERS] = np.nan
    assert np.isfinite(core.values(untouched)).all()


def test_nearly_straight_atoms_have_their_value(core: Core, model: TorsionModel) -> None:
    """A bond angle of 1e-4 rad: steep, and right."""
    chain = CHAIN.copy()
    chain[3] = 2.0 * chain[2] - chain[1] + 1e-5 * np.array([0.0, 0.3, 1.0])
    x = chain[None]
    values, gradients = core.values_and_gradients(x, selected=True)
    np.testing.assert_allclose(values, model.modes(x, MODES), rtol=0, atol=1e-9)
    assert np.abs(gradients).max() > 1e3


def test_threads_share_a_core(core: Core, frames: np.ndarray) -> None:
    expected, slopes = core.values_and_gradients(frames)
    wrong: list[int] = []

    def work(offset: int) -> None:
        for k in range(50):
            f = (offset + 7 * k) % 70
            values, gradient = core.values_and_gradients(frames[f : f + 1])
            if (values[0] != expected[f]).any() or (gradient[0] != slopes[f]).any():
                wrong.append(f)

    threads = [threading.Thread(target=work, args=(11 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_file_names_the_modes(model: TorsionModel, content: bytes, tmp_path: Path) -> None:
    assert {core_bytes(model, MODES) for _ in range(3)} == {content}
    digest = export_core(model, MODES, tmp_path / "cv.safetensors")
    core = sc.load_core(tmp_path / "cv.safetensors")
    assert core.metadata["modes"] == MODES
    assert core.metadata["omega_rad_per_ps"] == [2.0, 1.0]
    assert core.metadata["temperature_k"] == 300.0
    assert core.metadata["molecule"] == json.loads(json.dumps(model.molecule.to_json()))
    assert core.metadata["sha256"] == digest
    np.testing.assert_array_equal(core.indices, INDICES)
    part = Core(torsion_core_bytes(model, [0], [5]))
    assert part.metadata["modes"] == [5]
    with pytest.raises(OptionError, match="2 modes"):
        core_bytes(model, [2])


def test_loading_imports_neither_torch_nor_mdtraj_nor_openmm(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "cv.safetensors").write_bytes(content)
    program = (
        "import sys, symplectic_cv as sc; core = sc.load_core(sys.argv[1]); "
        "core.values([[[0.1 * i, 0.1 * (i % 2), 0.1 * (i % 3)] for i in range(6)]], None, True); "
        "print(sorted({'torch', 'mdtraj', 'openmm'} & set(sys.modules)))"
    )
    path = tmp_path / "cv.safetensors"
    run = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def loads_or_says_why(content: bytes) -> bool:
    """Whether a file loads; whatever it does then, it must not crash."""
    try:
        modes = _core.read(content)
    except _core.FormatError as error:
        assert str(error)
        return False
    n = max(modes.atoms) + 1
    if n > 1000:
        return True
    x = np.random.default_rng(0).normal(size=(2, n, 3))
    values = np.empty((2, modes.n_modes))
    gradients = np.empty((2, modes.n_modes, n, 3))
    modes.evaluate(x, None, np.eye(modes.n_modes), values, gradients, False)
    return True


@given(st.data())
@RELAXED
def test_truncated_and_flipped(content: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(content) - 1))
    assert not loads_or_says_why(content[:cut])
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    altered = bytearray(content)
    altered[bit // 8] ^= 1 << bit % 8
    assert not loads_or_says_why(bytes(altered))


@given(st.data())
@RELAXED
def test_forged_files_never_crash(content: bytes, data: st.DataObject) -> None:
    """Bytes changed and the digest made right again: past the checksum, into all other checks."""
    altered = bytearray(content)
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, end - 1), st.integers(end, len(content) - 1)))
        altered[place] = data.draw(st.integers(0, 255))
    try:
        forged = sign(bytes(altered))
    except ValueError:  # the place for the digest is gone
        forged = bytes(altered)
    loads_or_says_why(forged)


def with_changes(model: TorsionModel, content: bytes, **changes: np.ndarray | None) -> bytes:
    """The file with some tensors exchanged (None: left out), signed anew."""
    tensors = {**torsion_core_tensors(model, MODES), **changes}
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    kept = {name: np.ascontiguousarray(t) for name, t in tensors.items() if t is not None}
    return sign(safetensors.numpy.save(kept, metadata))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atoms": None}, "tensor atoms is missing"),
        ({"atoms": np.array([], dtype=np.int64)}, "from 1 to 100000 places"),
        ({"atoms": np.arange(6) - 1}, "atom twice, or one that cannot be"),
        ({"atoms": np.zeros(6, dtype=np.int64)}, "atom twice"),
        ({"atoms": np.arange(6) + 2**40}, "one that cannot be"),
        ({"atoms": np.arange(4)}, "torsions names an atom that is not there"),
        ({"torsions": None}, "tensor torsions is missing"),
        ({"torsions": np.zeros((3, 3), dtype=np.int64)}, "torsions is not of shape"),
        ({"torsions": np.zeros((0, 4), dtype=np.int64)}, "torsions is not of shape"),
        ({"torsions": np.zeros((3, 4), dtype=np.int64)}, "atom twice in one torsion"),
        ({"torsions": np.array([[0, 1, 2, 6]] * 3)}, "atom that is not there"),
        ({"torsions": np.array([[0, 1, 2, -1]] * 3)}, "atom that is not there"),
        ({"torsions": np.array([[0.0, 1.0, 2.0, 3.0]] * 3)}, "torsions is not of type I64"),
        ({"folds": np.ones(2, dtype=np.int64)}, "folds has not one number per torsion"),
        ({"folds": np.array([1, 0, 1])}, "folds is not from 1 to 64"),
        ({"folds": np.array([1, 2**40, 1])}, "folds is not from 1 to 64"),
        ({"constant": np.array([])}, "constant has not from 1 to 4096"),
        ({"constant": np.array([0.0, np.nan])}, "constant is not finite"),
        ({"constant": np.zeros(3)}, "coefficients is not of shape"),
        ({"coefficients": np.zeros((2, 3, 3))}, "coefficients has not 4 dimensions"),
        ({"coefficients": np.zeros((2, 3, 0, 2))}, "coefficients is not of shape"),
        ({"coefficients": np.zeros((2, 3, 17, 2))}, "coefficients is not of shape"),
        ({"coefficients": np.zeros((2, 2, 3, 2))}, "coefficients is not of shape"),
        ({"coefficients": np.full((2, 3, 3, 2), np.inf)}, "coefficients is not finite"),
        ({"coefficients": np.zeros((2, 3, 3, 2), np.float32)}, "not of type F64"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    model: TorsionModel, content: bytes, changes: dict[str, np.ndarray | None], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Core(with_changes(model, content, **changes))


def test_modes_of_an_unknown_kind(content: bytes) -> None:
    other = content.replace(b'"kind":"torsions"', b'"kind":"distance"')
    with pytest.raises(ModelError, match="of an unknown kind"):
        Core(sign(other))
    none = content.replace(b'"kind":"torsions"', b'"king":"torsions"')
    with pytest.raises(ModelError, match="masses is missing"):
        Core(sign(none))
