"""Events: numbered without gaps in the order of time, whether a row tells them or the row of their step does."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import assert_invariants, completed, dag, failed, get, hands, import_workflow, start

CHAIN: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}]


def _events(database: Database, tenant: Tenant, execution_id: str) -> list[Row]:
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        return api.all(
            "select * from flowgres_api.execution_events where execution_id = %s order by seq",
            execution_id,
        )


def _told(events: list[Row]) -> list[tuple[str, str | None]]:
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["at"] for event in events if event["type"] != "step_started"] == sorted(
        event["at"] for event in events if event["type"] != "step_started"
    )
    return [(event["type"], event["step"]) for event in events]


def test_plain_chain_tells_all_its_events_without_a_row(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("plain", CHAIN)))
    with hands(database) as runner:
        runner.work()
    assert db.value("select count(*) from flowgres.events") == 0
    assert _told(_events(database, tenant, execution_id)) == [
        ("execution_started", None),
        *((f"step_{end}", step) for step in "abc" for end in ("started", "completed")),
        ("execution_completed", None),
    ]
    assert_invariants(db)


def test_a_hundred_lines_of_one_report_lie_between_the_start_and_the_end_of_their_step(
    database: Database, db: Db, tenant: Tenant
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("logs", CHAIN)))
    lines = [{"level": "warning", "message": f"line {number}"} for number in range(100)]
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        head = {**runner.result(lease, completed(logs=lines[:2]))}
        runner.report([{**head, "ahead": [{"s": 1, **completed(logs=lines)}, {"s": 2, **completed()}]}])
    events = _events(database, tenant, execution_id)
    assert _told(events) == [
        ("execution_started", None),
        *(("step_started", "a"), *[("log", "a")] * 2, ("step_completed", "a")),
        *(("step_started", "b"), *[("log", "b")] * 100, ("step_completed", "b")),
        *(("step_started", "c"), ("step_completed", "c")),
        ("execution_completed", None),
    ]
    assert [event["message"] for event in events if event["type"] == "log" and event["step"] == "b"] == [
        line["message"] for line in lines
    ]
    assert_invariants(db)


def test_failure_skip_and_cancel_are_told_by_their_steps(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "depends_on": ["a"], "retry": {"attempts": 1}},
        {"id": "c", "depends_on": ["b"]},
        {"id": "d", "depends_on": ["a"]},
        {"id": "e", "depends_on": ["d"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("broken", steps)))
    outcomes = {"a": completed(), "d": {"o": "skipped"}, "b": failed()}
    with hands(database) as runner:
        runner.work(lambda _lease, step: outcomes[step], one_by_one=True)
    events = _events(database, tenant, execution_id)
    told = _told(events)
    assert told[:4] == [
        ("execution_started", None),
        ("step_started", "a"),
        ("step_completed", "a"),
        ("step_started", "b"),
    ]
    assert ("step_failed", "b") in told
    assert ("step_cancelled", "c") in told
    assert told[-1] == ("execution_failed", None)
    failure = next(event for event in events if event["type"] == "step_failed")
    assert (failure["level"], failure["message"], failure["details"]["attempt"]) == ("error", "it broke", 1)
    assert_invariants(db)


def test_numbers_of_steps_give_the_order_of_their_ends(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d", "depends_on": ["a", "b", "c"]}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("order", steps)))
    with hands(database) as runner:
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        for step in ("c", "a", "b"):
            handed = runner.report([runner.result(leases[step], completed())])
        runner.report([runner.result(handed[0], completed())])
    order = db.column(
        "select step from flowgres.step_executions where execution_id = %s order by seq",
        execution_id,
    )
    assert order == ["c", "a", "b", "d"]


def test_events_embedded_in_their_execution_come_in_order(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("embedded", CHAIN)))
    with hands(database) as runner:
        runner.work(lambda _lease, step: completed(logs=[{"message": step}]))
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        numbers = api.column(
            "select v.seq from flowgres_api.executions as e, flowgres_api.execution_events(e) as v where e.id = %s",
            execution_id,
        )
    assert numbers == list(range(1, len(numbers) + 1))
    assert get(database, tenant, execution_id)["status"] == "completed"
