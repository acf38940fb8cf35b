"""`kill -9` of runners: nothing is lost, nothing is done twice, and it goes on within the lease and a little."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from tests.support.chaos import (
    Crew,
    Load,
    Receiver,
    Recoveries,
    assert_nothing_lost,
    call,
    chaos_random,
    import_order,
    leases_of,
    percentile,
    set_lease,
    tell,
    wait_for_drain,
)
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, hands, import_workflow
from tests.support.runner import wait_for
from tests.support.scale import IS_LONG

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is killed, under which lease. The long one is that of the published guarantee."""

    executions: int
    per_second: float
    kills: int
    lease_seconds: float
    heartbeat_seconds: float
    recovery_seconds: float
    drain_seconds: float


SHORT = Scale(
    executions=200,
    per_second=16,
    kills=8,
    lease_seconds=3,
    heartbeat_seconds=0.5,
    recovery_seconds=8,
    drain_seconds=45,
)
LONG = Scale(
    executions=1000,
    per_second=6,
    kills=50,
    lease_seconds=10,
    heartbeat_seconds=2,
    recovery_seconds=15,
    drain_seconds=180,
)
SCALES = [pytest.param(SHORT, id="short")]
if IS_LONG:
    SCALES.append(pytest.param(LONG, id="long", marks=pytest.mark.slow))


@pytest.mark.parametrize("scale", SCALES)
def test_killing_one_of_two_runners_again_and_again_loses_and_doubles_nothing(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver, scale: Scale
) -> None:
    chance = chaos_random()
    set_lease(db, lease_seconds=scale.lease_seconds, heartbeat_seconds=scale.heartbeat_seconds)
    workflow = import_order(db, tenant)
    alive = [crew.start(), crew.start()]
    recoveries = Recoveries()
    held = 0
    began = time.monotonic()
    spacing = scale.executions / scale.per_second / scale.kills
    with Load(
        database, tenant, workflow, count=scale.executions, per_second=scale.per_second, input={"url": receiver.url}
    ) as load:
        for number in range(scale.kills):
            moment = began + (number + chance.random()) * spacing
            wait_for(lambda moment=moment: time.monotonic() >= moment, timeout_seconds=60)  # type: ignore[misc]
            victim = alive.pop(chance.randrange(2))
            crew.kill(victim)
            held += recoveries.note(db, crew.runner_ids(db, victim))
            alive.append(crew.start())
        wait_for(lambda: load.is_over, timeout_seconds=120, what="the last start")
    wait_for_drain(db, timeout_seconds=scale.drain_seconds)
    repeats = assert_nothing_lost(db, load.accepted, receiver.keys())
    seconds = recoveries.seconds(db)
    tell(
        f"{scale.executions} executions, {scale.kills} kills while {held} steps were held, {repeats} requests repeated;"
        f" recovery p50 {percentile(seconds, 0.5):.1f} s, p99 {percentile(seconds, 0.99):.1f} s"
        f" (lease {scale.lease_seconds:g} s); {time.monotonic() - began:.0f} s in all"
    )
    assert percentile(seconds, 0.99) <= scale.recovery_seconds


def test_work_of_a_killed_runner_goes_on_within_15_s_under_the_default_lease(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    set_lease(db, lease_seconds=10, heartbeat_seconds=2)
    workflow = import_workflow(db, tenant, {"name": "slow", "steps": [call("wait", seconds="2")]})
    runners = [crew.start(), crew.start()]
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        inputs = [{"url": receiver.url, "n": n} for n in range(20)]
        member.call("flowgres_api.start_executions", workflow=workflow, inputs=inputs)
    wait_for(lambda: receiver.keys().total() >= 10, what="their requests")
    # Either may have taken most of them, or all.
    victim, heir = sorted(runners, key=lambda runner: -len(leases_of(db, crew.runner_ids(db, runner))))
    recoveries = Recoveries()
    crew.kill(victim)
    held = recoveries.note(db, crew.runner_ids(db, victim))
    wait_for_drain(db, timeout_seconds=30)
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    assert len(receiver.keys()) == len(inputs)
    seconds = recoveries.seconds(db)
    tell(f"{held} steps held, of two seconds each; the last had ended {max(seconds):.1f} s after the death")
    assert len(seconds) == held > 0
    assert seconds[-1] <= 15
    assert heir.process.is_running


def test_a_thousand_steps_of_one_dead_runner_are_rescued_together(
    database: Database, db: Db, tenant: Tenant, crew: Crew
) -> None:
    set_lease(db, lease_seconds=2, heartbeat_seconds=0.5)
    name = import_workflow(db, tenant, dag("one", [{"id": "a"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow=name, inputs=[{}] * 1000)
    with hands(database) as dead:
        assert len(dead.claim(1000)) == 1000
    wait_for(lambda: db.value("select min(clock_timestamp() - claimed_at) > '2 s' from flowgres.work_queue"))
    crew.start()
    rescued = "select extract(epoch from max(at) - min(at))::float from flowgres.events where type = 'step_lost'"
    wait_for_drain(db, timeout_seconds=20)
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    seconds = db.value(rescued)
    tell(f"1000 leases rescued within {seconds:.1f} s of each other")
    assert seconds < 3
