"""A PostgreSQL that keeps its promises (fsync on) for tests that kill it, and what runs against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowgres_cli.stack.postgres import Cluster
from tests.support.chaos import Crew, Receiver, crew_of, set_lease
from tests.support.database import Database, Db
from tests.support.server import Server, install


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own, as durable as in production: the shared one does not survive a crash."""
    cluster = Cluster(tmp_path_factory.mktemp("durable") / "postgres")
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="package")
def durable_server(cluster: Cluster) -> Server:
    """flowgres in it."""
    return install(cluster.superuser_dsn(), "durable", directory=str(cluster.directory))


@pytest.fixture
def database(durable_server: Server) -> Iterator[Database]:
    """A fresh copy of the template, for this test alone; with a lease of 3 s."""
    with durable_server.new_database() as name:
        database = Database(name=name, server=durable_server)
        with database.connect() as db:
            assert db.value("select current_setting('fsync') || current_setting('synchronous_commit')") == "onon"
            set_lease(db, lease_seconds=3, heartbeat_seconds=0.5)
        yield database


@pytest.fixture
def crew(database: Database, tmp_path: Path) -> Iterator[Crew]:
    """Runners against the test's database."""
    with crew_of(database, tmp_path) as crew:
        yield crew


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """Where the side effects arrive."""
    with Receiver(tmp_path) as receiver:
        yield receiver


@pytest.fixture
def db(database: Database) -> Iterator[Db]:
    """A superuser's connection to the test's database."""
    with database.connect() as db:
        yield db
