"""Starts that are on their way while floors are raised: whatever the order of their ids, none is passed over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, dag, hands, import_workflow
from tests.support.floors import floors_of, force_floors, held_snapshot, start_many, take, take_all
from tests.support.runner import wait_for

OPEN_ELSEWHERE = """
select count(*)
from pg_stat_activity as a
where a.backend_xid is not null
  and (a.datname is distinct from current_database() or a.backend_type <> 'client backend')
"""


@pytest.fixture
def single(db: Db, tenant: Tenant) -> str:
    """A workflow of one step."""
    return import_workflow(db, tenant, dag("single", [{"id": "only"}]))


@contextmanager
def _starts(database: Database, tenant: Tenant, workflow: str) -> Iterator[str]:
    """An execution whose start is on its way, by a transaction with a later id than any that has ended.

    Nobody else has one open then (vacuum analyzes, other tests), but those that the test itself has opened.
    """
    with database.connect() as db, database.as_role("member", tenant_id=tenant.tenant_id) as late:
        wait_for(lambda: db.value(OPEN_ELSEWHERE) == 0, timeout_seconds=60)
        yield late.call("flowgres_api.start_execution", workflow=workflow)["execution_id"]


def _look(runner: Hands, times: int) -> None:
    for _ in range(times):
        assert take(runner, 0) == []


def test_start_with_the_last_id_of_all_is_claimed_at_once(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner:
        force_floors(db, runner)
        with _starts(database, tenant, single) as late:
            _look(runner, 4)
        (lease,) = take(runner, 10)
        assert str(lease["execution_id"]) == late


def test_start_with_a_later_id_than_that_of_the_claim_is_claimed_at_once(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner, ExitStack() as open_start:
        force_floors(db, runner)
        with runner.db.connection.transaction():
            runner.db.run("select pg_current_xact_id()")
            late = open_start.enter_context(_starts(database, tenant, single))
            _look(runner, 1)
        _look(runner, 4)
        open_start.close()
        (lease,) = take(runner, 10)
        assert str(lease["execution_id"]) == late


def test_start_between_two_claims_of_one_transaction_is_claimed_at_once(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner, ExitStack() as open_start:
        force_floors(db, runner)
        with runner.db.connection.transaction():
            _look(runner, 4)
            late = open_start.enter_context(_starts(database, tenant, single))
            _look(runner, 4)
        _look(runner, 4)
        open_start.close()
        (lease,) = take(runner, 10)
        assert str(lease["execution_id"]) == late


def test_start_that_is_on_its_way_while_floors_are_learned_is_claimed_at_once(
    database: Database, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner, held_snapshot(database):
        start_many(database, tenant, single, 3000)
        runner.db.run("set flowgres.floors_learned_until to 'infinity'")
        assert take_all(runner) == 3000
        with _starts(database, tenant, single) as late:
            runner.db.run("set flowgres.floors_learned_until to ''")
            _look(runner, 1)
            assert floors_of(runner)
            _look(runner, 4)
        (lease,) = take(runner, 10)
        assert str(lease["execution_id"]) == late
