"""The file for PLUMED's PYTORCH_MODEL, called as its C++ calls it."""

import re

import numpy as np
import pytest
import torch

from symplectic_cv.cli.main import main
from symplectic_cv.errors import OptionError, OutputError
from symplectic_cv.exporting.plumed import export_for_plumed
from symplectic_cv.exporting.torchscript import script
from symplectic_cv.models.model_folder import save_model

INDICES = np.array([4, 5, 6, 9, 11, 12, 13, 17, 18, 2])
MODES = [3, 0]


@pytest.fixture(scope="module", params=["affine", "spline"])
def model(request, make_model):
    return make_model(torch.float32, INDICES, 20, coupling=request.param).requires_grad_(False)


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    return export_for_plumed(model, MODES, tmp_path_factory.mktemp("plumed") / "cv.pt")


@pytest.fixture(scope="module")
def module(files):
    return torch.jit.load(str(files[0]))


def test_the_first_call_tells_the_number_of_values(module):
    """PLUMED asks at zeros, without a gradient, and reads the output as float32."""
    output = module(torch.zeros(1, 30))
    assert output.shape == (1, 2)
    assert output.dtype == torch.float32


def test_values_and_derivatives_as_plumed_takes_them(module, model, wobble):
    exact = script(model, MODES)
    identity = torch.eye(2, dtype=torch.float64)
    for x in wobble(5, seed=3):
        arguments = torch.tensor(x.reshape(1, 30), dtype=torch.float32, requires_grad=True)
        output = module(arguments)
        assert output.shape == (1, 2)
        assert output.dtype == torch.float32
        system = np.zeros((20, 3))
        system[INDICES] = x.astype(np.float32)
        values, gradients = exact.values_and_gradients(torch.as_tensor(system), None, identity)
        np.testing.assert_allclose(output[0].detach(), values, rtol=0, atol=1e-5)
        for k in range(2):
            (slope,) = torch.autograd.grad(
                [output[:, k : k + 1]], [arguments], [torch.ones(1, 1)], retain_graph=True
            )
            right = gradients[k].numpy()[INDICES].reshape(1, 30)
            np.testing.assert_allclose(slope, right, rtol=0, atol=1e-4 * np.abs(right).max())


def test_the_input_lines_name_every_coordinate_in_order(files, model):
    text = files[1].read_text()
    lines = {line.split(":")[0]: line for line in text.splitlines() if ": " in line}
    arguments = re.search(r"PYTORCH_MODEL FILE=(\S+) ARG=(\S+)", text)
    assert arguments[1] == files[0].name == "cv-plumed.pt"
    wanted = [f"x{index + 1}.{axis}" for index in INDICES for axis in "xyz"]
    assert arguments[2].split(",") == wanted
    for index in INDICES:
        assert f"POSITION ATOM={index + 1} NOPBC" in lines[f"x{index + 1}"]
    assert f"ENTITY0={','.join(str(index + 1) for index in INDICES)}" in text
    assert text.index("WHOLEMOLECULES") < text.index("POSITION")
    assert "LENGTH=nm" in text
    assert f"cv.node-0 = mode 3 ({float(model.omega[3]):.3f} rad/ps)" in text


def test_nothing_is_overwritten_and_modes_are_checked(files, model, tmp_path):
    with pytest.raises(OutputError, match=r"cv-plumed\.pt: exists already"):
        export_for_plumed(model, MODES, files[0].with_name("cv.pt"))
    with pytest.raises(OptionError, match="24 modes"):
        export_for_plumed(model, [99], tmp_path / "cv.pt")
    assert list(tmp_path.iterdir()) == []


def test_the_export_command_writes_them(model, tmp_path):
    save_model(tmp_path / "model", model)
    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path / "model"), "--modes", "1", "--plumed"])
    assert end.value.code == 0
    names = {path.name for path in (tmp_path / "model").glob("cv*")}
    assert names == {"cv.pt", "cv.safetensors", "cv-plumed.pt", "cv-plumed.dat"}
    assert torch.jit.load(str(tmp_path / "model" / "cv-plumed.pt"))(torch.zeros(1, 30)).shape == (
        1,
        1,
    )
