"""Cancelling under load: what runs is aborted within 5 s, and nothing of it runs afterwards."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest

from tests.support.chaos import (
    Crew,
    Load,
    Receiver,
    assert_nothing_lost,
    call,
    import_order,
    set_lease,
    tell,
    wait_for_drain,
)
from tests.support.database import Database, Db, Tenant
from tests.support.engine import import_workflow, start
from tests.support.runner import wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

ABORTED_WITHIN_SECONDS = 5
STUCK = 25


def aborted_steps(crew: Crew, executions: set[str]) -> int:
    """How many steps of these executions the runners have aborted, as they say."""
    count = 0
    for member in crew.members:
        lines = [json.loads(line) for line in member.log.splitlines() if '"result_discarded"' in line]
        count += sum(line["execution_id"] in executions for line in lines)
    return count


def test_cancelled_steps_are_aborted_in_time_and_nothing_follows_them(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    set_lease(db, lease_seconds=30, heartbeat_seconds=3)
    steps = [call("left", seconds="60"), call("right", seconds="60"), call("next", "left", "right")]
    stuck = import_workflow(db, tenant, {"name": "stuck", "steps": steps})
    parent = import_workflow(
        db,
        tenant,
        {
            "name": "parent",
            "steps": [{"id": "child", "type": "sub_workflow", "config": {"workflow": stuck, "input": "{{ input }}"}}],
        },
    )
    order = import_order(db, tenant)
    crew.start()
    crew.start()
    given = {"url": receiver.url, "n": 0}
    with Load(database, tenant, order, count=100, per_second=8, input={"url": receiver.url}) as load:
        ids = [start(database, tenant, parent if n % 2 else stuck, input=given) for n in range(STUCK)]
        sending = "select id::text from flowgres.executions where workflow_id = any(select id from flowgres.workflows"
        running = f"{sending} where name = 'stuck') and finished_at is null"
        wait_for(lambda: len(db.column(running)) == STUCK, what="the children")
        stuck_ids = set(db.column(running))
        expected = {f"{x}/{side}" for x in stuck_ids for side in ("left", "right")}
        wait_for(lambda: expected <= set(receiver.keys()), timeout_seconds=20, what="the requests")
        began = time.monotonic()
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            for execution_id in ids:
                member.call("flowgres_api.cancel_execution", execution_id=execution_id)
        wait_for(
            lambda: aborted_steps(crew, stuck_ids) >= 2 * STUCK,
            timeout_seconds=ABORTED_WITHIN_SECONDS,
            what="the end of the cancelled requests",
        )
        seconds = time.monotonic() - began
        wait_for(lambda: load.is_over, timeout_seconds=60, what="the last start")
    wait_for_drain(db, timeout_seconds=20)
    received = receiver.keys()
    assert {key for key in received if key.split("/")[0] in stuck_ids} == expected
    statuses = "select distinct status from flowgres.executions where id = any(%s::uuid[])"
    assert db.column(statuses, "{" + ",".join({*ids, *stuck_ids}) + "}") == ["cancelled"]
    done = "select count(*) from flowgres.step_executions where execution_id = any(%s::uuid[]) and status = 'completed'"
    assert db.value(done, "{" + ",".join(stuck_ids) + "}") == 0
    tell(f"{2 * STUCK} running requests aborted {seconds:.1f} s after the first of {STUCK} cancels")

    # The others never noticed.
    others = {key: count for key, count in received.items() if key.split("/")[0] not in stuck_ids}
    assert_nothing_lost(db, load.accepted, Counter(others))


def test_runner_whose_slots_were_all_cancelled_goes_on_and_ends_in_time(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    set_lease(db, lease_seconds=30, heartbeat_seconds=0.5)
    slow = import_workflow(db, tenant, {"name": "slow", "steps": [call("call", seconds="60")]})
    quick = import_workflow(db, tenant, {"name": "quick", "steps": [call("call", seconds="0")]})
    runner = crew.start(RUNNER_CONCURRENCY="3")
    given = {"url": receiver.url, "n": 0}
    ids = [start(database, tenant, slow, input=given) for _ in range(3)]
    wait_for(lambda: len(receiver.keys()) == len(ids), what="the requests")
    waiting = start(database, tenant, quick, input=given)
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        for execution_id in ids:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    status = "select status from flowgres.executions where id = %s"
    wait_for(lambda: db.value(status, waiting) == "completed", timeout_seconds=8, what="the step that found no slot")
    held = "select (stats ->> 'leased')::int from flowgres.runners where stopped_at is null"
    wait_for(lambda: db.value(held) == 0, timeout_seconds=5, what="a runner that holds nothing")
    runner.process.send_signal(signal.SIGTERM)
    wait_for(lambda: runner.process.return_code == 0, timeout_seconds=5, what="the end of the runner")
