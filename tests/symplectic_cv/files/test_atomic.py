"""Files that are written whole: no link redirects a write, and nothing half stays behind."""

import os
import secrets

import pytest

from symplectic_cv.files.atomic import replaced_whole, write_atomically


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """Even a link with the very name of the temporary file does not redirect the write."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    monkeypatch.setattr(secrets, "token_hex", lambda n: "guessed")
    (tmp_path / ".table.csv.guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "table.csv", b"1")
    assert victim.read_text() == "untouched"


def test_names_of_temporary_files_are_random(tmp_path, monkeypatch):
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(str(a)), replace(a, b)))
    for _ in range(2):
        write_atomically(tmp_path / "a", b"1")
        with replaced_whole(tmp_path / "b.npz") as aside:
            assert aside.suffix == ".npz"
            assert aside.parent.stat().st_mode & 0o777 == 0o700
            aside.write_bytes(b"2")
    assert len({name.split("/")[-1] if "/a." in name else name for name in seen}) == 4
    assert str(os.getpid()) not in "".join(name.removeprefix(str(tmp_path)) for name in seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b.npz"]


def test_a_new_file_is_private_until_it_is_whole(tmp_path, monkeypatch):
    modes = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda n: (modes.append(os.fstat(n).st_mode), fsync(n)))
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a", b"1")
    finally:
        os.umask(before)
    assert modes[0] & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replaced_whole(path) as aside:
        aside.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
