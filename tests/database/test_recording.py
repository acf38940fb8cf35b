"""Which attempts keep what they sent and got: the last failed one, or those that say that all do."""

from __future__ import annotations

from typing import Any

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, failed, import_workflow, start

RETRY = {"attempts": 4, "delay": 1, "factor": 1, "jitter": False, "errors": ["5xx"]}


def told(number: int, **more: Any) -> dict[str, Any]:
    return {"n": number, "request": {"url": "x"}, "response": {"status": 500}, **more}


def attempts(database: Database, tenant: Tenant) -> list[tuple[int, str, Any]]:
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as caller:
        rows = caller.all("select attempt, status, detail from flowgres_api.attempts order by step, iteration, attempt")
    return [(row["attempt"], row["status"], sorted(row["detail"] or {})) for row in rows]


def tries(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock, *outcomes: Any) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("w", [{"id": "a", "retry": RETRY}])))
    for outcome in outcomes:
        (lease,) = runner.claim()
        runner.report([runner.result(lease, outcome)])
        clock.advance(seconds=2)


def test_last_failed_attempt_keeps_its_record(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    outcomes = [failed("5xx") | {"detail": told(n)} for n in (1, 2, 3)]
    tries(database, db, tenant, runner, clock, *outcomes)
    assert attempts(database, tenant) == [
        (1, "failed", ["n"]),
        (2, "failed", ["n"]),
        (3, "failed", ["n", "request", "response"]),
    ]


def test_record_outlives_the_attempt_that_succeeds(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    tries(database, db, tenant, runner, clock, failed("5xx") | {"detail": told(1)}, completed(1) | {"detail": {"n": 2}})
    assert attempts(database, tenant) == [(1, "failed", ["n", "request", "response"]), (2, "completed", ["n"])]


def test_failure_that_sent_nothing_leaves_the_record_before_it(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    tries(database, db, tenant, runner, clock, failed("5xx") | {"detail": told(1)}, failed("5xx"))
    assert attempts(database, tenant) == [(1, "failed", ["n", "request", "response"]), (2, "failed", [])]


def test_every_attempt_keeps_its_record_when_all_do(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    outcomes = [failed("5xx") | {"detail": told(n, record="all")} for n in (1, 2)]
    tries(database, db, tenant, runner, clock, *outcomes, completed(1) | {"detail": told(3, record="all")})
    kept = ["n", "record", "request", "response"]
    assert attempts(database, tenant) == [(1, "failed", kept), (2, "failed", kept), (3, "completed", kept)]


def test_items_of_a_list_keep_their_own(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    step = {"id": "a", "retry": RETRY, "foreach": {"items": [1, 2]}, "config": {"expression": "1"}}
    start(database, tenant, import_workflow(db, tenant, dag("w", [step])))
    (lease,) = runner.claim()
    leases = runner.report([runner.result(lease, {"o": "expand", "out": [1, 2]})], want=10) or runner.claim()
    failure = failed("5xx") | {"detail": told(1)}
    runner.report([runner.result(lease, failure) for lease in leases])
    clock.advance(seconds=2)
    (first, _) = runner.claim()
    runner.report([runner.result(first, failure)])
    kept = ["n", "request", "response"]
    assert sorted(detail for _, _, detail in attempts(database, tenant) if detail) == [["n"], kept, kept]


def test_runners_are_told_what_the_step_says(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    config = {"url": "https://x.example/"}
    steps: list[dict[str, Any]] = [
        {"id": f"keeps_{word}", "type": "http", "config": config, "record": word} for word in ("all", "none", "failed")
    ]
    undo = {"type": "http", "config": config, "record": "all"}
    steps.append({"id": "plain", "type": "http", "config": config, "compensate": undo})
    handler = {"id": "tell", "type": "http", "config": config, "record": "none"}
    import_workflow(db, tenant, dag("w", steps, on_failure=[handler]))
    version = db.value("select flowgres.get_version(v.id) from flowgres.workflow_versions as v")
    said = [(step["id"], step["section"], step["record"]) for step in version["steps"]]
    assert said == [
        ("keeps_all", "steps", "all"), ("keeps_none", "steps", "none"), ("keeps_failed", "steps", "failed"),
        ("plain", "steps", None),
        ("plain.compensate", "compensate", "all"), ("tell", "on_failure", "none"),
    ]  # fmt: skip
