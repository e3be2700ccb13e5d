"""Errors that several commands share: temperatures, model folders, modes and outputs."""

import pytest
from commands import content, users_of


@pytest.mark.parametrize("kelvin", ["0", "-300", "nan", "inf"])
def test_a_temperature_that_is_not_positive_is_refused(
    trained, simulated, trajectory, refused_without_output, kelvin
):
    for arguments in (
        ["train", trajectory],
        ["simulate", "alanine-dipeptide"],
        ["metadynamics", trained, "--system", simulated / "system.xml"],
    ):
        line = refused_without_output(*arguments, "--temperature", kelvin)
        assert "temperature" in line


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "altered"])
@pytest.mark.parametrize("command", ["analyze", "export", "metadynamics", "path"])
def test_a_damaged_model_folder_is_refused(
    model, simulated, refused_without_output, name, damage, command
):
    path = model / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif name == "config.json":
        path.write_text(
            content.decode().replace('"temperature_k": 300.0', '"temperature_k": 310.0')
        )
        assert path.read_bytes() != content
    else:
        content[-5] ^= 1
        path.write_bytes(content)
    arguments = users_of(model, simulated)[command]
    line = refused_without_output(*arguments)
    assert name in line


def test_a_folder_that_is_no_model_is_refused(simulated, refused_without_output, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        for arguments in users_of(folder, simulated).values():
            assert str(folder) in refused_without_output(*arguments)


def test_modes_that_do_not_exist_are_refused(trained, simulated, refused_without_output):
    for command in ("export", "metadynamics", "path"):
        arguments = users_of(trained, simulated)[command]
        line = refused_without_output(*arguments, "--modes", "0", "24")
        assert "24" in line
        assert "mode" in line
    arguments = users_of(trained, simulated)["metadynamics"]
    line = refused_without_output(*arguments, "--modes", "0", "1", "2", "3")
    assert "metadynamics takes 1 to 3" in line


@pytest.mark.parametrize("what", ["run", "file"])
def test_an_output_that_is_taken_is_refused_and_left_alone(
    trained, simulated, trajectory, refused, tmp_path, what
):
    output = tmp_path / "output"
    if what == "run":
        output.mkdir()
        (output / "notes.txt").write_text("of another run")
    else:
        output.write_text("a file")
    commands = {
        **users_of(trained, simulated),
        "simulate": ["simulate", "alanine-dipeptide"],
        "train": ["train", trajectory],
        "demo": ["demo"],
    }
    del commands["export"]
    before = content(tmp_path)
    for arguments in commands.values():
        line = refused(*arguments, "-o", output)
        assert str(output) in line
        assert ("already holds another run" if what == "run" else "is a file") in line
        assert "--output" in line
        if what == "run" and arguments[0] in ("simulate", "train", "metadynamics", "demo"):
            assert "no run to resume" in refused(*arguments, "-o", output, "--resume")
        assert content(tmp_path) == before
