"""Fixtures of all tests: one server per run, one database per test, real PostgREST and runner processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from flowgres_cli.stack.postgrest import Postgrest, start_postgrest
from tests.support.api import Api
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.notifications import Notifications
from tests.support.runner import Runner
from tests.support.server import (
    JWT_SECRET,
    Server,
    SpareDatabase,
    close_session,
    describe_choice,
    open_session,
    shared_server,
)

# The same examples in every run, so that a change answers for what it broke; FLOWGRES_FUZZ=1 draws others.
hypothesis.settings.register_profile("repeatable", derandomize=not os.environ.get("FLOWGRES_FUZZ"))
hypothesis.settings.load_profile("repeatable")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a script SIGINT is ignored, and so it would be in every process that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _is_worker(config):
        open_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_worker(config):
        close_session()


def pytest_report_header() -> str:
    return describe_choice()


@pytest.fixture(scope="session")
def server() -> Server:
    """The PostgreSQL of this run, with flowgres installed in its template database."""
    return shared_server()


@pytest.fixture(scope="session")
def spare(server: Server) -> Iterator[SpareDatabase]:
    """Where tests take their databases from."""
    spare = SpareDatabase(server)
    yield spare
    spare.close()


@pytest.fixture
def database(server: Server, spare: SpareDatabase) -> Iterator[Database]:
    """A fresh copy of the template, for this test alone."""
    name = spare.take()
    yield Database(name=name, server=server)
    server.drop_database(name)


@pytest.fixture(scope="module")
def module_database(server: Server, spare: SpareDatabase) -> Iterator[Database]:
    """A fresh copy of the template, shared by the tests of one file, which make a tenant each."""
    name = spare.take()
    yield Database(name=name, server=server)
    server.drop_database(name)


@pytest.fixture
def db(database: Database) -> Iterator[Db]:
    """A superuser's connection to the test's database."""
    with database.connect() as db:
        yield db


@pytest.fixture
def as_role(database: Database) -> Callable[..., Any]:
    """`with as_role("member", tenant_id=...) as db:` one transaction as PostgREST makes it for a JWT."""
    return database.as_role


@pytest.fixture
def tenant(database: Database) -> Tenant:
    """A tenant with an admin's key; `database.make_tenant("Other")` makes another one."""
    return database.make_tenant()


@pytest.fixture
def notifications(database: Database, db: Db, tenant: Tenant) -> Notifications:
    """The tenant's notifications; the secret that signs them is stored."""
    return Notifications(database, db, tenant)


@pytest.fixture
def clock(db: Db) -> Clock:
    """The engine's clock of the test's database."""
    return Clock(db)


@pytest.fixture
def postgrest(database: Database, tmp_path: Path) -> Iterator[Postgrest]:
    """A real PostgREST on the test's database."""
    with _postgrest(database, tmp_path) as server:
        yield server


@pytest.fixture
def api(postgrest: Postgrest) -> Api:
    """The HTTP API on the test's database, as nobody; `api.as_key(...)` gives it credentials."""
    return Api(postgrest.url)


@pytest.fixture(scope="module")
def module_api(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The HTTP API on the database that the tests of one file share."""
    with _postgrest(module_database, tmp_path_factory.mktemp("postgrest")) as server:
        yield Api(server.url)


@pytest.fixture
def start_runner(database: Database, tmp_path: Path) -> Iterator[Callable[..., Runner]]:
    """`start_runner(RUNNER_CONCURRENCY="2")` starts one runner more; all are stopped at the end."""
    with ExitStack() as stack:
        count = 0

        def start(**environment: str) -> Runner:
            nonlocal count
            count += 1
            runner = Runner(database, log_path=tmp_path / f"runner-{count}.log", environment=environment)
            stack.callback(runner.stop)
            return runner.start()

        yield start


@pytest.fixture
def runner(start_runner: Callable[..., Runner]) -> Runner:
    """One running runner."""
    return start_runner()


@contextmanager
def _postgrest(database: Database, directory: Path) -> Iterator[Postgrest]:
    server = start_postgrest(
        db_uri=database.url("authenticator"), jwt_secret=JWT_SECRET, directory=directory, log_level="warn", pool_size=5
    )
    try:
        yield server
    finally:
        server.stop()
