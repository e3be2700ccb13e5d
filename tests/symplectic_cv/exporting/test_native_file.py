"""Damaged files for the native core: an error that says so, never a crash and never numbers."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symplectic_cv import _core
from symplectic_cv.errors import ModelError
from symplectic_cv.exporting.native_core import Core
from symplectic_cv.exporting.native_file import core_bytes, core_tensors
from symplectic_cv.exporting.native_format import read_metadata, sign

RELAXED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", params=["affine", "spline"])
def model(request, make_model):
    return make_model(layers=2, hidden=5, coupling=request.param)


@pytest.fixture(scope="module")
def content(model):
    return core_bytes(model, [0, 2])


@pytest.fixture(scope="module")
def header_end(content):
    return 8 + int.from_bytes(content[:8], "little")


def _loads_or_says_why(content, dipeptide):
    """Whether a file loads; whatever it does then, it must not crash."""
    try:
        flow = _core.read(content)
    except _core.FormatError as error:
        assert str(error)
        return False
    n = max(flow.atoms) + 1
    if n > 1000:
        return True
    x = np.zeros((2, n, 3))
    x[:, flow.atoms] = dipeptide
    values = np.empty((2, flow.n_modes))
    gradients = np.empty((2, flow.n_modes, n, 3))
    flow.evaluate(x, None, np.eye(flow.n_modes), values, gradients, False)
    return True


def test_the_same_model_gives_the_same_file(model, content):
    assert {core_bytes(model, [0, 2]) for _ in range(3)} == {content}
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    assert list(metadata) == [
        *("format", "modes", "omega_rad_per_ps", "temperature_k", "molecule", "sha256"),
    ]


def test_the_whole_file_loads(content, dipeptide):
    assert _loads_or_says_why(content, dipeptide)


@given(st.data())
@RELAXED
def test_truncated(content, dipeptide, data):
    cut = data.draw(st.integers(0, len(content) - 1))
    assert not _loads_or_says_why(content[:cut], dipeptide)


@given(st.data())
@RELAXED
def test_every_flipped_bit_is_noticed(content, dipeptide, data):
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    altered = bytearray(content)
    altered[bit // 8] ^= 1 << bit % 8
    assert not _loads_or_says_why(bytes(altered), dipeptide)


@given(st.data())
@RELAXED
def test_forged_files_never_crash(content, header_end, dipeptide, data):
    """Bits flipped and the digest made right again: past the checksum, into all other checks."""
    altered = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(
            st.one_of(st.integers(0, header_end - 1), st.integers(0, len(content) - 1))
        )
        altered[place] = data.draw(st.integers(0, 255))
    try:
        forged = sign(bytes(altered))
    except ValueError:  # the place for the digest is gone
        forged = bytes(altered)
    _loads_or_says_why(forged, dipeptide)


@given(st.binary(max_size=400))
@RELAXED
def test_arbitrary_bytes(dipeptide, noise):
    assert not _loads_or_says_why(noise, dipeptide)
    assert not _loads_or_says_why(len(noise).to_bytes(8, "little") + noise, dipeptide)


def test_a_longer_file_or_header_is_refused(content, header_end, dipeptide):
    assert not _loads_or_says_why(content + b"\0", dipeptide)
    assert not _loads_or_says_why(sign(content + b"\0" * 4096), dipeptide)
    for length in (2**64 - 1, 2**63, len(content), 10**8 + 1):
        assert not _loads_or_says_why(length.to_bytes(8, "little") + content[8:], dipeptide)


def test_the_other_byte_order_is_named(content):
    swapped = content[:8][::-1] + content[8:]
    with pytest.raises(ModelError, match="byte order"):
        Core(swapped, "cv.safetensors")


def test_messages_name_the_file_and_the_remedy(content):
    altered = bytearray(content)
    altered[-3] ^= 16
    with pytest.raises(ModelError, match=r"cv\.safetensors: .*altered since.*export it again"):
        Core(bytes(altered), "cv.safetensors")
    with pytest.raises(ModelError, match=r"cv\.safetensors: .*truncated"):
        Core(content[:50], "cv.safetensors")


def _with(model, content, **changes):
    """The file with some tensors exchanged (None: left out), signed anew."""
    tensors = {**core_tensors(model, [0, 2]), **changes}
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return sign(safetensors.numpy.save(kept, metadata))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masses": None}, "tensor masses is missing"),
        ({"masses": np.zeros(10)}, "a mass is not positive"),
        ({"masses": np.ones(2)}, "number of atoms"),
        ({"masses": np.ones(10, dtype=np.float32)}, "masses is not of type F64"),
        ({"masses": np.ones((10, 1))}, "number of atoms"),
        ({"masses": np.ones(10, dtype=np.int32)}, "of a type other than"),
        ({"reference": np.full((10, 3), np.nan)}, "reference is not finite"),
        ({"reference": np.ones((11, 3))}, "not one place per mass"),
        ({"atoms": np.arange(10) - 1}, "tensor atoms"),
        ({"atoms": np.zeros(10, dtype=np.int64)}, "tensor atoms names an atom twice"),
        ({"atoms": np.arange(10) + 2**40}, "tensor atoms"),
        ({"links": np.zeros((9, 2), dtype=np.int64)}, "not a tree"),
        ({"links": np.full((9, 2), 77)}, "names an atom that is not there"),
        ({"links": np.zeros((8, 2), dtype=np.int64)}, "do not join all atoms"),
        ({"to_modes": np.ones((29, 24))}, "to_modes is not of shape"),
        ({"to_modes": np.full((30, 24), np.inf)}, "to_modes is not finite"),
        ({"origin": np.zeros(23)}, "origin has a wrong length"),
        ({"chosen": np.array([0, 24])}, "chosen names a mode twice, or one that is not there"),
        ({"chosen": np.array([1, 1])}, "chosen names a mode twice"),
        ({"chosen": np.array([1])}, "do not name the same modes"),
        ({"omega": np.array([1.0, -1.0])}, "omega is not positive"),
        ({"layers": np.array([0, 9])}, "unknown kind"),
        ({"layers": np.zeros(3, dtype=np.int64)}, "layer2.kept is missing"),
        ({"layers": np.zeros(5000, dtype=np.int64)}, "too many layers"),
        ({"layer0.kept": np.arange(12)}, "twice, or one beyond the last|leave a coordinate out"),
        ({"layer1.moved": np.array([], dtype=np.int64)}, "leave a coordinate out"),
        ({"layer0.moved": np.array([-1])}, "beyond the last"),
        ({"layer0.w1": np.ones((5, 11), dtype=np.float32)}, r"layer0.w1 is not of shape \(5, 12\)"),
        ({"layer0.w2": np.ones((5, 6), dtype=np.float32)}, "not a square matrix"),
        ({"layer0.w2": np.ones((0, 0), dtype=np.float32)}, "not a square matrix"),
        ({"layer0.b2": np.ones(4, dtype=np.float32)}, "layer0.b2 is not of length 5"),
        ({"layer0.b2": np.full(5, np.nan, dtype=np.float32)}, "layer0.b2 is not finite"),
        ({"layer0.w3": np.ones((7, 5), dtype=np.float32)}, "layer0.w3"),
    ],
)
def test_tensors_that_do_not_fit_are_named(model, content, changes, message):
    with pytest.raises(ModelError, match=message):
        Core(_with(model, content, **changes))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("affine", {"layer0.bound": np.array([-1.0])}, "bound is not one number"),
        ("affine", {"layer0.bound": np.array([np.nan])}, "bound is not one number"),
        ("spline", {"layer0.half_width": np.zeros(12)}, "half_width is not positive"),
        ("spline", {"layer0.limits": np.array([0.2, 1e-3, 1.0])}, "describes no spline"),
        ("spline", {"layer0.limits": np.ones(2)}, "limits is not three numbers"),
    ],
)
def test_limits_of_the_layers(make_model, kind, changes, message):
    model = make_model(layers=1, hidden=5, coupling=kind)
    content = core_bytes(model, [0, 2])
    # the one coupling must matter to the modes: all of them are asked for
    tensors = {**core_tensors(model, list(range(24))), **changes}
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    with pytest.raises(ModelError, match=message):
        Core(sign(safetensors.numpy.save(tensors, metadata)))


def test_metadata_of_something_else(content):
    for noise in (b"", b"PK\3\4 a zip", b"\2\0\0\0\0\0\0\0{}", content[:40]):
        with pytest.raises(ModelError, match="not a file for the native core"):
            read_metadata(noise, "cv.safetensors")
    assert read_metadata(content, "cv.safetensors")["modes"] == [0, 2]
