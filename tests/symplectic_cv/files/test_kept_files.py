"""The files that a run depends on are the same when it goes on."""

import json

import pytest

from symplectic_cv.errors import OutputError
from symplectic_cv.files.kept_files import FILES, check_digests, keep_digests


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "system.xml").write_text("<System/>")
    keep_digests(tmp_path, ["system.xml", "absent"])
    return tmp_path


def test_a_folder_that_is_as_it_was_passes(folder):
    assert list(json.loads((folder / FILES).read_text())) == ["system.xml"]
    keep_digests(folder, ["system.xml", "absent"])
    check_digests(folder)


def test_a_run_of_an_earlier_version_has_no_record(tmp_path):
    check_digests(tmp_path)


@pytest.mark.parametrize("check", [check_digests, lambda folder: keep_digests(folder, [])])
def test_an_altered_or_missing_file_is_refused(folder, check):
    (folder / "system.xml").write_text("<System />")
    with pytest.raises(OutputError, match=r"system\.xml: was altered since the run began"):
        check(folder)
    (folder / "system.xml").unlink()
    with pytest.raises(OutputError, match=r"system\.xml: is missing"):
        check(folder)


@pytest.mark.parametrize("content", ["", "[]", "7", '{"a": 1}', "[" * 100_000])
def test_a_damaged_record_is_told(folder, content):
    (folder / FILES).write_text(content)
    with pytest.raises(OutputError, match=r"files\.json: damaged"):
        check_digests(folder)
