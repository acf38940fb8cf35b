"""Signals and events, and the steps that wait for them."""

from __future__ import annotations

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, get
from tests.support.waits import Waiters

GO = {"signal": "go"}
EIGHT_DAYS = 8 * 86_400


@pytest.fixture
def waiters(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Waiters:
    return Waiters(database, db, tenant, runner)


def test_signal_wakes_the_step_that_waits_for_it(waiters: Waiters) -> None:
    (execution,) = waiters.start(GO)
    assert waiters.send("go", {"n": 1}) == 1
    assert waiters.work() == ["hold", "after"]
    assert waiters.output(execution) == {"signal": "go", "payload": {"n": 1}}
    assert not waiters.db.value("select count(*) from flowgres.waits")


def test_signal_that_came_before_is_taken(waiters: Waiters) -> None:
    assert waiters.send("go", {"n": 1}) == 0
    (execution,) = waiters.start(GO)
    assert waiters.output(execution) == {"signal": "go", "payload": {"n": 1}}


def test_signal_that_came_before_counts_not_for_who_wants_new_ones(waiters: Waiters, clock: Clock) -> None:
    waiters.send("go", {"n": 1})
    clock.advance(seconds=1)
    (execution,) = waiters.start({**GO, "accept": "new"})
    assert waiters.output(execution) is None
    clock.advance(seconds=1)
    assert waiters.send("go", {"n": 2}) == 0, "one lies before it"
    waiters.work()
    assert waiters.output(execution) == {"signal": "go", "payload": {"n": 2}}


def test_one_signal_wakes_one_step_the_one_that_waits_longest(waiters: Waiters, clock: Clock) -> None:
    (first,) = waiters.start(GO)
    clock.advance(seconds=1)
    (second,) = waiters.start(GO)
    assert waiters.send("go", {"n": 1}) == 1
    waiters.work()
    assert [waiters.output(first) is None, waiters.output(second) is None] == [False, True]


def test_each_of_several_signals_has_its_step(waiters: Waiters) -> None:
    ids = waiters.start(GO, count=3)
    assert [waiters.send("go", {"n": n}) for n in range(4)] == [1, 1, 1, 0]
    waiters.work()
    assert sorted(output["payload"]["n"] for output in waiters.outputs(ids)) == [0, 1, 2]
    assert waiters.db.value("select payload from flowgres.signals where consumed_at is null") == {"n": 3}


def test_key_says_which_step_is_meant(waiters: Waiters) -> None:
    (seven,) = waiters.start({**GO, "key": 7})
    (eight,) = waiters.start({**GO, "key": "8"})
    (none,) = waiters.start(GO)
    assert [waiters.send("go", key="9"), waiters.send("go", {"k": 7}, key="7")] == [0, 1]
    waiters.work()
    assert waiters.outputs([seven, eight, none]) == [{"signal": "go", "key": "7", "payload": {"k": 7}}, None, None]


def test_signal_to_an_execution_reaches_its_steps_whatever_their_key(waiters: Waiters) -> None:
    first, second = waiters.start({**GO, "key": "7"}, count=2)
    assert waiters.send("go", {"to": 2}, execution_id=second) == 1
    waiters.work()
    assert waiters.outputs([first, second]) == [None, {"signal": "go", "payload": {"to": 2}}]


def test_signal_to_an_execution_may_come_before_its_step_waits(waiters: Waiters) -> None:
    waiters.configs["later"] = [GO]
    (blocked,) = waiters.start({"signal": "first"})
    waiters.send("go", {"n": 1}, execution_id=blocked)
    assert waiters.work() == []
    assert waiters.db.value("select consumed_by from flowgres.signals") is None


def test_first_of_several_ends_the_step(waiters: Waiters) -> None:
    (execution,) = waiters.start(GO, {"signal": "stop", "key": "7"}, {"event": "order.lost"})
    waiters.send("stop", {"why": "x"}, key="7")
    waiters.send("go")
    waiters.work()
    assert waiters.output(execution) == {"signal": "stop", "key": "7", "payload": {"why": "x"}, "index": 1}
    assert waiters.db.value("select count(*) from flowgres.signals where consumed_at is null") == 1


def test_event_wakes_all_that_wait_for_it(waiters: Waiters) -> None:
    ids = waiters.start({"event": "order.paid"}, count=3)
    waiters.start({"event": "order.lost"})
    assert waiters.emit("order.paid", {"n": 1}) == 3
    waiters.work()
    assert waiters.outputs(ids) == [{"event": "order.paid", "payload": {"n": 1}}] * 3


def test_event_that_came_before_wakes_nobody(waiters: Waiters) -> None:
    waiters.emit("order.paid")
    (execution,) = waiters.start({"event": "order.paid"})
    assert waiters.output(execution) is None
    assert not waiters.db.value("select count(*) from flowgres.signals"), "nobody waited, so nothing is kept"


@pytest.mark.parametrize(
    ("awaited", "woken"),
    [
        ({"when": "$.total > 100"}, True),
        ({"when": "$.total > 1000"}, False),
        ({"match": {"order": {"id": 7}}}, True),
        ({"match": {"order": {"id": 8}}}, False),
        ({"key": "a"}, True),
        ({"key": "b"}, False),
    ],
)
def test_event_wakes_whom_it_fits(waiters: Waiters, awaited: dict[str, object], woken: bool) -> None:
    waiters.start({"event": "order.paid", **awaited})
    payload = {"order": {"id": 7, "by": "me"}, "total": 500}
    assert waiters.emit("order.paid", payload, key="a") == int(woken)
    assert waiters.work() == (["hold", "after"] if woken else [])


def test_same_idempotency_key_sends_once_and_answers_alike(waiters: Waiters) -> None:
    ids = waiters.start(GO, count=2)
    sent = [waiters.send("go", {"n": 1}, idempotency_key="k") for _ in range(3)]
    waiters.work()
    assert (sent, sum(output is not None for output in waiters.outputs(ids))) == ([1, 1, 1], 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"name": "Go"}, "signal_name_invalid"),
        ({"name": "go", "key": ""}, "signal_key_invalid"),
        ({"name": "go", "key": "a\n"}, "signal_key_invalid"),
        ({"name": "go", "idempotency_key": ""}, "idempotency_key_invalid"),
        ({"name": "go", "execution_id": "01a00000-0000-7000-8000-000000000001"}, "execution_not_found"),
        ({"name": "go", "key": "1", "execution_id": "01a00000-0000-7000-8000-000000000001"}, "conflicting_arguments"),
        ({"name": "go", "idempotency_key": "k", "payload": {"n": 2}}, "idempotency_key_reused"),
        ({"name": "go", "payload": {"x": "x" * 1_100_000}}, "payload_too_large"),
    ],
)
def test_signal_that_is_none_is_refused(waiters: Waiters, arguments: dict[str, object], code: str) -> None:
    waiters.send("go", {"n": 1}, idempotency_key="k")
    with pytest.raises(Exception, match=r".") as refused:
        waiters.send(**arguments)  # type: ignore[arg-type]  # a row of the table above
    assert f'"{code}"' in str(refused.value)


def test_signal_to_an_execution_that_has_ended_is_refused(waiters: Waiters) -> None:
    (execution,) = waiters.start(GO)
    waiters.send("go")
    waiters.work()
    with pytest.raises(Exception, match="has ended: completed"):
        waiters.send("go", execution_id=execution)


def test_signal_that_ended_its_execution_is_answered_alike_when_it_is_sent_again(waiters: Waiters) -> None:
    (execution,) = waiters.start(GO)
    sent = waiters.send("go", execution_id=execution, idempotency_key="k")
    waiters.work()
    waiters.db.run("update flowgres.settings set value = '0' where name = 'max_signals'")
    assert waiters.send("go", execution_id=execution, idempotency_key="k") == sent == 1
    with pytest.raises(Exception, match="0 signals lie here"):
        waiters.send("go", idempotency_key="other")


def test_new_signal_is_found_behind_many_that_came_before(waiters: Waiters, clock: Clock) -> None:
    for number in range(101):
        waiters.send("go", {"n": number})
    clock.advance(seconds=1)
    (execution,) = waiters.start({**GO, "accept": "new"})
    assert not waiters.db.value("select count(*) from flowgres.pending_wakes"), (
        "what does not fit is not looked for again"
    )
    clock.advance(seconds=1)
    waiters.send("go", {"n": "new"})
    waiters.work()
    assert waiters.output(execution) == {"signal": "go", "payload": {"n": "new"}}


@pytest.mark.parametrize("key", ["", "a\n", "x" * 256, "\U0001f600" * 1000])
def test_step_that_waits_with_a_key_that_nobody_can_send_fails(waiters: Waiters, key: str) -> None:
    (execution,) = waiters.start({**GO, "key": "{{ input.key }}"}, rendered={**GO, "key": key})
    (ended,) = waiters.start(GO)
    waiters.send("go")
    waiters.work()
    assert waiters.output(ended) == {"signal": "go", "payload": {}}
    error = waiters.db.value("select error ->> 'code' from flowgres.executions where id = %s", execution)
    assert error == "config_invalid"


def test_lock_that_somebody_holds_keeps_no_signal_back(waiters: Waiters, database: Database) -> None:
    (execution,) = waiters.start(GO)
    with database.connect("sql") as other:
        for key in other.column("select distinct objid::bigint from pg_locks where locktype = 'advisory'"):
            other.value("select pg_try_advisory_lock(%s)", key)
        waiters.send("go")
        waiters.work()
    assert waiters.output(execution) == {"signal": "go", "payload": {}}


def test_tenant_has_room_for_so_many_signals(waiters: Waiters) -> None:
    waiters.db.run("update flowgres.settings set value = '2' where name = 'max_signals'")
    assert [waiters.send("go"), waiters.send("go", key="1")] == [0, 0]
    with pytest.raises(Exception, match="2 signals lie here"):
        waiters.send("stop")
    waiters.start(GO)
    assert waiters.send("stop") == 0


def test_signal_that_nobody_takes_is_gone_after_a_week(waiters: Waiters, clock: Clock) -> None:
    waiters.send("go")
    clock.advance(seconds=7 * 86_400 + 1)
    (execution,) = waiters.start(GO)
    assert waiters.output(execution) is None
    assert waiters.db.call("flowgres.prune", p_limit=100) >= 1
    assert not waiters.db.value("select count(*) from flowgres.signals")


def test_cancelled_execution_waits_for_nothing(waiters: Waiters) -> None:
    (execution,) = waiters.start(GO)
    with waiters.database.as_role("member", tenant_id=waiters.tenant.tenant_id) as member:
        member.call("flowgres_api.cancel_execution", execution_id=execution)
    assert not waiters.db.value("select count(*) from flowgres.waits")
    assert waiters.send("go") == 0


def test_step_whose_time_is_over_takes_no_signal(waiters: Waiters, clock: Clock) -> None:
    (execution,) = waiters.start(GO, timeout="1h", on_error="continue")
    clock.advance(seconds=3601)
    assert waiters.work() == ["hold", "after"]
    assert get(waiters.database, waiters.tenant, execution)["steps"]["hold"]["error"]["code"] == "timeout"
    assert waiters.send("go") == 0
    assert not waiters.db.value("select count(*) from flowgres.waits")


def test_two_tenants_hear_nothing_of_each_other(waiters: Waiters, database: Database) -> None:
    (execution,) = waiters.start(GO)
    other = database.make_tenant("Other")
    with database.as_role("member", tenant_id=other.tenant_id) as member:
        assert member.call("flowgres_api.send_signal", name="go") == 0
        assert member.call("flowgres_api.emit_event", name="go")["woken"] == 0
        with pytest.raises(Exception, match="does not exist"):
            member.call("flowgres_api.send_signal", name="go", execution_id=execution)
    assert waiters.work() == []
    with database.as_role("viewer", tenant_id=waiters.tenant.tenant_id) as viewer:
        assert viewer.all("select * from flowgres_api.signals") == []
