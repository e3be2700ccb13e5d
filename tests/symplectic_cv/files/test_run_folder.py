"""Output folders: nothing is overwritten, a run goes on only as it began."""

import json

import pytest

from symplectic_cv.errors import OutputError, RunWarning
from symplectic_cv.files.run_folder import RUN, require_free, require_free_file, start_run

SETTINGS = {"command": "train", "seed": 1, "modes": [0, 1], "files": ["a.xtc"]}


def test_a_new_or_empty_folder_is_free_and_nothing_is_made(tmp_path):
    assert require_free(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    assert require_free(tmp_path / "empty") == tmp_path / "empty"


def test_a_folder_with_anything_in_it_is_not_free(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / ".hidden").write_text("")
    with pytest.raises(OutputError, match=r"old: already holds another run.*`resume=True`"):
        require_free(tmp_path / "old")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: is a file"):
        require_free(tmp_path / "file")


def test_an_existing_file_is_not_free(tmp_path):
    path = tmp_path / "cv.pt"
    assert require_free_file(path) == path
    assert not path.exists()
    path.write_text("before")
    with pytest.raises(OutputError, match=r"cv.pt: exists already"):
        require_free_file(path)


def test_a_run_is_started_once(tmp_path):
    folder = tmp_path / "deep" / "run"
    assert start_run(folder, SETTINGS, resume=False) is False
    assert json.loads((folder / RUN).read_text()) == SETTINGS
    assert [file.name for file in folder.iterdir()] == [RUN]
    with pytest.raises(OutputError, match="already holds another run"):
        start_run(folder, SETTINGS, resume=False)


def test_a_run_is_resumed_with_its_own_settings_alone(tmp_path):
    folder = tmp_path / "run"
    start_run(folder, SETTINGS, resume=False)
    assert start_run(folder, {**SETTINGS, "modes": (0, 1)}, resume=True) is True
    with pytest.raises(OutputError, match="cannot resume, seed was 1 and is now 2"):
        start_run(folder, {**SETTINGS, "seed": 2}, resume=True)
    with pytest.raises(OutputError, match="extra was None and is now 5"):
        start_run(folder, {**SETTINGS, "extra": 5}, resume=True)
    fewer = {key: value for key, value in SETTINGS.items() if key != "files"}
    with pytest.raises(OutputError, match="files was"):
        start_run(folder, fewer, resume=True)
    assert json.loads((folder / RUN).read_text()) == SETTINGS


def test_resuming_nothing_starts_anew_but_not_over_other_files(tmp_path):
    with pytest.warns(RunWarning, match="new: holds no run to resume, so that a new one begins"):
        assert start_run(tmp_path / "new", SETTINGS, resume=True) is False
    assert (tmp_path / "new" / RUN).is_file()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds no run.json"):
        start_run(tmp_path / "other", SETTINGS, resume=True)
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", "[" * 100_000])
def test_a_damaged_record_is_named(tmp_path, content):
    folder = tmp_path / "run"
    start_run(folder, SETTINGS, resume=False)
    (folder / RUN).write_text(content)
    with pytest.raises(OutputError, match=r"run.json: damaged"):
        start_run(folder, SETTINGS, resume=True)


def test_a_parent_that_is_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        start_run(tmp_path / "file" / "run", SETTINGS, resume=False)
