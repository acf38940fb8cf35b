"""Retention of workflows and tenants: what has ended for long goes early and whole, and nothing else."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, import_workflow, start
from tests.support.notifications import Notifications
from tests.support.races import caller, refusal_code, rivals

DAY = 86400.0


def keep(database: Database, db: Db, tenant: Tenant, name: str, retention: str | None = "2d", **more: Any) -> str:
    settings = {"retention": retention} if retention else {}
    return import_workflow(db, tenant, dag(name, more.pop("steps", [{"id": "only"}]), settings=settings, **more))


def apply(database: Database, *, limit: int = 500) -> int:
    """What a runner does once a minute; returns how many executions went."""
    deleted: int = 0
    with database.connect("runner") as runner:
        while True:
            for _ in range(50):
                runner.call("flowgres.measure_history", p_limit=1000)
            done = runner.call("flowgres.apply_retentions", p_limit=limit)
            deleted += int(done["deleted"])
            if not done["is_due"]:
                return deleted


def executions(db: Db) -> set[str]:
    return set(db.column("select id::text from flowgres.executions"))


def traces_of(db: Db, execution_id: str) -> list[str]:
    """Tables of history, and what hangs on it, that still know an execution."""
    found = []
    for table in (
        "executions",
        "step_executions",
        "attempts",
        "events",
        "step_items",
        "tasks",
        "approvals",
        "trace_ends",
    ):
        key = "id" if table == "executions" else "execution_id"
        if db.value(f"select exists (select from flowgres.{table} where {key} = %s)", execution_id):
            found.append(table)
    return found


def test_what_ended_long_ago_goes_whole_and_the_rest_stays(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    short, long = keep(database, db, tenant, "short"), keep(database, db, tenant, "long", None)
    old, kept = start(database, tenant, short), start(database, tenant, long)
    runner.work(lambda _lease, _step: completed(logs=[{"level": "info", "message": "here"}]))
    assert "events" in traces_of(db, old)
    clock.advance(seconds=1.9 * DAY)
    assert apply(database) == 0
    young = start(database, tenant, short)
    runner.work()
    clock.advance(seconds=0.2 * DAY)
    assert apply(database) == 1
    assert traces_of(db, old) == []
    assert executions(db) == {kept, young}


def test_what_has_not_ended_stays_with_its_parent_and_child(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    keep(database, db, tenant, "leaf")
    call = [
        {"id": "call", "type": "sub_workflow", "config": {"workflow": "leaf"}},
        {"id": "after", "depends_on": ["call"]},
    ]
    top = keep(database, db, tenant, "top", steps=call)
    start(database, tenant, top)
    lease = runner.claim()[0]
    runner.report([runner.result(lease, {"o": "child", "workflow": "leaf", "input": {}})])
    leaf = runner.claim()[0]
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 0, "both go on"
    runner.report([runner.result(leaf, completed())])
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 0, "the child has ended, and its parent still needs it"
    runner.work(lambda _lease, _step: completed())
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 2
    assert executions(db) == set()


def test_another_version_decides_for_all_and_taking_it_back_keeps(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    name = keep(database, db, tenant, "flow", "20d")
    start(database, tenant, name)
    runner.work()
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 0
    keep(database, db, tenant, "flow", None)
    assert db.value("select count(*) from flowgres.retentions") == 0
    keep(database, db, tenant, "flow", "1d")
    assert apply(database) == 1


def test_setting_of_a_tenant_holds_for_its_executions_alone(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    other = database.make_tenant("Other")
    for each in (tenant, other):
        start(database, each, import_workflow(db, each, dag("flow", [{"id": "only"}])))
    runner.work()
    with database.as_role("admin", tenant_id=tenant.tenant_id) as admin:
        admin.call("flowgres_api.set_setting", name="log_retention_days", value=Jsonb(5))
    clock.advance(seconds=6 * DAY)
    assert apply(database) == 1
    assert db.column("select tenant_id::text from flowgres.executions") == [other.tenant_id]
    with database.as_role("admin", tenant_id=tenant.tenant_id) as admin:
        admin.call("flowgres_api.set_setting", name="log_retention_days")
    assert db.value("select count(*) from flowgres.retentions") == 0


def test_no_tenant_keeps_for_longer_than_the_installation(database: Database, db: Db, tenant: Tenant) -> None:
    with database.connect("operator") as operator:
        operator.call("flowgres.use_tenant", p_slug=tenant.slug)
        with pytest.raises(psycopg.Error) as refused:
            operator.call("flowgres_api.set_setting", name="log_retention_days", value=Jsonb(31))
    assert refused.value.diag.constraint_name == "retention_too_long"


def test_tenants_take_turns_and_batches_are_bounded(database: Database, db: Db, clock: Clock, runner: Hands) -> None:
    tenants = [database.make_tenant(name) for name in ("Big", "Small")]
    for tenant, count in zip(tenants, (7, 1), strict=True):
        name = keep(database, db, tenant, "flow")
        for _ in range(count):
            start(database, tenant, name)
    runner.work()
    clock.advance(seconds=3 * DAY)
    db.run("update flowgres.retentions set next_at = flowgres.now()")
    order = []
    with database.connect("runner") as own:
        for _ in range(50):
            own.call("flowgres.measure_history", p_limit=1000)
        while (done := own.call("flowgres.apply_retentions", p_limit=3))["is_due"]:
            assert done["looked"] <= 3
            order.append(db.value("select count(distinct tenant_id) from flowgres.executions"))
    assert executions(db) == set()
    assert order.index(1) <= 1, "the small one does not wait for the big one"


def test_one_that_somebody_holds_is_passed_over_and_comes_later(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    name = keep(database, db, tenant, "flow")
    held, free = start(database, tenant, name), start(database, tenant, name)
    runner.work()
    clock.advance(seconds=3 * DAY)
    with database.connect() as holder, database.connect("runner") as sweeper, rivals(db) as run:
        for _ in range(50):
            sweeper.call("flowgres.measure_history", p_limit=1000)
        with holder.connection.transaction():
            holder.run("select from flowgres.executions where id = %s for no key update", held)
            rival = run(sweeper, lambda: sweeper.call("flowgres.apply_retentions", p_limit=10))
            assert not rival.run_until_blocked()
            assert rival.answer()["deleted"] == 1
    assert executions(db) == {held}
    assert traces_of(db, free) == []
    clock.advance(seconds=3600)
    assert apply(database) == 1


def test_who_dies_on_the_way_has_done_nothing(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    execution_id = start(database, tenant, keep(database, db, tenant, "flow"))
    runner.work()
    clock.advance(seconds=3 * DAY)
    with database.connect("runner") as own:
        for _ in range(50):
            own.call("flowgres.measure_history", p_limit=1000)
        with own.connection.transaction(force_rollback=True):
            assert own.call("flowgres.apply_retentions", p_limit=10)["deleted"] == 1
    assert traces_of(db, execution_id) == ["executions", "step_executions"]
    assert apply(database) == 1


def test_nothing_due_is_one_look_into_an_index(database: Database, db: Db, tenant: Tenant) -> None:
    db.run(
        "insert into flowgres.retentions (tenant_id, workflow_id, keep_seconds, next_at)"
        " select %s, gen_random_uuid(), 3600, now() + interval '1 hour' from generate_series(1, 5000)",
        tenant.tenant_id,
    )
    db.run("analyze flowgres.retentions")
    plan: list[Row] = db.value(
        "explain (analyze, buffers, format json) select r.* from flowgres.retentions as r"
        " where r.next_at <= now() order by r.next_at limit 1 for update skip locked"
    )
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] <= 4


def test_deliveries_of_notifications_go_with_what_they_tell_of(
    notifications: Notifications, database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    notifications.set()
    execution_id = start(database, tenant, keep(database, db, tenant, "flow"))
    lease = runner.claim()[0]
    leases = runner.report([runner.result(lease, completed())]) + runner.claim()
    assert len(executions(db)) == 2
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 0, "the delivery is under way"
    runner.report([runner.result(each, completed({"status": 200, "duration_ms": 1})) for each in leases])
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 2
    assert executions(db) == set()
    assert traces_of(db, execution_id) == []


@pytest.mark.parametrize("first", ["retry", "retention"])
def test_retry_and_retention_meet_at_one_execution(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands, first: str
) -> None:
    execution = start(database, tenant, keep(database, db, tenant, "flow"))
    runner.work(lambda _lease, _step: failed())
    clock.advance(seconds=3 * DAY)
    with database.connect("runner") as measuring:
        for _ in range(50):
            measuring.call("flowgres.measure_history", p_limit=1000)
    with caller(database, tenant) as (connection, request), rivals(db) as run, database.connect("runner") as cleaner:
        if first == "retry":
            with database.as_role("member", tenant_id=tenant.tenant_id) as member:
                member.call("flowgres_api.retry_execution", execution_id=execution)
                # Who deletes waits for nobody.
                assert cleaner.call("flowgres.apply_retentions", p_limit=100)["deleted"] == 0
        else:
            with cleaner.connection.transaction():
                assert cleaner.call("flowgres.apply_retentions", p_limit=100)["deleted"] == 1
                rival = run(connection, lambda: request("retry_execution", execution_id=execution))
                assert rival.run_until_blocked()
            error = rival.refusal()
            assert error is not None
            assert refusal_code(error) == "execution_not_found"
    if first == "retry":
        db.run("update flowgres.retentions set next_at = flowgres.now(), last_id = null")
        assert apply(database) == 0, "it goes on"
        runner.work()
        assert apply(database) == 0, "its end is young, however old it is"
        clock.advance(seconds=3 * DAY)
        assert apply(database) == 1
    assert executions(db) == set()
    assert_invariants(db)


def test_child_that_has_gone_is_started_anew_by_a_retry(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    keep(database, db, tenant, "leaf")
    call = [{"id": "call", "type": "sub_workflow", "config": {"workflow": "leaf"}}]
    top = start(database, tenant, keep(database, db, tenant, "top", None, steps=call))
    child = {"o": "child", "workflow": "leaf", "input": {}}
    runner.work(lambda lease, step: failed() if step == "only" else failed("child") if lease["resume"] else child)
    clock.advance(seconds=3 * DAY)
    assert apply(database) == 1
    assert executions(db) == {top}
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.retry_execution", execution_id=top)
    assert_invariants(db, drained=False)
    runner.work(lambda lease, step: child if step == "call" and not lease["resume"] else completed())
    assert db.value("select status from flowgres.executions where id = %s", top) == "completed"
    assert_invariants(db)


@pytest.mark.parametrize("from_step", [None, "b"])
def test_what_was_replayed_may_go_and_its_replay_stays_whole(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands, from_step: str | None
) -> None:
    steps = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]
    original = start(database, tenant, keep(database, db, tenant, "flow", steps=steps))
    runner.work(lambda _lease, step: failed() if step == "b" else completed(step))
    clock.advance(seconds=1.5 * DAY)
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        replay = member.call("flowgres_api.replay_execution", execution_id=original, from_step=from_step)[
            "execution_id"
        ]
    runner.work(lambda _lease, step: failed() if step == "b" else completed(step))
    clock.advance(seconds=1 * DAY)
    assert apply(database) == 1
    assert executions(db) == {replay}
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        told = member.call("flowgres_api.get_execution", execution_id=replay)
        assert (told["status"], told["replayed_from"]) == ("failed", original)
        member.call("flowgres_api.retry_execution", execution_id=replay)
    runner.work(lambda _lease, step: completed(step))
    assert db.value("select status from flowgres.executions where id = %s", replay) == "completed"
    assert_invariants(db)


def test_rule_that_fails_keeps_no_other_waiting(database: Database, db: Db, clock: Clock, runner: Hands) -> None:
    broken, sound = database.make_tenant("Broken"), database.make_tenant("Sound")
    for tenant in (broken, sound):
        name = keep(database, db, tenant, "flow")
        for _ in range(3):
            start(database, tenant, name)
    runner.work()
    clock.advance(seconds=3 * DAY)
    # The first of it cannot go, whatever the reason.
    (first, *_) = db.column(
        "select id::text from flowgres.executions where tenant_id = %s order by id", broken.tenant_id
    )
    db.run("create table public.keepers (tenant_id uuid, id uuid)")
    db.run(
        "create function public.keep() returns trigger language plpgsql as $$ begin"
        " if exists (select from public.keepers as k where k.id = old.id) then raise 'it is kept'; end if;"
        " return old; end $$"
    )
    db.run("grant select on public.keepers to public")
    db.run("insert into public.keepers (id) values (%s)", first)
    db.run("create trigger keep before delete on flowgres.executions for each row execute function public.keep()")
    db.run(
        "update flowgres.retentions set next_at = flowgres.now() - interval '1 day' where tenant_id = %s",
        broken.tenant_id,
    )
    assert apply(database, limit=2) == 3, "those of the other tenant"
    for _ in range(3):
        clock.advance(seconds=120)
        apply(database, limit=2)
    assert len(executions(db)) == 2, "what was not in the batch that failed has gone"
    db.run("drop trigger keep on flowgres.executions")
    clock.advance(seconds=7200)
    apply(database)
    assert executions(db) == set()


def test_big_executions_go_a_few_at_a_time(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands
) -> None:
    name = keep(database, db, tenant, "wide", steps=[{"id": f"s{number}"} for number in range(25)])
    for _ in range(6):
        start(database, tenant, name)
    runner.work()
    clock.advance(seconds=3 * DAY)
    looked = []
    with database.connect("runner") as own:
        for _ in range(50):
            own.call("flowgres.measure_history", p_limit=1000)
        # Twenty steps, children and items for each that a call may look at: there is room for one and a half.
        while (done := own.call("flowgres.apply_retentions", p_limit=2))["is_due"]:
            looked.append(done["looked"])
    assert looked[:6] == [1] * 6
    assert executions(db) == set()


@pytest.mark.parametrize(
    ("retention", "days", "is_warned"), [("29d", None, False), ("31d", None, True), ("9d", 5, True)]
)
def test_import_warns_of_a_retention_that_changes_nothing(
    database: Database, tenant: Tenant, retention: str, days: int | None, is_warned: bool
) -> None:
    with database.as_role("admin", tenant_id=tenant.tenant_id) as admin:
        if days:
            admin.call("flowgres_api.set_setting", name="log_retention_days", value=Jsonb(days))
        definition = dag("flow", [{"id": "only"}], settings={"retention": retention})
        warnings = admin.call("flowgres_api.import_workflow", definition=Jsonb(definition))["warnings"]
    assert [each["code"] for each in warnings] == ["retention_too_long"] * is_warned
