"""Model folders: a round trip to the bit, and every damage noticed."""

import hashlib
import json

import pytest
import torch

from symplectic_cv.errors import ModelError
from symplectic_cv.files.atomic import write_atomically
from symplectic_cv.models.model_folder import (
    CONFIG,
    HISTORY,
    WEIGHTS,
    load_model,
    read_config,
    save_model,
)
from symplectic_cv.training.result import HistoryRow

ROW = HistoryRow(
    step=100,
    train_nll=-31.25,
    validation_nll=-30.5,
    validation_nll_configuration=-60.125,
    learning_rate=2e-3,
)


@pytest.fixture
def saved(tmp_path, make_model):
    folder = tmp_path / "model"
    save_model(folder, make_model(torch.float32), [ROW, ROW], {"seed": 3})
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_round_trip_keeps_every_bit(tmp_path, make_model, wobble, dtype):
    model = make_model(dtype)
    model.settle(model.frame.coordinates(torch.as_tensor(wobble(50))))
    save_model(tmp_path / "model", model)
    again = load_model(tmp_path / "model")
    assert again.dtype == dtype
    assert again.temperature == model.temperature
    assert not again.training
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value.dtype == after[key].dtype, key
        assert torch.equal(value, after[key]), key
    x = torch.as_tensor(wobble(7, seed=1))
    with torch.no_grad():
        assert torch.equal(model.collective_variables(x), again.collective_variables(x))
        assert torch.equal(model.log_likelihood(x), again.log_likelihood(x))
    assert again.molecule.to_json() == model.molecule.to_json()


def test_saving_again_writes_the_same_bytes(tmp_path, saved):
    save_model(tmp_path / "again", load_model(saved), [ROW, ROW], {"seed": 3})
    for name in (WEIGHTS, CONFIG, HISTORY):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_a_folder_holds_weights_config_and_history_and_no_pickle(saved):
    assert {file.name for file in saved.iterdir()} == {WEIGHTS, CONFIG, HISTORY}
    weights = (saved / WEIGHTS).read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    assert "frame.reference" in header
    config = read_config(saved)
    assert config["temperature_k"] == 300.0
    assert len(config["omega_rad_per_ps"]) == 24
    assert config["training"] == {"seed": 3}
    lines = (saved / HISTORY).read_text().splitlines()
    assert lines[0] == ("step,train_nll,validation_nll,validation_nll_configuration,learning_rate")
    assert lines[1:] == ["100,-31.25,-30.5,-60.125,0.002"] * 2


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def _truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _edit(path, change, sign=False):
    config = json.loads(path.read_text())
    change(config)
    if sign:  # as a program that knows the format would write it
        config.pop("config_sha256")
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
        config["config_sha256"] = digest
    path.write_text(json.dumps(config))


DAMAGES = {
    "no folder": (lambda f: f.rename(f.with_name("elsewhere")), "no such model folder"),
    "no config": (lambda f: (f / CONFIG).unlink(), "has no config.json"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "has no model.safetensors"),
    "weights truncated": (lambda f: _truncate(f / WEIGHTS), "model.safetensors: truncated"),
    "weights empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "model.safetensors: truncated"),
    "one bit of the weights": (lambda f: _flip(f / WEIGHTS, -1), "model.safetensors: truncated"),
    "config truncated": (lambda f: _truncate(f / CONFIG), "config.json: truncated"),
    "config empty": (lambda f: (f / CONFIG).write_text(""), "config.json: truncated"),
    "config not text": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"), "config.json"),
    "config of something else": (lambda f: (f / CONFIG).write_text("[1]"), "not of format"),
    "another format": (lambda f: _edit(f / CONFIG, lambda c: c.update(format=99)), "not of format"),
    "another mass": (
        lambda f: _edit(f / CONFIG, lambda c: c["molecule"]["atoms"][2].update(mass_da=16.5)),
        "config.json: altered",
    ),
    "another atom": (
        lambda f: _edit(f / CONFIG, lambda c: c["molecule"]["atoms"][2].update(system_index=11)),
        "config.json: altered",
    ),
    "another temperature": (
        lambda f: _edit(f / CONFIG, lambda c: c.update(temperature_k=310.0)),
        "config.json: altered",
    ),
    "no hash of itself": (
        lambda f: _edit(f / CONFIG, lambda c: c.pop("config_sha256")),
        "config.json: altered",
    ),
}
CONTRADICTIONS = {
    "no hash of the weights": (lambda c: c.pop("weights_sha256"), "differs from the one"),
    "fewer layers": (lambda c: c["flow"].update(layers=2), "does not describe the weights"),
    "another width": (lambda c: c["flow"].update(hidden=8), "does not describe the weights"),
    "no flow": (lambda c: c.pop("flow"), "does not describe the weights"),
    "no temperature": (lambda c: c.update(temperature_k=0), "does not describe the weights"),
    "an atom less": (lambda c: c["molecule"]["atoms"].pop(), "does not describe the weights"),
    "no molecule": (lambda c: c.pop("molecule"), "does not describe the weights"),
    "an unknown precision": (
        lambda c: c.update(dtype="float31"),
        "does not describe the weights",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_a_model_error_that_names_the_file(saved, damage):
    apply, message = DAMAGES[damage]
    load_model(saved)
    apply(saved)
    with pytest.raises(ModelError, match=message) as error:
        load_model(saved)
    text = str(error.value)
    assert str(saved) in text
    assert "\n" not in text


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_a_config_that_contradicts_its_weights_is_refused(saved, contradiction):
    change, message = CONTRADICTIONS[contradiction]
    _edit(saved / CONFIG, lambda c: None, sign=True)
    load_model(saved)
    _edit(saved / CONFIG, change, sign=True)
    with pytest.raises(ModelError, match=message) as error:
        load_model(saved)
    assert str(saved) in str(error.value)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"first")
    (tmp_path / "link").hardlink_to(path)
    write_atomically(path, b"before")
    assert (tmp_path / "link").read_bytes() == b"first"  # replaced, never written into

    def full_disk(_):
        raise OSError("no space left")

    monkeypatch.setattr("symplectic_cv.files.atomic.os.fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert {file.name for file in tmp_path.iterdir()} == {"file", "link"}
