"""Signals, events and waits at once: none is missed, none is taken twice, and nobody waits for anybody."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, get, start
from tests.support.waits import Waiters

GO = {"signal": "go"}
LATER = "set lock_timeout to '2s'"


@pytest.fixture
def waiters(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Waiters:
    return Waiters(database, db, tenant, runner)


@contextmanager
def held(database: Database, query: str, *, is_kept: bool = False) -> Iterator[Db]:
    """Somebody who has done this and has not ended its transaction yet."""
    with database.connect() as db, db.connection.transaction(force_rollback=not is_kept):
        db.run(query)
        yield db


def begin(waiters: Waiters) -> str:
    """One more execution of the first workflow, which no runner has seen."""
    return start(waiters.database, waiters.tenant, "w0")


def send(db: Db, name: str = "go", **arguments: object) -> int:
    return int(db.call("flowgres_api.send_signal", name=name, **arguments))


def lying(waiters: Waiters) -> int:
    """How many signals nobody has taken."""
    return int(waiters.db.value("select count(*) from flowgres.signals where consumed_at is null"))


def test_step_that_begins_to_wait_while_a_signal_is_sent_gets_it(
    waiters: Waiters, database: Database, tenant: Tenant
) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as sender:
        sender.run(LATER)
        assert send(sender, payload={"n": 1}) == 0
        (execution,) = waiters.start(GO)
        assert waiters.output(execution) is None
    assert waiters.work() == ["hold", "after"]
    assert waiters.output(execution) == {"signal": "go", "payload": {"n": 1}}


def test_signal_that_is_sent_while_a_step_begins_to_wait_reaches_it(waiters: Waiters, database: Database) -> None:
    waiters.start(GO)
    waiters.send("go")
    waiters.work()
    execution = begin(waiters)
    with database.connect("runner") as db:
        slow = Hands(db)
        with db.connection.transaction():
            (lease,) = slow.claim()
            slow.report([slow.result(lease, waiters.decide(lease, "hold"))], want=1)
            # It commits, and the claim that comes next leaves it to the one after.
            assert waiters.send("go", {"n": 2}) == 0
            assert waiters.work() == []
    assert waiters.work() == ["hold", "after"]
    assert waiters.output(execution) == {"signal": "go", "payload": {"n": 2}}


def test_two_senders_and_one_step_wait_for_nobody(waiters: Waiters, database: Database, tenant: Tenant) -> None:
    (execution,) = waiters.start(GO)
    member = database.as_role("member", tenant_id=tenant.tenant_id)
    with member as first, database.as_role("member", tenant_id=tenant.tenant_id) as second:
        first.run(LATER)
        second.run(LATER)
        assert [send(first), send(second)] == [1, 1], "neither sees the other"
    assert waiters.work() == ["hold", "after"]
    assert waiters.output(execution) is not None
    assert lying(waiters) == 1


def test_signal_that_is_sent_as_the_time_runs_out_is_not_lost(
    waiters: Waiters, database: Database, tenant: Tenant, clock: Clock
) -> None:
    (execution,) = waiters.start(GO, timeout="1h", on_error="continue")
    with database.as_role("member", tenant_id=tenant.tenant_id) as sender:
        assert send(sender) == 1
        clock.advance(seconds=3601)
        assert waiters.work() == ["hold", "after"]
    assert get(database, tenant, execution)["steps"]["hold"]["error"]["code"] == "timeout"
    assert (waiters.work(), lying(waiters)) == ([], 1)
    (other,) = waiters.start(GO)
    assert waiters.output(other) is not None


@pytest.mark.parametrize("is_kept", [True, False], ids=["the cancel commits", "the cancel rolls back"])
def test_signal_beside_a_cancel_waits_for_nobody(
    waiters: Waiters, database: Database, tenant: Tenant, is_kept: bool
) -> None:
    (execution,) = waiters.start(GO)
    with database.as_role("member", tenant_id=tenant.tenant_id, commit=is_kept) as canceller:
        canceller.call("flowgres_api.cancel_execution", execution_id=execution)
        waiters.send("go")
        assert waiters.work() == [], "and the claim does not wait either"
    assert waiters.work() == ([] if is_kept else ["hold", "after"])
    assert lying(waiters) == int(is_kept)


def test_sender_does_not_wait_for_an_execution_that_somebody_holds(waiters: Waiters, database: Database) -> None:
    (execution,) = waiters.start(GO)
    query = "select from flowgres.executions, flowgres.work_queue for update"
    with held(database, query):
        assert waiters.send("go", execution_id=execution) == 1
        assert waiters.emit("order.paid") == 0
        assert waiters.work() == []
    assert waiters.work() == ["hold", "after"]


def test_two_events_for_one_step_wake_it_once(waiters: Waiters, database: Database, tenant: Tenant) -> None:
    (execution,) = waiters.start({"event": "paid"})
    member = database.as_role("member", tenant_id=tenant.tenant_id)
    with member as first, database.as_role("member", tenant_id=tenant.tenant_id) as second:
        told = [
            db.call("flowgres_api.emit_event", name="paid", payload={"n": n}) for n, db in enumerate((first, second))
        ]
        assert [answer["woken"] for answer in told] == [1, 1]
    assert waiters.work() == ["hold", "after"]
    assert waiters.output(execution) == {"event": "paid", "payload": {"n": 0}}
    assert not waiters.db.value("select count(*) from flowgres.pending_wakes")


@pytest.mark.parametrize("seed", range(2))
def test_whatever_four_do_at_once_every_signal_is_taken_once(
    waiters: Waiters, database: Database, tenant: Tenant, seed: int
) -> None:
    keys = ("1", "2", None)
    for key in keys:
        waiters.start(GO if key is None else {**GO, "key": key}, GO if key is None else {"signal": "stop"})

    def act(number: int) -> int:
        dice, sent = random.Random(f"{seed}/{number}"), 0
        with database.connect("runner") as db, ExitStack() as open_calls:
            db.run(LATER)
            hands = Hands(db)
            for _ in range(15):
                what = dice.random()
                if what < 0.4:
                    hands.work(waiters.decide)
                elif what < 0.6:
                    start(database, tenant, f"w{dice.randrange(3)}")
                else:
                    key = dice.choice(keys)
                    with ExitStack() as call:
                        member = call.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
                        member.run(LATER)
                        send(member, **({} if key is None else {"key": key}))
                        sent += 1
                        if dice.random() < 0.4:
                            # It commits when this one has done all else.
                            open_calls.enter_context(call.pop_all())
        return sent

    with ThreadPoolExecutor(4) as pool:
        try:
            sent = sum(pool.map(act, range(4)))
        except psycopg.Error as error:
            pytest.fail(f"somebody was in somebody's way: {error}")
    waiters.work()
    waiters.work()
    taken = waiters.db.value("select count(*) from flowgres.signals where consumed_at is not null")
    ended = waiters.db.value("select count(*) from flowgres.executions where status = 'completed'")
    assert (taken + lying(waiters), taken) == (sent, ended)
    assert_invariants(waiters.db, drained=False)
