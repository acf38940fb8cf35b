"""POST /run when the database goes away: whoever called knows what has been started, and nothing is started twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, hands, import_workflow
from tests.support.runner import wait_for

COUNT = "select count(*) from flowgres.executions where tenant_id = %s"
SESSIONS = "usename = 'flowgres_front' and datname = current_database()"


@pytest.fixture
def workflow(tenant: TenantKeys) -> str:
    owner = Tenant(tenant.tenant_id, "", tenant.admin)
    return import_workflow(tenant.db, owner, dag("greet", [{"id": "only"}]))


@contextmanager
def ending(db: Db, trigger: str) -> Iterator[None]:
    """Sessions end themselves at the insert of an execution, or at its commit."""
    db.run(
        "create function public.end_session() returns trigger language plpgsql security definer as $$"
        " begin perform pg_terminate_backend(pg_backend_pid()); return null; end; $$"
    )
    db.run(f"create {trigger} for each row execute function public.end_session()")
    try:
        yield
    finally:
        db.run("drop function public.end_session() cascade")


AT_INSERT = "trigger away after insert on flowgres.executions"
AT_COMMIT = "constraint trigger away after insert on flowgres.executions deferrable initially deferred"


# The start and its commit are one message: whenever the session ends, nobody can say whether it was committed.
@pytest.mark.parametrize("trigger", [AT_INSERT, AT_COMMIT])
@pytest.mark.parametrize("wait", ["5", "0"])
def test_start_whose_answer_is_lost_is_not_repeated(
    front: Api, tenant: TenantKeys, workflow: str, trigger: str, wait: str
) -> None:
    member = front.as_key(tenant.member)
    with ending(tenant.db, trigger):
        answer = member.request("POST", f"/run/{workflow}?wait={wait}", json={"idempotency_key": "k"})

    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
    assert "retry-after" not in answer.headers
    assert tenant.db.value(COUNT, tenant.tenant_id) == 0
    again = member.request("POST", f"/run/{workflow}?wait=0", json={"idempotency_key": "k"})
    assert (again.status_code, again.json()["created"]) == (202, True)
    assert tenant.db.value(COUNT, tenant.tenant_id) == 1


def test_sessions_that_end_between_two_calls_are_not_noticed(front: Api, tenant: TenantKeys, workflow: str) -> None:
    member = front.as_key(tenant.member)
    for number in range(1, 4):
        assert member.request("POST", f"/run/{workflow}?wait=0", json={}).status_code == 202
        tenant.db.run(f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where {SESSIONS}")
        assert tenant.db.value(COUNT, tenant.tenant_id) == number


def test_what_was_started_is_told_when_its_end_cannot_be_read(
    start_front: Callable[..., Api], tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    member = start_front(module_database.url("front")).as_key(tenant.member)
    awaited = "select exists (select from flowgres.executions where tenant_id = %s and is_awaited)"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(member.request, "POST", f"/run/{workflow}?wait=3", json={})
        wait_for(lambda: tenant.db.value(awaited, tenant.tenant_id), what="the call")
        with shut(tenant.db, module_database.name):
            answer = call.result()

    assert (answer.status_code, answer.json()["created"]) == (202, True)
    execution_id = answer.json()["execution_id"]
    assert answer.headers["location"] == f"/executions/{execution_id}/stream"
    assert tenant.db.column("select id::text from flowgres.executions where tenant_id = %s", tenant.tenant_id) == [
        execution_id
    ]


@contextmanager
def shut(db: Db, name: str) -> Iterator[None]:
    """Nobody comes into the database but the superuser, and the front's sessions end."""
    db.run(f"alter database {name} connection limit 0")
    try:
        db.run(f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where {SESSIONS}")
        yield
    finally:
        db.run(f"alter database {name} connection limit -1")


def test_end_that_comes_while_sessions_end_is_answered(
    front: Api, tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    member = front.as_key(tenant.member)
    awaited = "select exists (select from flowgres.executions where tenant_id = %s and is_awaited)"
    with ThreadPoolExecutor(1) as pool, hands(module_database) as hand:
        call: Any = pool.submit(member.request, "POST", f"/run/{workflow}?wait=30", json={})
        wait_for(lambda: tenant.db.value(awaited, tenant.tenant_id), what="the call")
        tenant.db.run(f"select pg_terminate_backend(pid, 10000) from pg_stat_activity where {SESSIONS}")
        hand.work()
        answer = call.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert tenant.db.value(COUNT, tenant.tenant_id) == 1
