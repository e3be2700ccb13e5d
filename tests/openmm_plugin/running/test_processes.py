"""Calls in processes of their own: results, errors, deaths, and an end for all."""

import os
import signal
import subprocess
import sys
import time

import pytest

from openmm_plugin.running.processes import WorkerDied, WorkerProcesses
from symplectic_cv.errors import OptionError

HERE = "openmm_plugin.running.processes"


def test_results_and_errors_come_through_the_future():
    with WorkerProcesses(2, HERE) as processes:
        results = [processes.submit(divmod, 7 + k, 3) for k in range(3)]
        refused = processes.submit(_refuse, "`width` is wrong")
        assert [future.result(60) for future in results] == [(2, 1), (2, 2), (3, 0)]
        with pytest.raises(OptionError, match="`width` is wrong"):
            refused.result(60)


def _refuse(message):
    raise OptionError(message)


def test_each_call_has_a_process_of_its_own():
    with WorkerProcesses(2, HERE) as processes:
        pids = {processes.submit(os.getpid).result(60) for _ in range(3)}
    assert len(pids) == 3
    assert os.getpid() not in pids


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from openmm_plugin.running.processes import WorkerProcesses\n"
        "print('begun')\n"
        f"with WorkerProcesses(2, {HERE!r}) as processes:\n"
        "    futures = [processes.submit(divmod, 7 + k, 3) for k in range(2)]\n"
        "    print(*(future.result(60) for future in futures))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split("\n") == ["begun", "(2, 1) (2, 2)", ""]
    assert done.stderr == ""


def test_a_process_that_dies_is_told_by_its_exit_status():
    with WorkerProcesses(1, HERE) as processes:
        with pytest.raises(WorkerDied, match="exit status -9"):
            processes.submit(_kill_itself).result(60)
        assert processes.submit(abs, -1).result(60) == 1


def _kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_leaving_the_context_ends_what_runs_and_what_waits():
    begun = time.monotonic()
    with WorkerProcesses(1, HERE) as processes:
        running, waiting = processes.submit(time.sleep, 600), processes.submit(time.sleep, 600)
        while not processes._processes:
            time.sleep(0.01)
    assert time.monotonic() - begun < 60.0
    assert isinstance(running.exception(), WorkerDied)
    assert waiting.cancelled()
