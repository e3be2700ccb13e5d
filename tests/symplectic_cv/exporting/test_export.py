"""Writing the modes for other programs: from a model or its folder, all files or none."""

import numpy as np
import pytest
import torch

from symplectic_cv.errors import ModelError, OptionError, OutputError
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.torchscript import load_exported
from symplectic_cv.models.model_folder import save_model

MODES = [3, 0, 23]
INDICES = np.array([4, 5, 6, 9, 11, 12, 13, 17, 18, 2])
N_SYSTEM = 20


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(torch.float32, INDICES, N_SYSTEM)


def test_exporting_leaves_the_model_as_it_was(tmp_path, make_model):
    model = make_model(torch.float32, INDICES, N_SYSTEM)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    export(model, [0], tmp_path / "cv.pt")
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ([24], r"`modes` 24: the model has 24 modes, numbered 0 \(slowest\) to 23"),
        ([0, -1], "`modes` -1"),
        ([], "`modes` is empty"),
        ([1, 1], "names a mode twice: 1 1"),
    ],
)
def test_modes_that_do_not_exist_write_nothing(tmp_path, model, modes, message):
    with pytest.raises(OptionError, match=message):
        export(model, modes, tmp_path / "cv.pt")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten(tmp_path, model):
    path = tmp_path / "cv.pt"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"cv.pt: exists already"):
        export(model, MODES, path)
    assert path.read_bytes() == b"before"


def test_a_model_folder_is_exported_into_itself(tmp_path, model):
    save_model(tmp_path, model)
    metadata = export(tmp_path, [1, 0])
    assert load_exported(tmp_path / "cv.pt")[1] == metadata
    direct = export(model, [1, 0], tmp_path / "other")
    assert direct == metadata
    for name in ("cv.pt", "cv.safetensors"):
        assert (tmp_path / "other" / name).is_file()
    core = [(folder / "cv.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "other")]
    assert core[0] == core[1]


def test_a_model_without_a_folder_needs_a_path(model):
    with pytest.raises(OptionError, match="`path`"):
        export(model, [0])


def test_no_file_is_written_where_one_for_plumed_exists(tmp_path, model):
    (tmp_path / "cv-plumed.dat").write_text("before")
    with pytest.raises(OutputError, match=r"cv-plumed.dat: exists already"):
        export(model, [0], tmp_path, plumed=True)
    assert [file.name for file in tmp_path.iterdir()] == ["cv-plumed.dat"]


def test_a_folder_without_a_molecule_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        export(tmp_path / "absent", [0])
