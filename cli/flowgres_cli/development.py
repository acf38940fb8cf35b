"""The private server of `flowgres dev` and `flowgres demo`: PostgreSQL, PostgREST, a runner, the front, a tenant.

Everything lives in one data directory. What is chosen once (passwords, the JWT secret, the key that encrypts secrets,
the API key) is kept in its `state.json`, so that the next start finds the same server again.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from flowgres_cli import migrate
from flowgres_cli.client import Client
from flowgres_cli.config import FOLDER_PROFILE_NAME, Config
from flowgres_cli.errors import AuthError, CliError, UnreachableError
from flowgres_cli.operator import call_as_operator
from flowgres_cli.signals import signals_ignored
from flowgres_cli.stack.environment import runner_environment, without_libpq_variables
from flowgres_cli.stack.errors import ProcessFailedError
from flowgres_cli.stack.fetching import find_postgrest
from flowgres_cli.stack.folder import State, occupied, write_private
from flowgres_cli.stack.ports import is_free
from flowgres_cli.stack.postgres import Cluster, dsn
from flowgres_cli.stack.postgrest import Postgrest, start_postgrest
from flowgres_cli.stack.process import GuardedProcess
from flowgres_cli.stack.watch import PartsWatch

Json = Any
T = TypeVar("T")
DATABASE = "flowgres"
TENANT = "dev"
API_PORT = 3000
FRONT_PORT = 8000
DATABASE_PORT = 15432
READY_SECONDS = 30.0
_PORTS_TRIED = 100
_STARTS_TRIED = 5


@dataclass(frozen=True, slots=True)
class Ports:
    """Wished ports; None takes the default, or the next free one. A port that was named is that one, or an error."""

    api: int | None = None
    front: int | None = None
    database: int | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server can be reached, and the credentials of its tenant."""

    api: str
    front: str
    database: str
    api_key: str

    @property
    def docs(self) -> str:
        """The page that shows the API, and calls it."""
        return f"{self.front}/docs"

    def config(self) -> Config:
        """The configuration of a client of this server."""
        return Config(
            api_url=self.api,
            front_url=self.front,
            api_key=self.api_key,
            token=None,
            output=None,
            profile=None,
            sources=dict.fromkeys(("api_url", "front_url", "api_key"), "the server that was just started"),
        )


class DevelopmentServer:
    """Starts all parts in order, and stops them in the opposite order. A context manager, for the main thread.

    When a part ends by itself, what is under way is interrupted, and ProcessFailedError tells which and why. When we
    are killed, the parts end as well. A temporary one removes its database when it stops. `on_started` hears of every
    part, with a detail and the seconds that it took.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        database_options: Mapping[str, str] | None = None,
        runner_environment: Mapping[str, str] | None = None,
        is_temporary: bool = False,
        on_started: Callable[[str, str, float], None] | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self._ports = ports or Ports()
        self._database_options = dict(database_options or {})
        self._runner_environment = dict(runner_environment or {})
        self._is_temporary = is_temporary
        self._on_started = on_started or (lambda _part, _detail, _seconds: None)
        self._closing = contextlib.ExitStack()
        self._watch = PartsWatch()
        self._holding: tuple[int, ...] = ()
        self._addresses: Addresses | None = None

    @property
    def addresses(self) -> Addresses:
        """Where it listens; only after the start."""
        if self._addresses is None:
            raise CliError("the server has not been started")
        return self._addresses

    def __enter__(self) -> DevelopmentServer:
        try:
            self._start()
        except BaseException:
            # One of the contexts knows whether a KeyboardInterrupt is the user's, or the end of a part.
            self._stop(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(kind, error, trace)

    def _stop(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop everything, whatever was started; a second Ctrl-C does not leave half of it behind."""
        with signals_ignored():
            self._watch.close()
            self._closing.__exit__(kind, error, trace)

    def _start(self) -> None:
        # Before anything is made: without a network this is where it ends.
        find_postgrest()
        self._closing.enter_context(without_libpq_variables())
        self._holding = (self._closing.enter_context(occupied(self.directory)),)
        state = State.load(self.directory / "state.json")
        with self._timed("PostgreSQL") as say:
            cluster = Cluster(
                self.directory / "postgres",
                options=self._database_options,
                is_guarded=True,
                holding=self._holding,
            )
            # As root the data may lie elsewhere than in our directory: only the cluster can remove it.
            self._closing.callback(cluster.destroy if self._is_temporary else cluster.stop)
            port = _on_port(
                self._ports.database,
                state.database_port or DATABASE_PORT,
                "PostgreSQL",
                lambda wished: cluster.start(port=wished).port,
            )
            if cluster.process is not None:
                self._watch.add(cluster.process)
            self._closing.enter_context(self._watch.interrupting())
            state = replace(state, database_port=port)
            state.save(self.directory / "state.json")
            say(f"{cluster.binaries.version}, port {port}")
        owner_dsn = cluster.superuser_dsn(DATABASE)
        with self._timed("Schema") as say:
            migrate.create_database(owner_dsn)
            applied = migrate.upgrade(
                owner_dsn,
                passwords=dict.fromkeys(migrate.LOGIN_ROLES, state.password),
                settings={"self_registration_enabled": True, "environment": "development"},
            )
            say(f"{len(applied)} files applied" if applied else "up to date")
        state = self._with_tenant(state, owner_dsn)
        postgrest = self._start_postgrest(state, port)
        with self._timed("Runner"):
            runner = self._start_runner(state, port)
        with self._timed("Front") as say:
            front_port = _on_port(
                self._ports.front,
                FRONT_PORT,
                "the front",
                lambda wished: self._start_front(state, port, postgrest, wished, runner),
            )
            say(f"port {front_port}")
        self._write_profile()

    def _with_tenant(self, state: State, owner_dsn: str) -> State:
        exists = call_as_operator(owner_dsn, "select exists (select from flowgres.tenants where slug = %s)", [TENANT])
        if exists and state.api_key:
            return state
        if exists:
            # The directory lost its state, or its database came from elsewhere: the old key is not to be had again.
            call = (
                "select flowgres_api.create_api_key(name => 'dev', role => 'admin') "
                "from (select flowgres.use_tenant(%s) as tenant_id) as t where t.tenant_id is not null"
            )
        else:
            call = "select flowgres_api.register_tenant(name => %s)"
        answer = call_as_operator(owner_dsn, call, [TENANT])
        state = replace(state, api_key=str(answer["api_key"]))
        state.save(self.directory / "state.json")
        return state

    def _start_postgrest(self, state: State, database_port: int) -> Postgrest:
        with self._timed("PostgREST") as say:
            server = _on_port(
                self._ports.api,
                API_PORT,
                "PostgREST",
                lambda wished: start_postgrest(
                    db_uri=_login(database_port, "flowgres_authenticator", state),
                    jwt_secret=state.jwt_secret,
                    directory=self.directory,
                    port=wished,
                    holding=self._holding,
                ),
            )
            self._closing.callback(server.stop)
            self._watch.add(server.process)
            say(f"port {server.config.port}")
        return server

    def _start_runner(self, state: State, database_port: int) -> GuardedProcess:
        return self._start_python(
            "the runner",
            "flowgres_runner",
            {
                "DATABASE_URL": _login(database_port, "flowgres_runner", state),
                "DATABASE_SQL_URL": _login(database_port, "flowgres_sql", state),
                "FLOWGRES_SECRET_KEY": state.secret_key,
                "ENV": "development",
                # Where steps can be called back: the front comes after its runner, at the port that it finds free.
                "PUBLIC_URL": f"http://127.0.0.1:{self._ports.front or _first_free(FRONT_PORT)}",
                **self._runner_environment,
            },
        )

    def _start_front(
        self, state: State, database_port: int, postgrest: Postgrest, front_port: int, runner: GuardedProcess
    ) -> int:
        """Start the front and wait until it finds all well, the runner included."""
        self._addresses = Addresses(
            api=postgrest.url,
            front=f"http://127.0.0.1:{front_port}",
            database=_login(database_port, "flowgres_operator", state),
            api_key=state.api_key,
        )
        front = self._start_python(
            "the front",
            "flowgres_front",
            {
                "FRONT_DATABASE_URL": _login(database_port, "flowgres_front", state),
                "FLOWGRES_API_URL": postgrest.url,
                "FLOWGRES_API_ADMIN_URL": postgrest.ready_url.removesuffix("/ready"),
                "PGRST_JWT_SECRET": state.jwt_secret,
                "FLOWGRES_SECRET_KEY": state.secret_key,
                "HOST": "127.0.0.1",
                "PORT": str(front_port),
            },
        )
        with Client(self.addresses.config()) as client:
            front.wait_until(lambda: _is_healthy(client, runner), timeout_seconds=READY_SECONDS)
        self._watch.add(runner)
        self._watch.add(front)
        return front_port

    def _start_python(self, name: str, module: str, environment: Mapping[str, str]) -> GuardedProcess:
        """Start one of our own processes, which stops with the server."""
        log_path = self.directory / f"{module.removeprefix('flowgres_')}.log"
        # What an earlier start wrote must not be taken for what went wrong with this one.
        log_path.unlink(missing_ok=True)
        process = GuardedProcess(
            name,
            [sys.executable, "-m", module],
            log_path=log_path,
            environment={**runner_environment(), **environment},
            holding=self._holding,
        )
        self._closing.callback(process.stop)
        process.start()
        return process

    def _write_profile(self) -> None:
        """For commands in this folder, in another terminal."""
        path = self.directory / FOLDER_PROFILE_NAME
        values = {"api_url": self.addresses.api, "front_url": self.addresses.front, "api_key": self.addresses.api_key}
        write_private(path, "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        # A profile of a server that is gone would send commands nowhere.
        self._closing.callback(path.unlink, missing_ok=True)

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[Callable[[str], None]]:
        detail = ""

        def say(text: str) -> None:
            nonlocal detail
            detail = text

        began = time.monotonic()
        yield say
        self._on_started(part, detail, time.monotonic() - began)


def _login(port: int, user: str, state: State) -> str:
    return dsn(port=port, database=DATABASE, user=user, password=state.password)


def _is_healthy(client: Client, runner: GuardedProcess) -> bool:
    if not runner.is_running:
        raise ProcessFailedError(
            "process_failed",
            f"{runner.name} ended with exit code {runner.return_code} before it was ready.\n{runner.log_tail()}",
            hint=f"Its log: {runner.log_path}",
        )
    try:
        answer = client.front("GET", "/health", accept_status=frozenset({503}))
        if not isinstance(answer, dict) or answer.get("status") != "ok":
            return False
        # Whoever has the port answers: only our own front knows our key.
        client.front("POST", "/token")
    except (UnreachableError, AuthError):
        return False
    return True


def _says_in_use(error: ProcessFailedError) -> bool:
    return "in use" in error.message


def _first_free(default: int) -> int:
    """The port that something without a wished one is started on, unless another process is faster."""
    return next((port for port in range(default, default + _PORTS_TRIED) if is_free(port)), default)


def _on_port(wished: int | None, default: int, what: str, start: Callable[[int], T]) -> T:
    """Start something on the wished port, or on the default one, or on the next free one.

    Between the look and the start another process may take the port: then the next one is tried.
    """
    if wished is not None:
        if not is_free(wished):
            raise CliError(
                f"port {wished} for {what} is taken", hint="Name another one, or none for the next free one."
            )
        return start(wished)
    tries = 0
    for port in range(default, default + _PORTS_TRIED):
        if not is_free(port):
            continue
        try:
            return start(port)
        except ProcessFailedError as error:
            tries += 1
            # Whoever was faster may only have looked whether it is free.
            if (is_free(port) and not _says_in_use(error)) or tries == _STARTS_TRIED:
                raise
    raise CliError(f"no free port for {what} between {default} and {default + _PORTS_TRIED - 1}")
