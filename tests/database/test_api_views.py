"""The views: history overlaid with the queue, and plans that stay on indexes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import completed, dag, failed, hands, import_workflow, start

DEFINITION = {
    "name": "pipe",
    "steps": [
        {"id": "first", "type": "transform", "config": {"output": {"x": 1}}, "retry": {"attempts": 3, "delay": 60}},
        {"id": "second", "type": "delay", "config": {"seconds": 60}},
    ],
    "outputs": {"x": "{{ steps.first.output.x }}"},
}
RUNNER = "00000000-0000-4000-8000-000000000001"
AS_TENANT = "select flowgres.use_tenant('acme')"


@pytest.fixture
def acme(database: Database) -> Tenant:
    tenant = database.make_tenant("Acme")
    with database.connect("operator") as operator:
        operator.run(AS_TENANT)
        operator.call("flowgres_api.import_workflow", definition=DEFINITION)
    return tenant


@pytest.fixture
def engine(database: Database) -> Iterator[Db]:
    """The login of runners."""
    with database.connect("runner") as login:
        info = {"name": "sql", "version": "0", "protocol": 2, "environment": "development", "step_types": []}
        login.call("flowgres.register_runner", p_runner_id=RUNNER, p_info=info)
        yield login


@pytest.fixture
def operator(database: Database, acme: Tenant) -> Iterator[Db]:
    with database.connect("operator") as login:
        login.run(AS_TENANT)
        yield login


def claim(engine: Db) -> dict[str, Any]:
    return engine.one("select * from flowgres.claim(p_runner_id => %s, p_want => 1, p_after_tenant => null)", RUNNER)


def report(engine: Db, row: dict[str, Any], **result: Any) -> list[dict[str, Any]]:
    """Report an outcome; returns the steps that are handed over."""
    results = [
        {
            "t": str(row["tenant_id"]),
            "x": str(row["execution_id"]),
            "q": row["queue_id"],
            "k": row["token"],
            "s": row["step_index"],
            "ms": 1,
            **result,
        }
    ]
    return engine.all(
        "select * from flowgres.complete_and_claim("
        "p_runner_id => %s, p_results => %s, p_want => 0, p_after_tenant => null)",
        RUNNER,
        results,
    )


def steps(operator: Db) -> list[tuple[str, str, int]]:
    rows = operator.all("select step, status, attempts from flowgres_api.step_executions order by step_index")
    return [(row["step"], row["status"], row["attempts"]) for row in rows]


def test_step_is_shown_from_ready_to_its_end(operator: Db, engine: Db, clock: Clock) -> None:
    operator.call("flowgres_api.start_execution", workflow="pipe")
    assert steps(operator) == [("first", "ready", 0)]

    row = claim(engine)
    assert steps(operator) == [("first", "running", 1)]
    running = operator.one("select attempt, status, runner, started_at from flowgres_api.attempts")
    assert (running["attempt"], running["status"], running["runner"]) == (1, "running", "sql")
    assert running["started_at"] is not None

    error = {"code": "timeout", "message": "too slow", "class": "timeout"}
    report(engine, row, o="failed", error=error)
    assert steps(operator) == [("first", "retrying", 1)]
    assert operator.value("select due_at > flowgres.now() from flowgres_api.step_executions")

    clock.advance(seconds=121)
    engine.call("flowgres.heartbeat", p_runner_id=RUNNER, p_running=[], p_stats={})
    row = claim(engine)
    assert steps(operator) == [("first", "running", 2)]
    (row,) = report(engine, row, o="completed", out={"x": 1})
    assert steps(operator) == [("first", "completed", 2), ("second", "running", 1)]
    attempts = operator.all("select step, attempt, status from flowgres_api.attempts order by step, attempt")
    assert [tuple(attempt.values()) for attempt in attempts] == [
        ("first", 1, "failed"),
        ("first", 2, "completed"),
        ("second", 1, "running"),
    ]

    report(engine, row, o="suspended", seconds=60)
    assert steps(operator)[1][:2] == ("second", "waiting")
    assert operator.value("select status from flowgres_api.executions") == "waiting"


def test_hidden_step_is_shown_nowhere(operator: Db, engine: Db, clock: Clock) -> None:
    operator.call("flowgres_api.start_execution", workflow="pipe")
    (second,) = report(engine, claim(engine), o="completed", out={"x": 1})
    report(engine, second, o="suspended", seconds=1)
    clock.advance(seconds=2)
    (hidden,) = report(engine, claim(engine), o="completed", out={})
    assert (hidden["step_index"], len(steps(operator))) == (2, 2)
    report(engine, hidden, o="completed", out={"x": 1}, detail={"seen": False})
    assert operator.one(
        "select status, output, progress, steps_completed, total_steps from flowgres_api.executions"
    ) == {
        "status": "completed",
        "output": {"x": 1},
        "progress": 100,
        "steps_completed": 2,
        "total_steps": 2,
    }
    assert operator.column("select step from flowgres_api.step_executions order by step_index") == ["first", "second"]
    assert operator.column("select id from flowgres_api.workflow_steps order by index") == ["first", "second"]
    assert set(operator.column("select step from flowgres_api.attempts")) == {"first", "second"}


FILL = """
insert into flowgres.executions (
  tenant_id, id, workflow_id, version_id, version, status, step_count, timeout_seconds, created_at, started_at,
  finished_at)
select
  w.tenant_id, flowgres.uuid_v7(flowgres.now() - n * interval '1 s'), w.id, gen_random_uuid(), 1,
  case when n % 500 = 0 then 'failed' else 'completed' end, 2, 300, flowgres.now() - n * interval '1 s', now(), now()
from flowgres.workflows as w, generate_series(1, 5000) as n
"""
EVENTS = """
insert into flowgres.events (tenant_id, execution_id, seq, at, type)
select e.tenant_id, e.id, n, e.created_at, 'step_completed' from flowgres.executions as e, generate_series(1, 4) as n
"""
STEPS = """
insert into flowgres.step_executions (
  tenant_id, execution_id, step_index, attempts, step, type, status, edge, finished_at)
select e.tenant_id, e.id, n, 1, 's' || n, 'log', 'completed', 'taken', now()
from flowgres.executions as e, generate_series(0, 3) as n
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_hot_queries_of_a_tenant_stay_on_indexes(
    acme: Tenant, database: Database, db: Db, as_role: Callable[..., Any]
) -> None:
    database.make_tenant("Other")
    for statement in (FILL, EVENTS, STEPS, "analyze"):
        db.run(statement)
    some = db.value("select id from flowgres.executions order by id desc limit 1")
    queries = {
        "newest": "select * from flowgres_api.executions order by created_at desc limit 20",
        "failed": "select * from flowgres_api.executions where status = 'failed' order by created_at desc limit 20",
        "running": "select * from flowgres_api.executions where status = 'running' order by created_at desc limit 20",
        "one": f"select * from flowgres_api.executions where id = '{some}'",
        "events": f"select * from flowgres_api.execution_events where execution_id = '{some}' order by seq",
        "steps": f"select * from flowgres_api.step_executions where execution_id = '{some}'",
        "attempts": f"select * from flowgres_api.attempts where execution_id = '{some}'",
        # As PostgREST writes an embedding.
        "embedded": "select executions.id, s.steps from flowgres_api.executions left join lateral (select json_agg(s)"
        " as steps from flowgres_api.step_executions(executions) as s) as s on true order by created_at desc limit 20",
    }
    big = ("executions_2", "step_executions_2", "events_2")
    with as_role("viewer", tenant_id=acme.tenant_id) as tenant:
        for name, query in queries.items():
            answer = tenant.value(f"explain (analyze, format json) {query}")
            plan = (answer if isinstance(answer, list) else json.loads(answer))[0]["Plan"]
            scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith(big)]
            assert scans, name
            for scan in scans:
                touched = scan["Actual Rows"] * scan["Actual Loops"] + scan.get("Rows Removed by Filter", 0)
                assert touched <= 200, (name, scan)


@pytest.mark.parametrize(
    ("outcomes", "percent"),
    [
        ({"a": failed(), "b": failed()}, 0),
        ({"b": failed()}, 25),
        ({"a": {"o": "skipped"}, "c": failed()}, 50),
        # Everything is done but the outputs, which cannot be made.
        ({"$outputs": failed()}, 99),
        ({"a": {"o": "skipped"}}, 100),
    ],
    ids=str,
)
def test_progress_counts_what_was_done_or_skipped_and_not_what_was_cancelled(
    outcomes: dict[str, dict[str, Any]], percent: int, database: Database, db: Db
) -> None:
    tenant = database.make_tenant("Acme")
    before: dict[str, list[str]] = {"a": [], "b": [], "c": ["b"], "d": ["c"]}
    chain = [{"id": step, "depends_on": names} for step, names in before.items()]
    import_workflow(db, tenant, dag("ship", chain, outputs={"x": "{{ 1 }}"}))
    start(database, tenant, "ship")
    with hands(database) as runner:
        runner.work(lambda _, name: outcomes.get(name, completed({})))
    with database.connect("operator") as operator:
        assert operator.value("select progress from flowgres_api.executions") == percent
