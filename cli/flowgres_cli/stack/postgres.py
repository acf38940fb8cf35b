"""A private PostgreSQL cluster in a directory: initialise, start on 127.0.0.1, stop."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from flowgres_cli.stack.accounts import Account, reachable_directory, server_account
from flowgres_cli.stack.binaries import PostgresBinaries, find_postgres
from flowgres_cli.stack.environment import program_environment
from flowgres_cli.stack.errors import ProcessFailedError, StackError
from flowgres_cli.stack.ports import free_port, is_free
from flowgres_cli.stack.process import GuardedProcess, ManagedProcess

SUPERUSER = "postgres"
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# Servers that are meant to outlive whoever started them: a Popen that is collected would complain.
_left_running: list[ManagedProcess] = []

# For data that nobody will miss: never for the dev stack, nor for tests that kill the server.
THROW_AWAY_OPTIONS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a running server listens."""

    host: str
    port: int
    pid: int


def dsn(*, host: str = "127.0.0.1", port: int, database: str, user: str, password: str | None = None) -> str:
    """Build a connection URL; names and passwords are escaped."""
    login = quote(user, safe="") if password is None else f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@{host}:{port}/{quote(database, safe='')}"


class Cluster:
    """A private cluster below `directory`: `data`, `superuser.password`, and the log.

    As root everything belongs to, and runs as, another user; a directory that this user cannot enter is exchanged for
    one below /var/lib/flowgres (see `directory`). Logins need a scram password, and come over TCP: a unix socket's path
    could be too long, and would be one more way in.

    A cluster with `is_guarded` ends with this process, however that ends; `holding` are descriptors that its guard
    keeps open until then. Another one goes on until `stop`, from any process.
    """

    def __init__(
        self,
        directory: Path,
        *,
        binaries: PostgresBinaries | None = None,
        options: Mapping[str, str] | None = None,
        is_guarded: bool = False,
        holding: Sequence[int] = (),
    ) -> None:
        self._account: Account | None = server_account()
        self.directory = reachable_directory(directory, self._account)
        self.data_directory = self.directory / "data"
        self.log_path = self.directory / "postgres.log"
        self._password_path = self.directory / "superuser.password"
        self.binaries = binaries or find_postgres(major=self._initialised_major())
        self.options = dict(options or {})
        self._is_guarded = is_guarded
        self._holding = tuple(holding)
        self.process: ManagedProcess | None = None
        """The server, where this object has started it."""

    @property
    def is_initialised(self) -> bool:
        """Tell whether the data directory holds a cluster."""
        return (self.data_directory / "PG_VERSION").exists()

    def initialise(self) -> None:
        """Create the cluster unless it is there: UTF-8, C collation (the same order on every machine), scram logins.

        It takes its name when it is complete: one that was interrupted is never taken for a cluster.
        """
        if self.is_initialised:
            self._check_major()
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._own(self.directory, mode=0o700)
        unfinished = self.directory / "data.new"
        for rest in (unfinished, self.data_directory):
            shutil.rmtree(rest, ignore_errors=True)
        descriptor = os.open(self._password_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
        self._own(self._password_path, mode=0o600)
        initdb = GuardedProcess(
            "initdb",
            [
                *(str(self.binaries.path("initdb")), f"--pgdata={unfinished}", f"--username={SUPERUSER}"),
                *(f"--pwfile={self._password_path}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-instructions"),
                *(["--no-sync"] if self.options.get("fsync") == "off" else []),
            ],
            log_path=self.directory / "initdb.log",
            environment=self._environment(),
            account=self._account,
            holding=self._holding,
        )
        with initdb:
            if initdb.wait() != 0:
                said = f"initdb {initdb.ending()}.\n{initdb.log_tail()}"
                raise ProcessFailedError("postgres_failed", said, hint=f"Its log: {initdb.log_path}")
        unfinished.rename(self.data_directory)

    def start(self, *, port: int | None = None) -> Address:
        """Initialise when needed, start on `port` (default: the port it had, or a free one), and wait until it answers.

        A server that already runs in the directory is left as it is, unless this one is to be guarded: then it is what
        an earlier one could not take along. Raises ProcessFailedError with the log's tail.
        """
        self.initialise()
        running = self.running()
        if running is not None and not self._is_guarded:
            return running
        self.stop()
        for attempt in range(3):
            chosen = port if port is not None else free_port()
            try:
                return self._start_once(chosen)
            except ProcessFailedError as error:
                if port is not None or attempt == 2 or (is_free(chosen) and "in use" not in error.message):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def running(self) -> Address | None:
        """Tell where the server of this directory listens, or None when it does not run."""
        lines = self._pid_file()
        try:
            address = Address(host="127.0.0.1", port=int(lines[3]), pid=int(lines[0]))
        except (IndexError, ValueError):
            return None
        return address if self._is_our_server(address.pid) else None

    def stop(self, *, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for it; `immediate` is a crash: no checkpoint, recovery at the next start."""
        running = self.running()
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, _STOP_SIGNALS[mode])
        if self.process is not None and self._is_guarded:
            self.process.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while self.running() is not None:
            if time.monotonic() > deadline:
                raise ProcessFailedError(
                    "postgres_failed",
                    f"PostgreSQL did not stop within {STOP_TIMEOUT_SECONDS} s.",
                    hint=f"The log: {self.log_path}",
                )
            time.sleep(0.02)

    def destroy(self) -> None:
        """Stop the server and remove the directory."""
        self.stop(mode="immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def superuser_password(self) -> str:
        """Read the password of the superuser `postgres`."""
        return self._password_path.read_text().strip()

    def superuser_dsn(self, database: str = "postgres") -> str:
        """The connection URL of the superuser, over TCP; the server has to run."""
        address = self.running()
        if address is None:
            raise StackError("postgres_not_running", f"No PostgreSQL runs in {self.directory}.")
        return dsn(port=address.port, database=database, user=SUPERUSER, password=self.superuser_password())

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_once(self, port: int) -> Address:
        if self.running() is None:
            # PostgreSQL would take any process that has the number of the last server by now for that server.
            (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "max_connections": "200",
            **self.options,
        }
        arguments = [str(self.binaries.path("postgres")), "-D", str(self.data_directory)]
        arguments += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        how: dict[str, Any] = {"log_path": self.log_path, "environment": self._environment(), "account": self._account}
        if self._is_guarded:
            self.process = GuardedProcess(
                "PostgreSQL",
                arguments,
                **how,
                stop_signal=_STOP_SIGNALS["fast"],
                grace_seconds=STOP_TIMEOUT_SECONDS,
                holding=self._holding,
            )
        else:
            self.process = ManagedProcess("PostgreSQL", arguments, **how)
            _left_running.append(self.process)
        self.process.start()
        self.process.wait_until(self._is_ready, timeout_seconds=START_TIMEOUT_SECONDS)
        address = self.running()
        if address is None:
            raise ProcessFailedError("postgres_failed", f"PostgreSQL ended at once.\n{self.process.log_tail()}")
        return address

    def _is_ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) > 7 and lines[7].strip() == "ready" and self.running() is not None

    def _pid_file(self) -> list[str]:
        try:
            return (self.data_directory / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def _is_our_server(self, pid: int) -> bool:
        """Tell whether a process is the server of this directory: numbers are given to others after a crash.

        A server works in its data directory, and a process that has ended works nowhere.
        """
        if Path("/proc/self/cwd").exists():
            try:
                return Path(f"/proc/{pid}/cwd").samefile(self.data_directory)
            except OSError:
                return False
        told = subprocess.run(
            ["ps", "-p", str(pid), "-o", "args="],  # noqa: S607  of the system, wherever it has it
            env=self._environment(),
            capture_output=True,
            check=False,
        ).stdout
        return os.fsencode(self.data_directory) in told

    def _environment(self) -> dict[str, str]:
        home = {"HOME": self._account.home} if self._account else {}
        return program_environment() | home

    def _own(self, path: Path, *, mode: int) -> None:
        path.chmod(mode)
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    def _initialised_major(self) -> int | None:
        try:
            return int((self.data_directory / "PG_VERSION").read_text())
        except (OSError, ValueError):
            return None

    def _check_major(self) -> None:
        major = self._initialised_major()
        if major is not None and major != self.binaries.major:
            raise StackError(
                "postgres_version_differs",
                f"{self.data_directory} was made by PostgreSQL {major}, and {self.binaries} cannot open it.",
                hint=f"Choose PostgreSQL {major} with FLOWGRES_PG_BIN, or another directory.",
            )
