"""Fixtures of the database tests alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.definitions import Author
from tests.support.engine import Hands, hands
from tests.support.history import keep_one_family
from tests.support.machines import Machines
from tests.support.schedules import Schedules
from tests.support.server import Server


@pytest.fixture
def empty(server: Server) -> Iterator[Database]:
    """A database without flowgres, owned by a role that is no superuser."""
    with server.new_database(template="template0") as name:
        yield Database(name=name, server=server)


@pytest.fixture
def runner(database: Database) -> Iterator[Hands]:
    """A runner whose outcomes the test decides."""
    with hands(database) as runner:
        yield runner


@pytest.fixture(scope="module")
def reference_tenant(module_database: Database) -> Tenant:
    """The tenant of the tests that share one database."""
    return module_database.make_tenant("Reference")


@pytest.fixture
def one_family(db: Db) -> None:
    """Executions are all that has periods of history."""
    keep_one_family(db)


@pytest.fixture
def schedules(database: Database, clock: Clock) -> Iterator[Schedules]:
    """A tenant that makes schedules, at noon."""
    with database.connect() as own:
        yield Schedules(Author(database, own), clock)


@pytest.fixture
def machines(database: Database) -> Iterator[Machines]:
    """A tenant that makes state machines."""
    with database.connect() as own:
        yield Machines(Author(database, own))
