"""Child processes: readiness, orderly stop, kill, and errors that show the log."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from flowgres_cli.stack.errors import ProcessFailedError
from flowgres_cli.stack.process import ManagedProcess

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
