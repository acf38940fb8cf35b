"""A private PostgreSQL cluster in a directory: initialise, start on 127.0.0.1, stop."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from flowgres_cli.stack.accounts import Account, reachable_directory, server_account
from flowgres_cli.stack.binaries import PostgresBinaries, find_postgres
from flowgres_cli.stack.errors import ProcessFailedError, StackError
from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.process import log_tail

SUPERUSER = "postgres"
START_TIMEOUT_SECONDS = 60
LONGEST_SOCKET_DIRECTORY = 90  # a unix socket's path holds 107 bytes, its name included

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
    """A private cluster below `directory`: `data` (with the unix socket), `superuser.password`, and the log.

    As root everything belongs to, and runs as, another user; a directory that this user cannot enter is exchanged for
    one below /var/lib/flowgres (see `directory`). Logins need a scram password, on TCP and on the socket.
    """

    def __init__(
        self, directory: Path, *, binaries: PostgresBinaries | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self._account: Account | None = server_account()
        self.directory = reachable_directory(directory, self._account)
        self.data_directory = self.directory / "data"
        self.log_path = self.directory / "postgres.log"
        self._password_path = self.directory / "superuser.password"
        self.binaries = binaries or find_postgres(major=self._initialised_major())
        self.options = dict(options or {})

    @property
    def is_initialised(self) -> bool:
        """Tell whether the data directory holds a cluster."""
        return (self.data_directory / "PG_VERSION").exists()

    def initialise(self) -> None:
        """Create the cluster unless it is there: UTF-8, C collation (the same order on every machine), scram logins."""
        if self.is_initialised:
            self._check_major()
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._own(self.directory, mode=0o700)
        shutil.rmtree(self.data_directory, ignore_errors=True)  # an initdb that was interrupted
        descriptor = os.open(self._password_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
        self._own(self._password_path, mode=0o600)
        self._run(
            "initdb",
            f"--pgdata={self.data_directory}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_path}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            *(["--no-sync"] if self.options.get("fsync") == "off" else []),
        )

    def start(self, *, port: int | None = None) -> Address:
        """Initialise when needed, start on `port` (default: the port it had, or a free one), and wait until it answers.

        A server that already runs in the directory is left as it is. Raises ProcessFailedError with the log's tail.
        """
        self.initialise()
        running = self.running()
        if running is not None:
            return running
        for attempt in range(3):
            chosen = port if port is not None else free_port()
            try:
                self._start_once(chosen)
            except ProcessFailedError as error:
                if port is None and attempt < 2 and "in use" in error.message:
                    continue
                raise
            break
        address = self.running()
        if address is None:
            raise ProcessFailedError("postgres_failed", f"PostgreSQL ended at once.\n{log_tail(self.log_path)}")
        return address

    def running(self) -> Address | None:
        """Tell where the server of this directory listens, or None when it does not run."""
        try:
            lines = (self.data_directory / "postmaster.pid").read_text().splitlines()
            address = Address(host="127.0.0.1", port=int(lines[3]), pid=int(lines[0]))
        except (OSError, IndexError, ValueError):
            return None
        try:
            os.kill(address.pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return address

    def stop(self, *, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for it; `immediate` is a crash: no checkpoint, recovery at the next start."""
        if self.running() is not None:
            self._run("pg_ctl", "stop", f"--pgdata={self.data_directory}", f"--mode={mode}", "--wait", "--timeout=60")

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

    def _start_once(self, port: int) -> None:
        socket_directory = self.data_directory if len(str(self.data_directory)) < LONGEST_SOCKET_DIRECTORY else ""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(socket_directory),
            "password_encryption": "scram-sha-256",
            "max_connections": "200",
            **self.options,
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._run(
            "pg_ctl",
            "start",
            f"--pgdata={self.data_directory}",
            f"--log={self.log_path}",
            f"--options={options}",
            "--wait",
            f"--timeout={START_TIMEOUT_SECONDS}",
        )

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the server's account; its output goes to the log or into the error."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"LC_ALL": "C", "TZ": "UTC"}
        extra = self._account.popen_arguments() if self._account else {}
        if self._account:
            environment["HOME"] = self._account.home
        started = time.monotonic()
        # A file, not a pipe: the server that pg_ctl leaves behind would hold the pipe open for ever.
        output_path = self.directory / f"{program}.out"
        with output_path.open("wb") as output:
            code = subprocess.run(
                [str(self.binaries.path(program)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
                **extra,
            ).returncode
        if code != 0:
            said = output_path.read_text(errors="replace").strip()
            seconds = time.monotonic() - started
            raise ProcessFailedError(
                "postgres_failed",
                f"{program} failed with exit code {code} after {seconds:.0f} s.\n{said}\n{log_tail(self.log_path)}",
                hint=f"The log: {self.log_path}",
            )

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
