"""PostgREST: write its configuration, start it, wait until it is ready."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowgres_cli.stack.environment import program_environment
from flowgres_cli.stack.errors import ProcessFailedError
from flowgres_cli.stack.fetching import find_postgrest
from flowgres_cli.stack.ports import free_port, is_free
from flowgres_cli.stack.process import GuardedProcess, ManagedProcess

READY_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PostgrestConfig:
    """What a PostgREST of flowgres is started with; `options` adds or replaces lines of its configuration file."""

    db_uri: str
    jwt_secret: str
    port: int
    admin_port: int
    host: str = "127.0.0.1"
    log_level: str = "error"
    max_rows: int = 1000
    pool_size: int = 10
    options: Mapping[str, str | int | bool] | None = None

    def text(self) -> str:
        """Render the configuration file."""
        lines: dict[str, str | int | bool] = {
            "db-uri": self.db_uri,
            "db-schemas": "flowgres_api",
            "db-anon-role": "flowgres_anon",
            "db-pre-request": "flowgres.pre_request",
            "db-extra-search-path": "",
            "db-pool": self.pool_size,
            "db-max-rows": self.max_rows,
            "jwt-secret": self.jwt_secret,
            "db-root-spec": "openapi",
            "server-host": self.host,
            "server-port": self.port,
            "admin-server-port": self.admin_port,
            "log-level": self.log_level,
            **(self.options or {}),
        }
        return "".join(f"{name} = {_literal(value)}\n" for name, value in lines.items())


class Postgrest:
    """A PostgREST process with its configuration and log in `directory`.

    With `holding` (descriptors, or none) it is guarded: it ends with this process, however that ends.
    """

    def __init__(
        self,
        config: PostgrestConfig,
        *,
        directory: Path,
        binary: Path | None = None,
        holding: Sequence[int] | None = None,
    ) -> None:
        self.config = config
        self.url = f"http://{config.host}:{config.port}"
        self.ready_url = f"http://{config.host}:{config.admin_port}/ready"
        self._config_path = directory / "postgrest.conf"
        program = str(binary or find_postgrest())
        how: dict[str, Any] = {
            "log_path": directory / "postgrest.log",
            "environment": program_environment(),
            # The name of the directory is no part of an argument, whose encoding would be the locale's.
            "directory": directory,
        }
        arguments = [program, self._config_path.name]
        self.process = (
            ManagedProcess("PostgREST", arguments, **how)
            if holding is None
            else GuardedProcess("PostgREST", arguments, **how, holding=holding)
        )

    def start(self, *, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Write the configuration (it holds passwords: mode 600), start, and wait until /ready says so."""
        self._config_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._config_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.config.text())
        self.process.start()
        self.process.wait_until(self.is_ready, timeout_seconds=timeout_seconds)

    def is_ready(self) -> bool:
        """Tell whether it has a database connection and its schema cache."""
        connection = http.client.HTTPConnection(self.config.host, self.config.admin_port, timeout=2)
        try:
            # Not by way of urllib, which would ask a proxy of the environment for what is on this machine.
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop it; stopping twice is no error."""
        self.process.stop()

    def __enter__(self) -> Postgrest:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_postgrest(
    *,
    db_uri: str,
    jwt_secret: str,
    directory: Path,
    port: int | None = None,
    options: Mapping[str, str | int | bool] | None = None,
    log_level: str = "error",
    pool_size: int = 10,
    holding: Sequence[int] | None = None,
) -> Postgrest:
    """Start PostgREST on `port`, or on a free one; when another process takes a free port first, on the next."""
    binary = find_postgrest()
    for attempt in range(3):
        chosen = port if port is not None else free_port()
        admin_port = free_port()
        config = PostgrestConfig(
            db_uri=db_uri,
            jwt_secret=jwt_secret,
            port=chosen,
            admin_port=admin_port,
            options=options,
            log_level=log_level,
            pool_size=pool_size,
        )
        server = Postgrest(config, directory=directory, binary=binary, holding=holding)
        try:
            server.start()
        except ProcessFailedError as error:
            # With a port that was given, it is the administrative one that another process was faster with.
            if attempt < 2 and "in use" in error.message and (port is None or is_free(port)):
                continue
            raise
        except BaseException:
            server.stop()
            raise
        return server
    raise AssertionError("unreachable: the last attempt returns or raises")


def _literal(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
