"""A private cluster on real PostgreSQL: passwords, crash and recovery, version of its directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowgres_cli.stack.accounts import Account, reachable_directory
from flowgres_cli.stack.errors import ProcessFailedError, StackError
from flowgres_cli.stack.ports import free_port, is_free
from flowgres_cli.stack.postgres import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "with space")
    cluster.start()
    yield cluster
    cluster.destroy()


def test_login_needs_the_password(cluster: Cluster) -> None:
    with psycopg.connect(cluster.superuser_dsn()) as connection:
        assert connection.info.host == "127.0.0.1"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(cluster.superuser_dsn().replace(cluster.superuser_password(), "wrong"))


def test_committed_rows_survive_a_crash(cluster: Cluster) -> None:
    with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
        connection.execute("create table kept as select 1 as n")
    cluster.stop(mode="immediate")
    assert cluster.running() is None
    cluster.start()
    with psycopg.connect(cluster.superuser_dsn()) as connection:
        assert connection.execute("select n from kept").fetchone() == (1,)


def test_starting_twice_finds_the_running_server(cluster: Cluster) -> None:
    assert cluster.start() == cluster.start()


def test_occupied_port_is_said_with_the_servers_own_words(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.start()
    second = Cluster(tmp_path / "second")
    with pytest.raises(ProcessFailedError, match=r"could not bind|in use"):
        second.start(port=address.port)
    second.destroy()


def test_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.data_directory.mkdir(parents=True)
    (cluster.data_directory / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackError, match="PostgreSQL 12"):
        cluster.start()
    cluster.destroy()


def test_ports_lie_below_the_ephemeral_range_and_are_free() -> None:
    port = free_port()
    assert 20000 <= port < 32768
    assert is_free(port)
    assert free_port(port) == port


def test_directory_that_the_account_cannot_enter_is_exchanged(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stranger = Account(name="stranger", uid=987654, gid=987654, home="/")
    exchanged = reachable_directory(closed / "project", stranger)
    assert exchanged.parent == Path("/var/lib/flowgres")
    assert reachable_directory(closed / "project", None) == closed / "project"
