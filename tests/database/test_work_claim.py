"""Claiming: order, fairness, fences, leases and their rescue."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from flowgres_runner.runner import PROTOCOL
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import (
    Hands,
    completed,
    dag,
    failed,
    get,
    hands,
    import_workflow,
    outwait_lease,
    start,
)


@pytest.fixture
def single(db: Db, tenant: Tenant) -> str:
    """A workflow of one step, tried up to three times."""
    return import_workflow(db, tenant, dag("single", [{"id": "only"}]))


def test_urgent_execution_goes_before_an_older_one(database: Database, tenant: Tenant, single: str) -> None:
    slow = start(database, tenant, single, priority=9)
    fast = start(database, tenant, single, priority=0)
    with hands(database) as runner:
        order = [str(runner.claim(1)[0]["execution_id"]) for _ in range(2)]
    assert order == [fast, slow]


def test_started_execution_goes_before_a_new_one(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("pair", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    begun = start(database, tenant, name)
    with hands(database) as first, hands(database) as second:
        (lease,) = first.claim(1)
        start(database, tenant, name)
        (child,) = first.report([first.result(lease, completed())])
        first.db.call("flowgres.release", p_runner_id=first.id, p_rows=[_row(child)])
        assert str(second.claim(1)[0]["execution_id"]) == begun


def test_each_waiting_tenant_gets_its_share(database: Database, db: Db, tenant: Tenant, single: str) -> None:
    other = database.make_tenant("Other")
    name = import_workflow(db, other, dag("single", [{"id": "only"}]))
    for _ in range(10):
        start(database, tenant, single)
    for _ in range(3):
        start(database, other, name)
    with hands(database) as runner:
        tenants = [str(lease["tenant_id"]) for lease in runner.claim(6)]
    assert tenants.count(tenant.tenant_id) == 3
    assert tenants.count(other.tenant_id) == 3


def test_share_that_one_tenant_leaves_goes_to_the_other(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    other = database.make_tenant("Other")
    name = import_workflow(db, other, dag("single", [{"id": "only"}]))
    for _ in range(10):
        start(database, tenant, single)
    start(database, other, name)
    with hands(database) as runner:
        assert len(runner.claim(8)) == 8


def test_turn_goes_on_behind_the_tenant_served_last(database: Database, db: Db) -> None:
    tenants = sorted((database.make_tenant(name) for name in ("A", "B", "C")), key=lambda tenant: tenant.tenant_id)
    for each in tenants:
        name = import_workflow(db, each, dag("single", [{"id": "only"}]))
        for _ in range(2):
            start(database, each, name)
    served: list[str] = []
    with hands(database) as runner:
        for _ in range(6):
            (lease,) = runner.claim(1, after=served[-1]) if served else runner.claim(1)
            served.append(str(lease["tenant_id"]))
    assert served == [each.tenant_id for each in tenants] * 2


def test_claim_takes_what_several_tenants_have_left(database: Database, db: Db, tenant: Tenant, single: str) -> None:
    names = {tenant: single}
    for other in (database.make_tenant("Few"), database.make_tenant("Many")):
        names[other] = import_workflow(db, other, dag("single", [{"id": "only"}]))
    for each, count in zip(names, (5, 1, 9), strict=True):
        for _ in range(count):
            start(database, each, names[each])
    with hands(database) as runner:
        leases = runner.claim(14)
        assert len({lease["queue_id"] for lease in leases}) == len(leases) == 14
        assert len(runner.claim(14)) == 1


def test_nothing_is_picked_when_others_have_taken_it_since_the_look(db: Db) -> None:
    picked = db.one("select * from flowgres.pick_shares(p_capability => 'core', p_tenants => '{}', p_limit => 5)")
    assert picked == {"rows": [], "lowest_id": None, "highest_id": None}


def test_claim_looks_at_every_capability_of_its_runner(database: Database, db: Db, tenant: Tenant, single: str) -> None:
    for _ in range(3):
        start(database, tenant, single)
    db.run("update flowgres.work_queue set capability = 'special' where id = (select max(id) from flowgres.work_queue)")
    with hands(database) as plain, hands(database) as special:
        db.run("update flowgres.runners set capabilities = '{core,special}' where id = %s", special.id)
        assert len(plain.claim(1)) == 1
        assert len(special.claim(10)) == 2
        assert plain.claim(10) == []


def test_claimed_steps_bring_the_outputs_they_name_and_no_others(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["b"], "config": {"expression": "{{ steps.a.output }}"}},
    ]
    start(database, tenant, import_workflow(db, tenant, dag("named", steps)), input={"n": 1})
    contexts = []
    with hands(database) as first, hands(database) as second:
        (lease,) = first.claim(1)
        contexts.append(lease["context"])
        for output in (10, 20):
            (lease,) = first.report([first.result(lease, completed(output))])
            first.db.call("flowgres.release", p_runner_id=first.id, p_rows=[_row(lease)])
            (again,) = second.claim(1)
            contexts.append(again["context"])
            second.db.call("flowgres.release", p_runner_id=second.id, p_rows=[_row(again)])
            (lease,) = first.claim(1)
    assert [context["input"] for context in contexts] == [{"n": 1}] * 3
    assert [context["steps"] for context in contexts[:2]] == [{}, {}]
    assert {step: told["output"] for step, told in contexts[2]["steps"].items()} == {"a": 10}


def test_claim_reads_no_more_of_a_large_backlog_than_it_takes(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("single", [{"id": "only"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.start_executions", workflow=name, inputs=[{} for _ in range(5000)])
    with hands(database) as runner:
        query = "select * from flowgres.claim(%s, 10, null)"
        assert len(runner.db.all(query, runner.id)) == 10
        plan = runner.db.value(f"explain (analyze, buffers, format json) {query}", runner.id)[0]["Plan"]
    assert plan["Actual Rows"] == 10
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 600


def test_runner_that_was_told_to_drain_claims_nothing(
    database: Database, db: Db, tenant: Tenant, single: str, clock: Clock
) -> None:
    start(database, tenant, single, scheduled_at=clock.now().replace(year=clock.now().year + 1).isoformat())
    clock.advance(seconds=366 * 86400)
    with hands(database) as runner:
        db.run("update flowgres.runners set drained_at = now() where id = %s", runner.id)
        assert runner.claim(1) == []
        assert db.value("select due_at is not null from flowgres.work_queue")


def test_children_of_a_busy_tenant_wait_while_others_do(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("wide", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    other = database.make_tenant("Other")
    other_name = import_workflow(db, other, dag("single", [{"id": "only"}]))
    for _ in range(4):
        start(database, tenant, name)
    with hands(database) as runner:
        leases = runner.claim(4)
        for _ in range(4):
            start(database, other, other_name)
        answer = runner.report([runner.result(lease, completed()) for lease in leases], want=4)
    handed = [lease for lease in answer if lease["handed"]]
    assert len(handed) == 4
    assert {str(lease["tenant_id"]) for lease in answer} == {tenant.tenant_id, other.tenant_id}


def test_result_with_a_token_of_the_past_is_dropped(database: Database, tenant: Tenant, single: str) -> None:
    execution_id = start(database, tenant, single)
    with hands(database) as zombie, hands(database) as heir:
        (lease,) = zombie.claim(1)
        zombie.db.call("flowgres.release", p_runner_id=zombie.id, p_rows=[_row(lease)])
        (again,) = heir.claim(1)
        zombie.report([zombie.result(lease, completed("zombie"))])
        assert get(database, tenant, execution_id)["status"] == "running"
        heir.report([heir.result(again, completed("heir"))])
    assert get(database, tenant, execution_id)["output"] == {"only": "heir"}


def test_release_refunds_the_attempt(database: Database, tenant: Tenant, single: str) -> None:
    start(database, tenant, single)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.db.call("flowgres.release", p_runner_id=runner.id, p_rows=[_row(lease)])
        (again,) = runner.claim(1)
    assert (lease["attempt"], again["attempt"]) == (1, 1)


def test_step_of_a_dead_runner_is_tried_again_by_another(
    database: Database, db: Db, tenant: Tenant, single: str, clock: Clock
) -> None:
    execution_id = start(database, tenant, single)
    with hands(database) as dead, hands(database) as alive:
        dead.claim(1)
        outwait_lease(db, clock, alive)
        assert alive.sweep() == 1
        (lease,) = alive.claim(1)
        assert lease["attempt"] == 2
        alive.report([alive.result(lease, completed())])
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["steps"]["only"]["attempts"] == 2
    assert db.column("select status from flowgres.attempts order by attempt") == ["lost", "completed"]


def test_live_runner_keeps_its_leases(database: Database, db: Db, tenant: Tenant, single: str, clock: Clock) -> None:
    start(database, tenant, single)
    with hands(database) as runner:
        runner.claim(1)
        for _ in range(5):
            outwait_lease(db, clock, runner)
            assert runner.sweep() == 0


def test_step_that_kills_its_runners_fails_after_its_attempts(
    database: Database, db: Db, tenant: Tenant, single: str, clock: Clock
) -> None:
    execution_id = start(database, tenant, single)
    for _ in range(3):
        with hands(database) as victim:
            assert len(victim.claim(1)) == 1
        outwait_lease(db, clock)
        with hands(database) as keeper:
            assert keeper.sweep() == 1
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "failed"
    assert execution["error"]["code"] == "lease_expired"


def test_retryable_failure_waits_and_is_tried_again(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    retry = {"attempts": 3, "delay": "10s", "factor": 2, "jitter": False}
    name = import_workflow(db, tenant, dag("retry", [{"id": "flaky", "retry": retry}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, failed("timeout"))])
        assert get(database, tenant, execution_id)["status"] == "retrying"
        clock.advance(seconds=9)
        assert runner.claim(1) == []
        clock.advance(seconds=2)
        (lease,) = runner.claim(1)
        assert lease["attempt"] == 2
        runner.report([runner.result(lease, completed("at last"))])
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["steps"]["flaky"]["attempts"] == 2


def test_attempts_end_and_then_the_step_fails(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    retry = {"attempts": 2, "delay": 1, "jitter": False}
    name = import_workflow(db, tenant, dag("retry", [{"id": "flaky", "retry": retry}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        for _ in range(2):
            runner.work(lambda *_: failed("timeout"))
            clock.advance(seconds=5)
        assert runner.claim() == []
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert db.column("select attempt from flowgres.attempts order by attempt") == [1, 2]


def test_longer_retry_after_wins(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("retry", [{"id": "busy", "retry": {"attempts": 2, "delay": 1}}]))
    start(database, tenant, name)
    with hands(database) as runner:
        runner.work(lambda *_: failed("429", retry_after=60))
        clock.advance(seconds=55)
        assert runner.claim(1) == []
        clock.advance(seconds=10)
        assert len(runner.claim(1)) == 1


def test_permanent_failure_is_not_tried_again(database: Database, tenant: Tenant, single: str) -> None:
    execution_id = start(database, tenant, single)
    with hands(database) as runner:
        runner.work(lambda *_: failed("expression"))
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "failed"
    assert execution["steps"]["only"]["attempts"] == 1


def test_suspended_step_holds_no_runner_and_resumes(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("nap", [{"id": "nap", "type": "delay", "config": {"seconds": 60}}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, {"o": "suspended", "seconds": 60})])
        execution = get(database, tenant, execution_id)
        assert (execution["status"], execution["steps"]["nap"]["status"]) == ("waiting", "waiting")
        assert 55 < runner.db.call("flowgres.declare_idle", p_runner_id=runner.id, p_idle=True) <= 60
        clock.advance(seconds=61)
        (lease,) = runner.claim(1)
        assert lease["resume"] == {}
        assert lease["attempt"] == 1
        runner.report([runner.result(lease, completed())])
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_waiting_does_not_use_up_the_execution_timeout(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    steps: list[dict[str, Any]] = [{"id": "nap", "type": "delay", "config": {"seconds": 60}}]
    name = import_workflow(db, tenant, dag("nap", steps, settings={"timeout": "30s"}))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        runner.work(lambda lease, _: completed() if lease["resume"] is not None else {"o": "suspended", "seconds": 600})
        clock.advance(seconds=300)
        assert runner.db.call("flowgres.expire_executions", p_limit=10) == 0
        clock.advance(seconds=301)
        runner.work(lambda lease, _: completed() if lease["resume"] is not None else failed())
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_execution_fails_when_its_active_time_is_over(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("slow", [{"id": "slow"}], settings={"timeout": "30s"}))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, {"o": "started"})])
        clock.advance(seconds=31)
        runner.db.call("flowgres.heartbeat", p_runner_id=runner.id, p_running=[], p_stats={})
        assert runner.db.call("flowgres.expire_executions", p_limit=10) == 1
        assert runner.report([runner.result(lease, completed())], want=5) == []
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["error"]["code"]) == ("failed", "execution_timeout")


def test_scheduled_start_waits_for_its_time(database: Database, tenant: Tenant, single: str, clock: Clock) -> None:
    start(database, tenant, single, scheduled_at=clock.now().replace(year=clock.now().year + 1).isoformat())
    with hands(database) as runner:
        assert runner.claim(1) == []
        clock.advance(seconds=366 * 86400)
        with hands(database) as later:
            assert len(later.claim(1)) == 1


def test_claim_in_another_isolation_level_is_refused(database: Database) -> None:
    with hands(database) as runner:
        runner.db.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        runner.db.connection.autocommit = False
        with pytest.raises(psycopg.Error) as caught:
            runner.claim(1)
    assert caught.value.diag.constraint_name == "isolation_refused"


def test_unknown_runner_is_told_to_register(database: Database) -> None:
    with database.connect("runner") as db, pytest.raises(psycopg.Error) as caught:
        db.all("select * from flowgres.claim(%s, 1, null)", str(uuid.uuid4()))
    assert caught.value.diag.constraint_name == "runner_not_registered"


def test_runner_of_another_environment_is_refused(database: Database) -> None:
    with database.connect("runner") as db, pytest.raises(psycopg.Error) as caught:
        Hands(db, environment="production")
    assert caught.value.diag.constraint_name == "environment_mismatch"


def _row(lease: dict[str, Any]) -> list[Any]:
    return [str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]


def test_runner_of_a_past_protocol_is_told_to_drain(database: Database, db: Db) -> None:
    with hands(database) as runner:
        beat = runner.db.call("flowgres.heartbeat", p_runner_id=runner.id, p_running=[], p_stats={})
        assert (beat["alive"], beat["drain"]) == (True, False)
        db.run("update flowgres.settings set value = to_jsonb(%s::integer) where name = 'protocol'", PROTOCOL + 1)
        beat = runner.db.call("flowgres.heartbeat", p_runner_id=runner.id, p_running=[], p_stats={})
        assert (beat["alive"], beat["drain"]) == (True, True)
        with pytest.raises(psycopg.Error) as caught:
            Hands(runner.db)
    assert caught.value.diag.constraint_name == "protocol_mismatch"
