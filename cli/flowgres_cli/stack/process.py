"""Child processes with a log file: start, wait until ready, stop, kill; and those that never outlive us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowgres_cli.stack import guard
from flowgres_cli.stack.accounts import Account
from flowgres_cli.stack.errors import ProcessFailedError

LOG_TAIL_LINES = 15


class ManagedProcess:
    """One child process in a session of its own: Ctrl-C in the terminal reaches us alone, and we stop it in order.

    Its output goes to `log_path`, of which errors quote what this start has written. With an `account` it runs as that
    user. A context manager: leaving it stops the process.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        account: Account | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.log_path = log_path
        self.environment = dict(os.environ if environment is None else environment)
        self.directory = directory
        self.account = account
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

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
        account = self.account.popen_arguments() if self.account else {}
        self._launch(self.arguments, stdin=subprocess.DEVNULL, start_new_session=True, **account)

    def _launch(self, arguments: Sequence[str], **how: Any) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            # cwd of an account's own arguments is a place that it can enter; one that was named is known to be.
            how |= {"cwd": self.directory} if self.directory is not None else {}
            self._process = subprocess.Popen(
                arguments, stdout=log, stderr=subprocess.STDOUT, env=self.environment, **how
            )

    def wait_until(self, is_ready: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Wait until `is_ready`; ProcessFailedError with the log's tail when it ends first or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if not self.is_running:
                raise self._failure(f"{self.name} {self.ending()} before it was ready.")
            if time.monotonic() > deadline:
                self.stop()
                raise self._failure(f"{self.name} was not ready after {timeout_seconds:g} seconds.")
            time.sleep(0.02)

    def ending(self) -> str:
        """How it ended, in words; only after its end."""
        code = self.return_code or 0
        number = -code if code < 0 else code - 128 if code > 128 else 0
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(number).name}"
        return f"ended with exit code {code}"

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
        """The last lines that it wrote since it was started."""
        return log_tail(self.log_path, lines, start=self._log_start)

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


class GuardedProcess(ManagedProcess):
    """A child process that never outlives us, however we end: see `guard`, which stands between.

    `stop_signal` asks it to stop. The guard keeps the descriptors of `holding` open until the program has ended: a lock
    among them tells the next one whether something of this one is left.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str],
        directory: Path | None = None,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10.0,
        holding: Sequence[int] = (),
    ) -> None:
        super().__init__(
            name, arguments, log_path=log_path, environment=environment, directory=directory, account=account
        )
        self._stop_signal = stop_signal
        self._grace_seconds = grace_seconds
        self._holding = tuple(holding)
        self._lifeline: int | None = None

    def start(self) -> None:
        """Start the guard, and by it the program; its log is appended to."""
        user = f"{self.account.uid}:{self.account.gid}" if self.account else "-"
        how = [str(int(self._stop_signal)), str(self._grace_seconds), user]
        theirs, self._lifeline = os.pipe()
        try:
            self._launch(
                [sys.executable, "-I", "-S", str(guard.__file__), *how, *self.arguments],
                stdin=theirs,
                start_new_session=True,
                pass_fds=self._holding,
                cwd="/",
            )
        finally:
            os.close(theirs)

    def stop(self, *, grace_seconds: float | None = None) -> None:
        """Let go of it, and wait for its end. Stopping twice is no error; it has the grace that it was made with."""
        del grace_seconds
        self._let_go()
        if self._process is not None:
            self._process.wait()

    def kill(self) -> None:
        """Kill the program and what it started."""
        if self._lifeline is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._lifeline, guard.KILL)
        self.stop()

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def log_tail(path: Path, lines: int = LOG_TAIL_LINES, *, start: int = 0) -> str:
    """Return the last lines of a log file (of its bytes from `start` on), or nothing when there is none."""
    try:
        text = path.read_bytes()[start:].decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
