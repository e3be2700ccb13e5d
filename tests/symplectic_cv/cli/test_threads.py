"""A command's number of threads does not outlive the command."""

import pytest
import torch
from commands import run

from symplectic_cv.cli.threads import with_threads


def test_the_number_of_threads_is_that_of_the_command_alone(monkeypatch, tmp_path):
    seen = []
    read = torch.get_num_threads

    @with_threads
    def command(*words: str, threads: int = 1) -> None:
        seen.append((words, read()))
        raise ZeroDivisionError

    before = read()
    torch.set_num_threads(3)
    try:
        for named in ({}, {"threads": 2}):
            with pytest.raises(ZeroDivisionError):
                command("a", **named)
            assert read() == 3
        run("variational", "double-well", "-o", tmp_path / "model", "--steps", "2")
        assert read() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [(("a",), 1), (("a",), 2)]
