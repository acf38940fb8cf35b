"""An event that more wait for than whoever tells of it looks at, and which of them it asks."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.database.test_waits_many import park_many
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed
from tests.support.waits import Waiters

LOOKED_AT = 1000
MANY = LOOKED_AT + 700


@pytest.fixture
def waiters(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Waiters:
    return Waiters(database, db, tenant, runner)


def emit(database: Database, tenant: Tenant, name: str = "paid", **arguments: Any) -> dict[str, Any]:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        told: dict[str, Any] = member.call("flowgres_api.emit_event", name=name, **arguments)
    return told


def test_what_is_left_of_an_event_is_followed_through_claims_that_die(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    park_many(database, db, tenant, runner, MANY)
    told = emit(database, tenant)
    assert (told["woken"], told["more"]) == (LOOKED_AT, True)
    assert db.value("select count(*) from flowgres.pending_wakes") == LOOKED_AT + 1
    # Those that begin to wait now are not meant, wherever the engine is with the others.
    clock.advance(seconds=1)
    late = Waiters(database, db, tenant, runner)
    with database.connect("runner") as dying, dying.connection.transaction(force_rollback=True):
        dying.call("flowgres.wake_pending", p_limit=5000)
    with database.connect("runner") as other, other.connection.transaction():
        # One follows while another has its notes: it finds none, and waits for nobody.
        other.call("flowgres.wake_pending", p_limit=5000)
        runner.db.run("set lock_timeout to '2s'")
        assert runner.db.call("flowgres.wake_pending", p_limit=5000) == 0
    ended = 0
    while leases := runner.claim(500):
        assert all(lease["resume"]["event"] == "paid" for lease in leases)
        ended += len(leases)
        runner.report([runner.result(lease, completed(1)) for lease in leases])
    assert ended == MANY
    (execution,) = late.start({"event": "paid"})
    assert late.output(execution) is None
    assert not db.value("select count(*) from flowgres.pending_wakes")
    assert_invariants(db, drained=False)


def test_who_begins_to_wait_while_an_event_is_followed_is_not_woken(
    waiters: Waiters, database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    park_many(database, db, tenant, runner, MANY)
    (other,) = waiters.start({"event": "other"})
    assert emit(database, tenant)["more"]
    clock.advance(seconds=1)
    # Before the claim that follows: as of a step that was running as the event was told.
    db.run(
        "insert into flowgres.waits select tenant_id, execution_id, queue_id, 2::smallint, token, kind, 'paid', address"
        ", takes_earlier, filter, match, null, flowgres.now() from flowgres.waits where name = 'other'"
    )
    ended = 0
    while leases := runner.claim(500):
        ended += len(leases)
        runner.report([runner.result(lease, completed(1)) for lease in leases])
    assert ended == MANY
    assert waiters.output(other) is None


def test_event_that_is_rolled_back_leaves_nothing(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    park_many(database, db, tenant, runner, 20)
    with database.as_role("member", tenant_id=tenant.tenant_id, commit=False) as member:
        member.call("flowgres_api.emit_event", name="paid")
    assert runner.claim(500) == []
    assert not db.value("select count(*) from flowgres.signals where kind = 'event'")


def test_event_asks_only_whose_member_it_has(waiters: Waiters, database: Database, db: Db, tenant: Tenant) -> None:
    ids = [waiters.start({"event": "paid", "match": {"status": "paid", "order": {"id": n}}})[0] for n in range(5)]
    (any_one,) = waiters.start({"event": "paid"})
    payload = {"order": {"id": 3.0, "sum": 7}, "status": "paid", "more": [1]}
    addresses = db.value(
        "select flowgres.list_event_addresses(%s, 'paid', %s, null)", tenant.tenant_id, json.dumps(payload)
    )
    assert len(addresses) == 2, "the one of the order, and that of who waits for any"
    told = emit(database, tenant, payload=payload)
    assert (told["woken"], told["more"]) == (2, False)
    waiters.work()
    assert [waiters.output(one) is not None for one in [*ids, any_one]] == [False, False, False, True, False, True]


def test_every_payload_that_contains_what_is_asked_for_reaches_its_mailbox(db: Db) -> None:
    dice = random.Random(7)

    def value(depth: int) -> Any:
        kind = dice.randrange(9 if depth < 7 else 6)
        if kind < 6:
            return [None, True, 1, 1.0, "a7", "1"][kind]
        if kind == 6:
            return [value(depth + 1) for _ in range(dice.randrange(3))]
        return {name: value(depth + 1) for name in dice.sample(["a", "b", 'c"', "d,e"], dice.randrange(3))}

    def part(whole: Any) -> Any:
        if isinstance(whole, dict):
            return {name: part(one) for name, one in whole.items() if dice.random() < 0.7}
        if whole is not True and whole in (1, 1.0):
            return dice.choice([1, 1.0])
        return whole

    reached = 0
    for _ in range(400):
        payload = {"a": value(1), "b": value(1), "k": value(1)}
        asked = part(payload)
        row = db.one(
            "select %(p)s::jsonb @> %(m)s::jsonb as contains, flowgres.event_address(null, %(m)s::jsonb) as address,"
            " array(select flowgres.member_address(path, value) from flowgres.list_members(%(p)s::jsonb)) as reached",
            p=payload,
            m=asked,
        )
        assert row["contains"]
        assert row["address"] == "" or row["address"] in row["reached"]
        reached += row["address"] != ""
    assert reached > 200


def test_no_more_events_are_taken_than_there_is_room_for(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    park_many(database, db, tenant, runner, 100)
    emit(database, tenant)
    db.run("delete from flowgres.pending_wakes")
    # As of sixty events that more wait for than can be looked at in one go.
    db.run(
        "insert into flowgres.pending_wakes (tenant_id, name, address, resume, requested_at)"
        " select s.tenant_id, s.name, '', jsonb_build_object('signal_id', s.id, 'until', flowgres.now(), 'after',"
        ' \'["-infinity", "00000000-0000-0000-0000-000000000000", 0, 0]\'::jsonb), flowgres.now()'
        " from flowgres.signals as s cross join generate_series(1, 60) where s.kind = 'event'"
    )
    notes = "select id from flowgres.pending_wakes where name is not null"
    first = set(db.column(notes))
    assert len(first) == 60
    runner.db.call("flowgres.wake_pending", p_limit=200)
    second = set(db.column(notes))
    assert len(first & second) == 40, "the others lie as they did"
    for _ in range(60):
        runner.db.call("flowgres.wake_pending", p_limit=200)
    assert db.column(notes) == []
    ended = 0
    while leases := runner.claim(500):
        ended += len(leases)
        runner.report([runner.result(lease, completed(1)) for lease in leases])
    assert ended == 100
