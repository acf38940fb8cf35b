"""Ten thousand steps that wait: what they cost those who do not."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, import_workflow
from tests.support.floors import buffers_of_look

MANY = 10_000
AT_ONCE = 500


def park_many(database: Database, db: Db, tenant: Tenant, runner: Hands, count: int = MANY) -> None:
    """So many executions that wait for an event and for a signal with a key of their own."""
    awaited = {"first_of": [{"signal": "go", "key": "{{ input.n }}"}, {"event": "paid"}]}
    import_workflow(db, tenant, dag("many", [{"id": "hold", "type": "wait", "config": awaited}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        inputs = [{"n": n} for n in range(count)]
        member.call("flowgres_api.start_executions", workflow="many", inputs=inputs)
    parked = 0
    while leases := runner.claim(AT_ONCE):
        runner.report([
            runner.result(lease, {"o": "park", "waits": "wait", "input": {"for": [
                {"signal": "go", "key": str(parked + place), "index": 0}, {"event": "paid", "index": 1}]}})
            for place, lease in enumerate(leases)
        ])  # fmt: skip
        parked += len(leases)
    while db.value("select count(*) from flowgres.pending_wakes"):
        runner.claim(0)
    assert db.value("select count(*) from flowgres.work_queue where waits_for is not null") == parked == count


@pytest.mark.slow
def test_ten_thousand_waits_cost_a_claim_nothing_and_one_event_wakes_them_all(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    idle = buffers_of_look(runner)
    park_many(database, db, tenant, runner)
    # What 10,000 claims and notes left behind is nothing that waits.
    db.run("vacuum analyze flowgres.work_queue, flowgres.waits, flowgres.pending_wakes")
    assert buffers_of_look(runner) <= idle

    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.send_signal", name="go", key="0")
        began = time.monotonic()
        assert member.call("flowgres_api.send_signal", name="go", key="7777") == 1
        sent = time.monotonic() - began
        began = time.monotonic()
        told = member.call("flowgres_api.emit_event", name="paid")
        emitted = time.monotonic() - began
    assert (told["woken"], told["more"]) == (1000, True), "and the claims wake the others"
    ended, began = 0, time.monotonic()
    while leases := runner.claim(AT_ONCE):
        ended += len(leases)
        runner.report([runner.result(lease, completed(1)) for lease in leases])
    print(
        f"send {sent * 1000:.1f} ms, emit to {MANY:,} {emitted:.2f} s, all ended {time.monotonic() - began:.1f} s later"
    )
    assert ended == MANY
    assert not db.value("select count(*) from flowgres.waits")


def test_room_for_a_signal_is_looked_for_among_what_lies_there_of_the_tenant(
    database: Database, db: Db, tenant: Tenant
) -> None:
    other = database.make_tenant("Other")
    fill = (
        "insert into flowgres.signals (tenant_id, id, kind, name, address, payload, received_at, expires_at,"
        " consumed_at, consumed_by)"
        " select %s, gen_random_uuid(), 'signal', 'go', '', '{}', now(), now() + interval '1h',"
        " case when n > %s then now() end, case when n > %s then gen_random_uuid() end"
        " from generate_series(1, 5000) as n"
    )
    db.run(fill, other.tenant_id, 5000, 5000)
    db.run(fill, tenant.tenant_id, 50, 50)
    db.run("vacuum analyze flowgres.signals")
    query = "explain (analyze, buffers, costs off, timing off, summary off) select flowgres.check_signal_room(%s)"
    plans = [db.all(query, tenant.tenant_id) for _ in range(7)]
    (buffers,) = re.findall(r"Buffers: shared hit=(\d+)", "\n".join(row["QUERY PLAN"] for row in plans[-1][:2]))
    assert int(buffers) < 100, plans[-1]


def test_sender_looks_at_one_entry(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    park_many(database, db, tenant, runner, 300)
    db.run("analyze flowgres.work_queue, flowgres.waits")
    query = (
        "explain (analyze, buffers, costs off, timing off, summary off)"
        " select flowgres.count_waits(p_tenant_id => %s, p_name => 'go', p_address => 'k:7',"
        " p_most => 1)"
    )
    plans = [db.all(query, tenant.tenant_id) for _ in range(3)]
    (buffers,) = re.findall(r"Buffers: shared hit=(\d+)", "\n".join(row["QUERY PLAN"] for row in plans[-1][:2]))
    assert int(buffers) < 20, plans[-1]
