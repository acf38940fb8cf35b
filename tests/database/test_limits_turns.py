"""Whose turn it is with limits: of tenants, of lines, of executions that were moved or came late."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.database import Clock, Database
from tests.support.definitions import log_step
from tests.support.engine import assert_invariants, completed, hands
from tests.support.limits import Limits, drain


@pytest.fixture
def limits(database: Database, clock: Clock) -> Iterator[Limits]:
    with database.connect() as db:
        yield Limits(database, db, clock)


def test_what_a_trigger_starts_has_all_of_the_version_that_a_start_reads(limits: Limits) -> None:
    made = limits.define(
        concurrency={"limit": 1}, max_retries=2, timeout="1h", priority=3, start={"throttle": {"limit": 5, "per": "1m"}}
    )
    bodies = limits.db.column(
        "select p.prosrc from pg_proc as p where p.pronamespace = 'flowgres'::regnamespace"
        " and 'flowgres.workflow_versions'::regtype = any(p.proargtypes)"
        " and p.proname in ('insert_executions', 'park_starts')"
    )
    read = set(re.findall(r"p_version\.(\w+)", " ".join(bodies)))
    assert {"concurrency", "root_indexes"} <= read
    stored = limits.db.one("select * from flowgres.workflow_versions where id = %s", made["version_id"])
    found = limits.db.one(
        "select (v).* from flowgres.find_active_version(p_tenant_id => %s, p_workflow_id => %s) as v",
        stored["tenant_id"],
        stored["workflow_id"],
    )
    assert {name: found[name] for name in read} == {name: stored[name] for name in read}


def test_every_trigger_starts_what_waits_for_its_place(limits: Limits) -> None:
    made = limits.author.import_(
        {
            "name": "w",
            "settings": {"concurrency": {"limit": 1}},
            "triggers": [{"type": "cron", "cron": "* * * * *"}, {"type": "event", "name": "order.made"}],
            "steps": [log_step("a")],
        }
    )
    limits.author.confirm(made["version_id"])
    limits.start()
    limits.clock.advance(seconds=61)
    limits.db.call("flowgres.fire_schedules", p_limit=10)
    limits.db.call("flowgres_api.emit_event", name="order.made", payload={})
    kinds = limits.db.column("select trigger_type from flowgres.executions")
    assert sorted(kinds) == ["api", "cron", "event"]
    with hands(limits.database) as runner:
        for _ in range(3):
            (lease,) = runner.claim()
            assert runner.claim() == []
            runner.report([runner.result(lease, completed())])


def test_tenants_take_turns_however_many_lines_one_has(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1, "key": "$.k"})
    limits.set()
    limits.define(log_step("a", limit="m"), name="stepwise")
    other = Limits(limits.database, limits.db, limits.clock)
    other.define(concurrency={"limit": 1, "key": "$.k"})
    limits.author.use()
    for key in range(60):
        limits.start(2, k=key)
    limits.start(workflow="stepwise")
    other.author.use()
    other.start(k=1)
    limits.author.use()
    assert limits.db.call("flowgres.admit", p_limit=6) == 6
    waiting = limits.db.all(
        "select distinct tenant_id, capability like 'limit:@%%' as is_line from flowgres.work_queue"
        " where capability like 'limit:%%'"
    )
    assert [(row["tenant_id"], row["is_line"]) for row in waiting] == [(limits.author.tenant_id, True)]
    # All lines have their turn, and none has two before.
    let = 6
    for _ in range(11):
        let += limits.db.call("flowgres.admit", p_limit=6)
    assert let == 62
    with hands(limits.database) as runner:
        drain(runner)


def test_workflow_whose_lock_somebody_has_is_left(limits: Limits) -> None:
    held = limits.define(concurrency={"limit": 1, "key": "$.k"})
    limits.define(name="v", concurrency={"limit": 1, "key": "$.k"})
    for key in range(30):
        limits.start(k=key)
        limits.start(workflow="v", k=key)
    workflow = limits.db.value("select workflow_id from flowgres.workflow_versions where id = %s", held["version_id"])
    with limits.author.connect() as holder:
        holder.run("begin")
        holder.run("select from flowgres.limits where kind = 'workflow' and name = %s for update", str(workflow))
        assert limits.db.call("flowgres.admit", p_limit=31) == 30
        holder.run("rollback")
    with hands(limits.database) as runner:
        drain(runner)


@pytest.mark.parametrize("kind", ["step", "workflow", "both"])
def test_execution_that_is_moved_into_the_future_gives_its_place_back(limits: Limits, kind: str) -> None:
    limits.set()
    step = log_step("a") if kind == "workflow" else log_step("a", limit="m")
    if kind == "step":
        limits.define(step)
    else:
        limits.define(step, concurrency={"limit": 1})
    first, second = limits.start(2)
    for _ in range(2):
        limits.db.call("flowgres.admit", p_limit=10)
    later = limits.db.value("select flowgres.now() + interval '1 minute'")
    limits.db.call("flowgres_api.update_execution", execution_id=first, changes={"scheduled_at": later.isoformat()})
    assert_invariants(limits.db, drained=False)
    with hands(limits.database) as runner:
        (lease,) = runner.claim() or runner.claim()
        assert str(lease["execution_id"]) == second
        limits.clock.advance(seconds=61)
        assert runner.claim() + runner.claim() == []
        runner.report([runner.result(lease, completed())])
        (lease,) = runner.claim() or runner.claim()
        assert str(lease["execution_id"]) == first
        runner.report([runner.result(lease, completed())])


def test_what_began_in_one_part_of_the_time_is_one_number(limits: Limits) -> None:
    limits.set(capacity=30, per_seconds=86_400)
    limits.define(log_step("a", limit="m"))
    for count in range(1, 6):
        limits.start()
        assert limits.db.call("flowgres.admit", p_limit=10) == 1
        row = limits.db.one("select bucket_numbers, bucket_counts from flowgres.limits where kind = 'step'")
        assert sum(row["bucket_counts"]) == count
        assert len(set(row["bucket_numbers"])) == len(row["bucket_numbers"]) <= 2
    with hands(limits.database) as runner:
        drain(runner)


def test_who_came_last_has_the_place_and_not_who_was_made_last(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1, "when_full": "cancel_oldest"})
    later = limits.db.value("select flowgres.now() + interval '1 minute'")
    scheduled = limits.db.call("flowgres_api.start_execution", workflow="w", input={}, scheduled_at=later.isoformat())[
        "execution_id"
    ]
    (running,) = limits.start()
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        assert str(lease["execution_id"]) == running
        limits.clock.advance(seconds=20)
        (between,) = limits.start()
        limits.clock.advance(seconds=41)
        drain(runner)
    assert limits.status(scheduled) == "completed"
    for execution in (running, between):
        assert limits.status(execution) == "cancelled concurrency_cancelled"


@pytest.mark.parametrize("act", ["complete_step", "skip_step", "retry_step"])
def test_act_upon_a_step_lets_no_execution_run_without_its_place(limits: Limits, act: str) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency={"limit": 1})
    first, second = limits.start(2)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        assert str(lease["execution_id"]) == first
        limits.db.call(f"flowgres_api.{act}", execution_id=second, step="a")
        assert_invariants(limits.db, drained=False)
        assert runner.claim() == []
        leases = [lease]
        while leases:
            leases = runner.report([runner.result(lease, completed()) for lease in leases])
        drain(runner)
    assert limits.status(first) == limits.status(second) == "completed"
