"""Steps that run round after round, in SQL: what a round leaves behind, when the next one comes, and what ends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import (
    Hands,
    assert_invariants,
    completed,
    dag,
    failed,
    get,
    hands,
    import_workflow,
    start,
    statuses,
)

RETRY = {"attempts": 3, "delay": 1, "factor": 1, "jitter": False, "errors": ["5xx"]}


def again(output: Any = None) -> dict[str, Any]:
    return {"o": "again", "out": output}


def enough(output: Any = None) -> dict[str, Any]:
    return {"o": "enough", "out": output}


def _begin(
    database: Database, db: Db, tenant: Tenant, runner: Hands, *, repeat: dict[str, Any] | None = None, **more: Any
) -> tuple[str, Row]:
    step = {"id": "poll", "repeat": {"until": "{{ output.done }}", **(repeat or {})}, "retry": RETRY, **more}
    definition = dag("rounds", [step, {"id": "after", "depends_on": ["poll"]}])
    execution_id = start(database, tenant, import_workflow(db, tenant, definition), input={})
    (lease,) = runner.claim()
    assert (lease["round"], lease["previous"]) == (None, None)
    return execution_id, lease


def _next(runner: Hands, lease: Row, outcome: dict[str, Any]) -> Row:
    """The next lease of the step after a report that leaves it ready."""
    assert runner.report([runner.result(lease, outcome)]) == []
    (row,) = runner.claim()
    return row


def test_each_round_sees_what_the_one_before_gave(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id, lease = _begin(database, db, tenant, runner)
    for number in (2, 3, 4):
        lease = _next(runner, lease, again({"n": number - 1}))
        assert (lease["round"], lease["previous"], lease["attempt"]) == (number, {"n": number - 1}, number)
        step = get(database, tenant, execution_id)["steps"]["poll"]
        assert (step["status"], step["output"], step["round"]) == ("running", None, number)
        assert_invariants(db, drained=False)
    after = runner.report([runner.result(lease, enough({"n": 4}))], want=10)
    assert [runner.step_name(row) for row in after] == ["after"]
    assert (after[0]["round"], after[0]["attempt"]) == (None, 1)
    runner.report([runner.result(after[0], completed(1))])
    execution = get(database, tenant, execution_id)
    poll = execution["steps"]["poll"]
    assert (poll["status"], poll["output"], poll["round"], poll["attempts"]) == ("completed", {"n": 4}, 4, 4)
    assert execution["status"] == "completed"
    kept = "select previous from flowgres.step_executions where execution_id = %s and step = 'poll'"
    assert db.value(kept, execution_id) is None
    assert_invariants(db)


def test_events_and_attempts_tell_of_every_round(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    _, lease = _begin(database, db, tenant, runner)
    lease = _next(runner, lease, again(1))
    lease = _next(runner, lease, again(2))
    runner.report([runner.result(lease, enough(3))])
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as caller:
        events = caller.all("select type, details from flowgres_api.execution_events where step = 'poll' order by seq")
        attempts = caller.all(
            "select attempt, status, round from flowgres_api.attempts where step = 'poll' order by attempt"
        )
    assert [(e["type"], (e["details"] or {}).get("round")) for e in events] == [
        ("step_started", None),
        ("step_repeated", 1),
        ("step_started", None),
        ("step_repeated", 2),
        ("step_started", None),
        ("step_completed", None),
    ]
    assert [(a["attempt"], a["status"], a["round"]) for a in attempts] == [
        (1, "completed", 1),
        (2, "completed", 2),
        (3, "completed", 3),
    ]


def test_delay_holds_nobody_and_is_kept(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner, repeat={"delay": "10m"})
    assert runner.report([runner.result(lease, again(1))], want=10) == []
    assert runner.claim() == []
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["steps"]["poll"]["status"]) == ("waiting", "waiting")
    assert_invariants(db, drained=False)
    clock.advance(seconds=590)
    assert runner.claim() == []
    clock.advance(seconds=11)
    (lease,) = runner.claim()
    assert (lease["round"], lease["previous"]) == (2, 1)
    assert get(database, tenant, execution_id)["status"] == "running"


def test_round_after_the_last_one_there_may_be_is_a_failure(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner, repeat={"max_times": 2})
    lease = _next(runner, lease, again(1))
    runner.report([runner.result(lease, again(2))])
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "failed"
    error = execution["steps"]["poll"]["error"]
    assert (error["code"], error["details"]) == ("repeat_exhausted", {"rounds": 2})
    assert execution["steps"]["poll"]["attempts"] == 2
    assert_invariants(db)


def test_each_round_has_all_its_attempts(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner)
    for number in (1, 2, 3):
        for _ in range(2):
            assert runner.report([runner.result(lease, failed("5xx"))]) == []
            step = get(database, tenant, execution_id)["steps"]["poll"]
            assert step["status"] == "retrying"
            clock.advance(seconds=2)
            (lease,) = runner.claim()
            # What the round before gave outlives failures.
            assert lease["previous"] == (None if number == 1 else {"n": number - 1})
        lease = _next(runner, lease, again({"n": number}))
    assert (lease["attempt"], lease["round"]) == (10, 4)
    for _ in range(2):
        runner.report([runner.result(lease, failed("5xx"))])
        clock.advance(seconds=2)
        (lease,) = runner.claim()
    runner.report([runner.result(lease, failed("5xx"))])
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert_invariants(db)


def test_lost_runner_costs_the_round_and_no_more(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    _, lease = _begin(database, db, tenant, runner)
    lease = _next(runner, lease, again("kept"))
    db.call("flowgres.stop_runner", p_runner_id=runner.id)
    with hands(database) as heir:
        heir.sweep()
        (lease,) = heir.claim()
        assert (lease["round"], lease["previous"], lease["attempt"]) == (2, "kept", 2)


def test_step_that_waits_within_a_round_keeps_what_it_saw(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner)
    lease = _next(runner, lease, again("seen"))
    runner.report([runner.result(lease, {"o": "started"})])
    runner.report([runner.result(lease, {"o": "suspended", "seconds": 60})])
    assert get(database, tenant, execution_id)["steps"]["poll"]["status"] == "waiting"
    clock.advance(seconds=61)
    (lease,) = runner.claim()
    assert (lease["round"], lease["previous"], lease["resume"], lease["attempt"]) == (2, "seen", {}, 2)
    lease = _next(runner, lease, again(None))
    # Nothing is something that a round may give.
    assert (lease["round"], lease["previous"], lease["resume"]) == (3, None, None)
    assert_invariants(db, drained=False)


@pytest.mark.parametrize("parked", [False, True])
def test_rounds_end_with_their_execution(
    database: Database, db: Db, tenant: Tenant, runner: Hands, *, parked: bool
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner, repeat={"delay": 60} if parked else None)
    runner.report([runner.result(lease, again(1))])
    with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
        caller.call("flowgres_api.cancel_execution", execution_id=execution_id)
    execution = get(database, tenant, execution_id)
    assert (execution["status"], statuses(execution)["poll"]) == ("cancelled", "cancelled")
    assert runner.claim() == []
    assert_invariants(db)


def test_items_have_rounds_of_their_own(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    step = {"id": "each", "foreach": {"items": "{{ input.items }}"}, "repeat": {"until": "{{ output > 1 }}"}}
    name = import_workflow(db, tenant, dag("both", [step]))
    execution_id = start(database, tenant, name, input={"items": ["a", "b"]})
    (lease,) = runner.claim()
    leases = runner.report([runner.result(lease, {"o": "expand", "out": ["a", "b"]})], want=10) or runner.claim()
    seen: list[Any] = []
    while leases:
        row = leases.pop(0)
        seen.append((row["iteration"], row["item"], row["round"] or 1, row["previous"]))
        is_last = (row["round"] or 1) == (3 if row["iteration"] else 1)
        outcome = enough(row["round"] or 1) if is_last else again(f"{row['item']}{row['round'] or 1}")
        leases += runner.report([runner.result(row, outcome)], want=10)
        leases += runner.claim()
    assert sorted(seen, key=str) == [(0, "a", 1, None), (1, "b", 1, None), (1, "b", 2, "b1"), (1, "b", 3, "b2")]
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["steps"]["each"]["output"]) == ("completed", [1, 3])
    assert execution["steps"]["each"]["round"] is None
    assert_invariants(db)


def test_runner_that_does_not_know_rounds_is_told_so(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id, lease = _begin(database, db, tenant, runner)
    runner.report([runner.result(lease, completed({"done": False}))])
    assert get(database, tenant, execution_id)["steps"]["poll"]["error"]["code"] == "runner_outdated"


def test_word_of_a_round_is_no_end_of_another_step(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("plain", [{"id": "a"}])), input={})
    (lease,) = runner.claim()
    runner.report([runner.result(lease, again(1))])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["steps"]["a"]["error"]["code"]) == ("failed", "report_invalid")
    assert_invariants(db)


def test_large_output_of_a_round_is_left_to_be_fetched(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    _, lease = _begin(database, db, tenant, runner)
    text = db.value("select string_agg(md5(g::text), '') from generate_series(1, 20000) as g")
    lease = _next(runner, lease, again(text))
    assert (lease["round"], lease["previous"]) == (2, None)
    rows = [[str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]]
    (row,) = runner.db.all("select previous from flowgres.get_contexts(%s, %s::jsonb)", runner.id, json.dumps(rows))
    assert row["previous"] == text


def test_rounds_do_not_go_before_executions_that_have_not_begun(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    _, lease = _begin(database, db, tenant, runner)
    start(database, tenant, import_workflow(db, tenant, dag("other", [{"id": "a"}])), input={})
    runner.report([runner.result(lease, again(1))])
    assert [runner.step_name(row) for row in (*runner.claim(want=1), *runner.claim(want=1))] == ["a", "poll"]


def test_runners_lost_in_other_rounds_make_no_suspect(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    _, lease = _begin(database, db, tenant, runner)
    line = "select capability from flowgres.work_queue"
    lost = {"o": "lost", "error": {"code": "lease_expired", "class": "lease_expired", "message": "gone"}}
    for _ in range(3):
        runner.report([runner.result(lease, lost)])
        assert db.value(line) == "core"
        (lease,) = runner.claim()
        lease = _next(runner, lease, again(1))
    for _ in range(2):
        runner.report([runner.result(lease, lost)])
        (lease,) = runner.claim()
    assert db.value(line) == "alone:core"
    runner.report([runner.result(lease, again(1))])
    assert db.value(line) == "core"


def test_each_attempt_has_its_own_times(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    _, lease = _begin(database, db, tenant, runner, repeat={"delay": 3600})
    runner.report([runner.result(lease, again(1))])
    clock.advance(seconds=3601)
    (lease,) = runner.claim()
    runner.report([runner.result(lease, enough(2))])
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        times = viewer.column(
            "select extract(epoch from finished_at - started_at)::float8 from flowgres_api.attempts where step = 'poll'"
        )
    assert len(times) == 2
    assert max(times) < 60


def test_round_that_may_begin_at_once_wakes_whoever_sleeps(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    _, lease = _begin(database, db, tenant, runner)
    other = Hands(runner.db)
    other.db.call("flowgres.declare_idle", p_runner_id=other.id, p_idle=True)
    with database.connect() as listener:
        listener.run("listen flowgres_work")
        # As one that drains does.
        runner.report_once([runner.result(lease, again(1))], room=0)
        assert [notified.channel for notified in listener.connection.notifies(timeout=5, stop_after=1)] == [
            "flowgres_work"
        ]


def test_round_that_is_cancelled_leaves_its_number_and_nothing_more(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner)
    _next(runner, lease, again("kept"))
    with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
        caller.call("flowgres_api.cancel_execution", execution_id=execution_id)
        attempts = caller.all("select attempt, status, round from flowgres_api.attempts order by attempt")
    assert [tuple(row.values()) for row in attempts] == [(1, "completed", 1), (2, "cancelled", 2)]
    assert db.column("select previous from flowgres.step_executions where step = 'poll'") == [None]


def test_rounds_that_take_too_many_attempts_are_told_so(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution_id, lease = _begin(database, db, tenant, runner)
    db.run("update flowgres.work_queue set attempt = 32000")
    runner.report([runner.result(lease, again(1))])
    assert get(database, tenant, execution_id)["steps"]["poll"]["error"]["code"] == "too_many_attempts"
