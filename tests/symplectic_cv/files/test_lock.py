"""The lock of a run's folder: one writer, and none left when it is killed."""

import subprocess
import sys

import pytest

from symplectic_cv.errors import OutputError
from symplectic_cv.files.lock import LOCK, sole_writer

HOLD = """
import sys, time
from symplectic_cv.files.lock import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_writers_of_one_process_exclude_one_another(tmp_path):
    with (
        sole_writer(tmp_path),
        pytest.raises(OutputError, match="another process is running"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_an_error_within_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_writer(tmp_path):
        _ = 1 / 0
    with sole_writer(tmp_path):
        pass


def test_a_killed_process_releases_its_lock(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(OutputError, match="another process is running"),
            sole_writer(tmp_path),
        ):
            pass
        process.kill()
        process.wait()
        with sole_writer(tmp_path):
            pass
