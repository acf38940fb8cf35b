"""Why executions do not move that somebody holds back: pauses, and limits that are taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from tests.support.control import CHAIN, act, nest
from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.definitions import log_step
from tests.support.engine import Hands, completed, dag, hands, import_workflow, start
from tests.support.limits import Limits, drain
from tests.support.why import why

Json = Any
# What is paused, who says so, and the reason that its steps have.
PAUSES: dict[str, tuple[Literal["member", "admin"], str, str]] = {
    "execution": ("member", "pause_execution", "paused_execution"),
    "workflow": ("member", "pause_workflow", "paused_workflow"),
    "tenant": ("admin", "pause_tenant", "paused_tenant"),
}


def call(database: Database, tenant: Tenant, role: Literal["member", "admin"], verb: str, **arguments: Json) -> Json:
    with database.as_role(role, tenant_id=tenant.tenant_id, sub="ann") as db:
        return db.call(f"flowgres_api.{verb}", **arguments)


def follow(database: Database, tenant: Tenant, suggestion: str) -> None:
    """Do what a suggestion says, as an administrator."""
    _, address, body = suggestion.split(" ", 2)
    call(database, tenant, "admin", address[5:], **json.loads(body))


@pytest.mark.parametrize("what", PAUSES)
@pytest.mark.parametrize("has_begun", [False, True])
def test_pause_is_told_with_who_and_why_and_what_ends_it(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock, what: str, has_begun: bool
) -> None:
    role, verb, reason = PAUSES[what]
    name = import_workflow(db, tenant, dag("w", CHAIN))
    execution = start(database, tenant, name)
    if has_begun:
        (lease,) = runner.claim()
        (lease,) = runner.report([runner.result(lease, completed())])
    target = {"execution": {"execution_id": execution}, "workflow": {"workflow": name}, "tenant": {}}[what]
    before = clock.now()
    call(database, tenant, role, verb, reason="stocktaking", **target)
    step = "second" if has_begun else "first"
    if has_begun:
        # It runs, and is told as that until it has ended.
        assert why(database, tenant, execution)[step]["reason"] == "running"
        runner.report([runner.result(lease, completed())], want=0)
        step = "third"
    for is_claimed in (False, True):
        if is_claimed:
            assert runner.claim() == []
        told = why(database, tenant, execution)[step]
        assert told["reason"] == reason, "before a claim has come by, and after"
        assert before <= told["since"] <= clock.now()
        assert told["detail"]["by"].endswith("ann")
        assert told["detail"]["reason"] == "stocktaking"
    follow(database, tenant, told["suggestion"])
    assert why(database, tenant, execution)[step]["reason"] == "queued"
    runner.work()
    assert why(database, tenant, execution) == {}


def test_child_that_is_paused_with_its_parent_names_that(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution = start(database, tenant, nest(db, tenant))
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "child", "workflow": "middle", "input": {}})], want=0)
    act(database, tenant, "pause_execution", execution_id=execution, reason="wait")
    child = str(db.value("select id from flowgres.executions where parent_execution_id = %s", execution))
    told = why(database, tenant, child)["call_leaf"]
    assert (told["reason"], told["detail"]["with"], told["detail"]["reason"]) == ("paused_execution", execution, "wait")
    assert told["command"] == f"flowgres executions resume {execution}"
    assert why(database, tenant, execution)["call_middle"]["reason"] == "paused_execution"


def test_what_somebody_else_holds_is_held(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    execution = start(database, tenant, "w")
    db.run("update flowgres.work_queue set held = true")
    assert why(database, tenant, execution)["a"]["reason"] == "held"


@pytest.fixture
def limits(database: Database, clock: Clock) -> Iterator[Limits]:
    with database.connect() as db:
        yield Limits(database, db, clock)


def told_of(limits: Limits, execution: str) -> Row:
    """The one row that a viewer of the tenant reads of an execution."""
    tenant = Tenant(str(limits.author.tenant_id), "", "")
    (row,) = why(limits.database, tenant, execution).values()
    return row


def test_limit_names_who_has_it(limits: Limits) -> None:
    limits.define(log_step("a", limit="m"))
    first, second = limits.start(2)
    with hands(limits.database) as runner:
        told = told_of(limits, first)
        assert (told["reason"], told["detail"]["is_set"]) == ("waits_for_limit", False)
        assert told["command"] == "flowgres limits set m --capacity 1"
        limits.set()
        (lease,) = runner.claim()
        told = told_of(limits, second)
        held = told["detail"].pop("held_by")
        assert told["detail"] == {"name": "m", "is_set": True, "capacity": 1, "per_seconds": None}
        assert [(one["execution_id"], one["step"]) for one in held] == [(first, "a")]
        assert told["suggestion"] == f"GET /execution_why?execution_id=eq.{first}"
        runner.report([runner.result(lease, completed())])
        drain(runner)


def test_turn_names_who_has_the_place(limits: Limits) -> None:
    limits.define(log_step("a"), concurrency={"limit": 1, "key": "$.of"})
    first, second = limits.start(2, of="a b")
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        told = told_of(limits, second)
        assert told["reason"] == "waits_for_concurrency"
        assert [one["execution_id"] for one in told["detail"].pop("held_by")] == [first]
        assert told["detail"] == {"key": '"a b"', "capacity": 1, "when_full": "queue"}
        runner.report([runner.result(lease, completed())])
        drain(runner)


def test_who_is_refused_is_about_to_be_cancelled(limits: Limits) -> None:
    limits.define(log_step("a"), concurrency={"limit": 1, "when_full": "cancel_oldest"})
    executions = limits.start(3)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        told = told_of(limits, executions[0])
        assert (told["reason"], told["detail"]) == ("waits_for_concurrency", {"is_refused": True})
        runner.report([runner.result(lease, completed())])
        drain(runner)


def test_of_another_tenants_line_nobody_learns(limits: Limits) -> None:
    limits.define(log_step("a", limit="m"))
    limits.set()
    limits.start(1)
    query = "select flowgres.explain_limit(tenant_id, version_id, capability) from flowgres.work_queue"
    (row,) = limits.db.all("select tenant_id, version_id from flowgres.work_queue")
    other = limits.database.make_tenant("Other")
    with limits.database.as_role("viewer", tenant_id=other.tenant_id) as api:
        assert api.column(query) == []
        assert api.value("select flowgres.explain_limit(%s, %s, 'limit:m')", *row.values()) == {}
