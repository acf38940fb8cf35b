"""The upgrade of an installation of the version before, at work: nothing of the old is left, and everything runs on."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowgres_cli.migrate import status, upgrade
from tests.support.database import Database, Db, Row
from tests.support.dumps import dump_schema
from tests.support.engine import completed, dag, hands, import_workflow, start
from tests.support.races import drain
from tests.support.server import INSTALLER, Server

# As `flowgres db sql` wrote it then: just keep-installation.
LANDED = Path(__file__).parent / "landed" / "installation.sql.xz"
STEPS: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["a"]}]
CALLS: list[dict[str, Any]] = [{"id": "call_work", "type": "sub_workflow", "config": {"workflow": "work"}}]


@pytest.fixture
def landed(empty: Database) -> Database:
    """A database as the version before installed it."""
    text = lzma.decompress(LANDED.read_bytes()).decode().removeprefix("\\set ON_ERROR_STOP on\n")
    with psycopg.connect(empty.server.dsn(empty.name, user=INSTALLER), autocommit=True) as connection:
        connection.execute(text)
    return empty


def upgrade_by(server: Server, database: Database) -> None:
    upgrade(server.dsn(database.name, user=INSTALLER))


def test_upgrade_leaves_what_a_fresh_installation_has(landed: Database, database: Database, server: Server) -> None:
    upgrade_by(server, landed)
    assert status(server.dsn(landed.name, user=INSTALLER)).is_current
    assert dump_schema(landed) == dump_schema(database)


def test_what_was_ready_leased_parked_or_failing_runs_to_its_end(landed: Database, server: Server) -> None:
    tenant = landed.make_tenant()
    with landed.connect() as db, hands(landed) as runner:
        for name, steps in (("work", STEPS), ("calls", CALLS), ("retried", [{"id": "a", "retry": {"attempts": 2}}])):
            import_workflow(db, tenant, dag(name, steps))
        for name in ("work", "work", "work", "calls", "retried"):
            start(landed, tenant, name)
        leases = {(_workflow(db, lease), number): lease for number, lease in enumerate(runner.claim())}
        assert len(leases) == 5
        outcomes = {
            ("work", 0): completed(1),
            ("calls", 3): {"o": "child", "workflow": "work", "input": {}},
            ("retried", 4): {"o": "failed", "error": {"code": "late", "message": "late", "class": "timeout"}},
        }
        runner.report_once([runner.result(leases[key], outcome) for key, outcome in outcomes.items()], room=1)

        upgrade_by(server, landed)

        # Reported under a lease of before.
        assert runner.report_once([runner.result(leases["work", 1], completed(1))], room=0) == []
        db.run("update flowgres.work_queue set due_at = null where due_at < 'infinity'")
        drain(landed, db, runner)
        assert db.all("select status, count(*)::int as n from flowgres.executions group by 1") == [
            {"status": "completed", "n": 6}
        ]


def _workflow(db: Db, lease: Row) -> Any:
    return db.value(
        "select name from flowgres.workflows where id = (select workflow_id from flowgres.executions where id = %s)",
        lease["execution_id"],
    )


def test_what_has_gone_is_nothing_that_is_there(database: Database) -> None:
    # Files that did not change are not applied again: what this one dropped would be missing from then on.
    functions = (
        "select oid::regprocedure::text from pg_catalog.pg_proc where pronamespace::regnamespace::text ~ 'flowgres'"
    )
    retired = (Path(__file__).parents[2] / "database" / "schema" / "foundation" / "retired.sql").read_text()
    with psycopg.connect(database.server.dsn(database.name, user=INSTALLER), autocommit=True) as connection:
        before = connection.execute(functions).fetchall()
        connection.execute(retired)
        assert connection.execute(functions).fetchall() == before
