"""Child processes with a log file: start, wait until ready, stop, kill."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flowgres_cli.stack.errors import ProcessFailedError

LOG_TAIL_LINES = 15


class ManagedProcess:
    """One child process in a session of its own: Ctrl-C in the terminal reaches us alone, and we stop it in order.

    Its output goes to `log_path`. A context manager: leaving it stops the process.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.log_path = log_path
        self.environment = dict(os.environ if environment is None else environment)
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; only while started."""
        return self._started().pid

    @property
    def return_code(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        return self._started().poll()

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program; its log is appended to."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
            )

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Wait until `is_ready`; ProcessFailedError with the log's tail when it ends first or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if not self.is_running:
                raise self._failure(f"{self.name} ended with exit code {self.return_code} before it was ready.")
            if time.monotonic() > deadline:
                self.stop()
                raise self._failure(f"{self.name} was not ready after {timeout_seconds:g} seconds.")
            time.sleep(0.02)

    def wait(self, *, timeout_seconds: float | None = None) -> int:
        """Wait for its end and return the exit code; `subprocess.TimeoutExpired` when it takes longer."""
        return self._started().wait(timeout_seconds)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._started().send_signal(number)

    def stop(self, *, grace_seconds: float = 10.0) -> None:
        """Ask with SIGTERM, and kill the whole session after `grace_seconds`. Stopping twice is no error."""
        if self._process is None:
            return
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill the process and what it started (they share its session), as a crash of the machine would."""
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """The last lines that it wrote."""
        return log_tail(self.log_path, lines)

    def __enter__(self) -> ManagedProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ProcessFailedError("process_not_started", f"{self.name} has not been started.")
        return self._process

    def _failure(self, sentence: str) -> ProcessFailedError:
        tail = self.log_tail()
        return ProcessFailedError(
            "process_failed", f"{sentence}\n{tail}" if tail else sentence, hint=f"Its log: {self.log_path}"
        )


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log file, or nothing when there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
