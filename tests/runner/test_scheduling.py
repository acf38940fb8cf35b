"""A real runner fires schedules and slas when they are due, and five that are killed lose and double nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.api import Api
from tests.support.database import Clock, Db, Tenant
from tests.support.definitions import log_step, workflow
from tests.support.machines import machine
from tests.support.runner import Runner, wait_for

SLOTS = "select trigger ->> 'scheduled_for' from flowgres.executions where trigger_type = 'cron' order by 1"


def test_runner_fires_a_schedule_and_runs_what_it_starts(
    api: Api, tenant: Tenant, db: Db, clock: Clock, start_runner: Callable[..., Runner]
) -> None:
    clock.set("2026-06-01T11:59:55Z")
    step = {"id": "a", "type": "transform", "config": {"expression": "{{ trigger.scheduled_for }}"}}
    client = api.as_key(tenant.key)
    definition = workflow(
        step, triggers=[{"type": "cron", "cron": "* * * * *"}], outputs={"at": "{{ steps.a.output }}"}
    )
    assert client.rpc("import_workflow", definition=definition).status_code == 200
    start_runner()
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'"))
    execution = db.one("select output, created_at from flowgres.executions")
    assert execution["output"] == {"at": "2026-06-01T12:00:00Z"}
    assert client.get("/schedules").json()[0]["last_slot"] == "2026-06-01T12:00:00+00:00"


def test_runner_moves_an_instance_when_its_time_is_over(
    api: Api, tenant: Tenant, db: Db, clock: Clock, start_runner: Callable[..., Runner]
) -> None:
    clock.set("2026-06-01T12:00:00Z")
    client = api.as_key(tenant.key)
    definition = machine("new>late", final="late")
    definition["states"][0]["sla"] = {"after": "1h", "to": "late"}
    assert client.rpc("import_workflow", definition=definition).status_code == 200
    start = {"workflow_name": "m", "entity_table": "orders", "entity_id": "1"}
    assert client.rpc("start_workflow", **start).status_code == 200
    clock.set("2026-06-01T12:59:58Z")
    start_runner()
    wait_for(lambda: db.value("select count(*) from flowgres.instances where state = 'late'"))
    (row,) = client.get("/workflow_history?to_state=eq.late").json()
    assert "2026-06-01T13:00:00" <= row["executed_at"] < "2026-06-01T13:01:00"


@pytest.mark.slow
@pytest.mark.chaos
def test_five_runners_that_are_killed_lose_and_double_no_slot(
    api: Api, tenant: Tenant, db: Db, clock: Clock, start_runner: Callable[..., Runner]
) -> None:
    clock.set("2026-06-01T11:59:58Z")
    triggers = [{"type": "cron", "cron": "* * * * *", "catch_up": "all", "input": {"n": n}} for n in range(20)]
    definition = workflow(log_step("a"), triggers=triggers)
    assert api.as_key(tenant.key).rpc("import_workflow", definition=definition).status_code == 200
    runners = [start_runner() for _ in range(5)]
    slots = 6
    for slot in range(1, slots + 1):
        runners[slot % 5].kill()
        # To the next slot: all that live reach for it at once, and one of them dies at it.
        clock.set(f"2026-06-01T12:0{slot}:00Z")
        runners[(slot + 1) % 5].kill()
        runners[slot % 5] = start_runner()
        runners[(slot + 1) % 5] = start_runner()
    every = [f"2026-06-01T12:0{slot}:00Z" for slot in range(slots + 1) for _ in triggers]
    wait_for(lambda: len(db.column(SLOTS)) >= len(every), timeout_seconds=30, what="every slot")
    assert db.column(SLOTS) == every
    assert db.value("select count(distinct (schedule_id, slot)) from flowgres.schedule_slots") == len(every)
