"""Child processes: readiness, orderly stop, kill, and errors that show the log."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowgres_cli.stack.environment import program_environment
from flowgres_cli.stack.errors import ProcessFailedError
from flowgres_cli.stack.process import GuardedProcess, ManagedProcess

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def python(program: str, directory: Path) -> ManagedProcess:
    return ManagedProcess("child", [sys.executable, "-c", program], log_path=directory / "child.log")


def test_process_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    process = python("print('the reason'); raise SystemExit(3)", tmp_path)
    process.start()
    with pytest.raises(ProcessFailedError, match=r"exit code 3(.|\n)*the reason"):
        process.wait_until(lambda: False, timeout_seconds=10)


def test_process_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    process = python("import time; time.sleep(60)", tmp_path)
    process.start()
    with pytest.raises(ProcessFailedError, match="was not ready after"):
        process.wait_until(lambda: False, timeout_seconds=0.1)
    assert not process.is_running


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = python(STUBBORN, tmp_path)
    process.start()
    process.wait_until(lambda: "up" in process.log_tail(), timeout_seconds=10)
    process.stop(grace_seconds=0.1)
    assert process.return_code == -signal.SIGKILL


def test_stopping_twice_is_no_error(tmp_path: Path) -> None:
    with python("import time; time.sleep(60)", tmp_path) as process:
        process.stop()
    assert process.return_code == -signal.SIGTERM


SPEAKS = "import os, time; print('up', os.getpid(), flush=True); time.sleep(60)"


def guarded(program: str, directory: Path, *, grace_seconds: float = 5) -> GuardedProcess:
    return GuardedProcess(
        "child",
        [sys.executable, "-c", program],
        log_path=directory / "child.log",
        environment=program_environment(),
        grace_seconds=grace_seconds,
    )


def pid_of(process: ManagedProcess) -> int:
    process.wait_until(lambda: "up" in process.log_tail(), timeout_seconds=10)
    return int(process.log_tail().split()[1])


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_guarded_process_stops_with_its_own_signal(tmp_path: Path) -> None:
    with guarded(SPEAKS, tmp_path) as process:
        pid = pid_of(process)
    assert process.ending() == "was ended by SIGTERM"
    assert not is_alive(pid)


def test_guarded_process_that_ignores_the_request_is_killed_after_its_grace(tmp_path: Path) -> None:
    with guarded(STUBBORN.replace("'up'", "'up', __import__('os').getpid()"), tmp_path, grace_seconds=0.2) as process:
        pid = pid_of(process)
    assert process.ending() == "was ended by SIGKILL"
    assert not is_alive(pid)


def test_what_a_guarded_process_has_started_ends_with_it(tmp_path: Path) -> None:
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SPEAKS!r}])"
    with guarded(program, tmp_path) as process:
        assert process.wait(timeout_seconds=10) == 0
        pids = [int(line.split()[1]) for line in process.log_tail().splitlines()]
    assert not any(is_alive(pid) for pid in pids)


def test_guarded_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from tests.unit.stack import test_process as t\n"
        "p = t.guarded(t.SPEAKS, Path(sys.argv[1])); p.start(); print(t.pid_of(p), flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), *sys.path], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert is_alive(pid)
    starter.kill()
    starter.communicate()
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    process = GuardedProcess(
        "child", ["/nowhere/program"], log_path=tmp_path / "log", environment=program_environment()
    )
    with process, pytest.raises(ProcessFailedError, match=r"exit code 127(.|\n)*/nowhere/program: No such file"):
        process.wait_until(lambda: False, timeout_seconds=10)


def test_errors_quote_what_this_start_has_written_and_nothing_older(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("of yesterday: in use\n")
    process = python("print('the reason'); raise SystemExit(3)", tmp_path)
    process.start()
    with pytest.raises(ProcessFailedError) as caught:
        process.wait_until(lambda: False, timeout_seconds=10)
    assert "the reason" in caught.value.message
    assert "yesterday" not in caught.value.message


def test_lock_that_a_guard_holds_is_free_when_its_program_has_ended(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock, (tmp_path / "lock").open("w") as other:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = GuardedProcess(
            "child",
            [sys.executable, "-c", SPEAKS],
            log_path=tmp_path / "log",
            environment=program_environment(),
            holding=[lock.fileno()],
        )
        process.start()
        lock.close()
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.stop()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
