"""Two who touch one instance or one entity at once, in an order that the test decides; and two hundred without one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.support.database import Db
from tests.support.machines import Machines, machine
from tests.support.races import Run, refusal_code, rivals

ORDER = machine(
    "new>paid", "new>refused", "paid>shipped", "shipped>new", "*>cancelled", final="refused shipped cancelled"
)
CALLERS = 20


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def lanes(machines: Machines) -> Iterator[Callable[[], Db]]:
    """`lanes()` is one more connection of the tenant."""
    machines.add(ORDER)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(machines.author.connect())


@pytest.mark.parametrize("is_kept", [True, False], ids=["first commits", "first rolls back"])
def test_second_transition_waits_and_is_judged_by_what_the_first_left(
    machines: Machines, lanes: Callable[[], Db], run: Run, is_kept: bool
) -> None:
    instance = machines.start()
    first, second = lanes(), lanes()
    with first.connection.transaction(force_rollback=not is_kept):
        machines.move(instance, "paid", first)
        rival = run(second, lambda: machines.move(instance, "refused", second))
        assert rival.run_until_blocked()
    if is_kept:
        error = rival.refusal()
        assert error is not None
        assert refusal_code(error) == "transition_not_allowed"
        assert json.loads(error.diag.message_detail or "")["current_state"] == "paid"
    else:
        assert rival.answer() is True
    assert machines.row(instance)["current_state"] == ("paid" if is_kept else "refused")
    assert machines.db.call("flowgres_api.verify_history", instance_id=instance)["valid"] is True


def test_second_transition_leaves_the_state_that_the_first_led_to(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    # It had found the way from the state before, and that one is gone.
    instance = machines.start()
    first, second = lanes(), lanes()
    with first.connection.transaction():
        machines.move(instance, "paid", first)
        rival = run(second, lambda: machines.move(instance, "cancelled", second))
        assert rival.run_until_blocked()
    assert rival.answer() is True
    told = [(row["from_state"], row["to_state"]) for row in machines.history(instance)]
    assert told == [(None, "new"), ("new", "paid"), ("paid", "cancelled")]
    assert machines.db.call("flowgres_api.verify_history", instance_id=instance)["valid"] is True


def test_refused_transition_waits_for_nobody(machines: Machines, lanes: Callable[[], Db]) -> None:
    instance = machines.start()
    first, second = lanes(), lanes()
    second.run("set lock_timeout = '1ms'")
    with first.connection.transaction():
        machines.move(instance, "paid", first)
        # What the first one leaves is not true yet.
        with pytest.raises(psycopg.Error) as error:
            machines.move(instance, "shipped", second)
    assert refusal_code(error.value) == "transition_not_allowed"
    assert json.loads(error.value.diag.message_detail or "")["current_state"] == "new"


@pytest.mark.parametrize("is_kept", [True, False], ids=["first commits", "first rolls back"])
def test_second_start_waits_and_finds_the_first(
    machines: Machines, lanes: Callable[[], Db], run: Run, is_kept: bool
) -> None:
    first, second = lanes(), lanes()
    with first.connection.transaction(force_rollback=not is_kept):
        instance = machines.start(db=first)
        rival = run(second, lambda: machines.start(db=second))
        assert rival.run_until_blocked()
    if is_kept:
        error = rival.refusal()
        assert error is not None
        assert refusal_code(error) == "instance_exists"
        assert json.loads(error.diag.message_detail or "") == {"instance_id": instance}
    else:
        assert rival.answer() != instance
    assert machines.db.value("select count(*) from flowgres_api.entity_workflows where status = 'active'") == 1


def test_start_and_opening_again_make_one_active_instance(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    old = machines.start()
    machines.move(old, "paid")
    machines.move(old, "shipped")
    first, second = lanes(), lanes()
    with first.connection.transaction():
        new = machines.start(db=first)
        rival = run(second, lambda: machines.move(old, "new", second))
        assert rival.run_until_blocked()
    error = rival.refusal()
    assert error is not None
    assert refusal_code(error) == "instance_exists"
    assert json.loads(error.diag.message_detail or "") == {"instance_id": new}


def test_bulk_calls_in_opposite_orders_do_not_wait_in_a_circle(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    instances = sorted(machines.start(str(number)) for number in range(20))
    holder, first, second = lanes(), lanes(), lanes()
    query = "select flowgres_api.execute_transitions(%s::uuid[], %s, on_error => 'report')"

    def many(db: Db, ids: list[str], to: str) -> Any:
        return db.value(query, "{" + ",".join(ids) + "}", to)

    with holder.connection.transaction():
        holder.run("select from flowgres.instances where id = %s for no key update", instances[10])
        forwards = run(first, lambda: many(first, instances, "paid"))
        assert forwards.run_until_blocked()
        backwards = run(second, lambda: many(second, instances[::-1], "refused"))
        assert backwards.run_until_blocked()
    assert (forwards.answer()["moved"], backwards.answer()["refused"]) == (20, 20)
    assert machines.db.column("select distinct current_state from flowgres_api.entity_workflows") == ["paid"]


def reopen(db: Db, instances: list[str]) -> Any:
    query = "select flowgres_api.execute_transitions(%s::uuid[], 'new', on_error => 'report')"
    return db.value(query, "{" + ",".join(instances) + "}")


def start_many(db: Db, entities: Sequence[int]) -> Any:
    listed = [{"entity_table": "orders", "entity_id": f"{number:02}"} for number in entities]
    query = "select flowgres_api.start_workflows('m', %s, on_error => 'report')"
    return db.value(query, json.dumps(listed))


def ship_all(db: Db) -> list[str]:
    """Complete what is active; returns the last completed instance of each entity, the last entity first."""
    for state in ("paid", "shipped"):
        db.run(
            "select flowgres_api.execute_transitions(array_agg(id), %s, on_error => 'report')"
            " from flowgres_api.entity_workflows where status = 'active'",
            state,
        )
    return db.column(
        "select distinct on (entity_id) id::text from flowgres_api.entity_workflows"
        " order by entity_id desc, started_at desc"
    )


def test_bulk_opening_and_bulk_start_do_not_wait_in_a_circle(
    machines: Machines, lanes: Callable[[], Db], run: Run
) -> None:
    # So that a statement in the order of ids, or of what it was given, meets the last entity first.
    start_many(machines.db, range(10)[::-1])
    old = ship_all(machines.db)
    holder, first, second = lanes(), lanes(), lanes()
    with holder.connection.transaction(force_rollback=True):
        machines.start("05", db=holder)
        opening = run(first, lambda: reopen(first, old))
        assert opening.run_until_blocked()
        starting = run(second, lambda: start_many(second, range(10)))
        assert starting.run_until_blocked()
    assert (opening.answer()["moved"], starting.answer()["refused"]) == (10, 10)


@pytest.mark.slow
def test_any_bulk_openings_and_starts_at_once_end(machines: Machines, lanes: Callable[[], Db]) -> None:
    entities = range(50)
    start_many(machines.db, entities)
    draw = random.Random(28)
    callers = [lanes() for _ in range(4)]
    with ThreadPoolExecutor(len(callers)) as pool:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            old = ship_all(machines.db)
            orders = [draw.sample(old, len(old)), draw.sample(old, len(old))]
            lists = [draw.sample(entities, len(entities)), draw.sample(entities, len(entities))]
            opened = [pool.submit(reopen, db, order) for db, order in zip(callers[:2], orders, strict=True)]
            started = [pool.submit(start_many, db, listed) for db, listed in zip(callers[2:], lists, strict=True)]
            made = sum(one.result()["moved"] for one in opened) + sum(one.result()["started"] for one in started)
            assert made == len(entities)
    assert machines.db.call("flowgres_api.verify_history")["valid"] is True


def test_of_many_callers_one_wins_each_state(machines: Machines, lanes: Callable[[], Db]) -> None:
    instance = machines.start()
    callers = [lanes() for _ in range(CALLERS)]

    def attempt(db: Db, to: str) -> str:
        try:
            return "won" if machines.move(instance, to, db) is True else "odd"
        except psycopg.Error as error:
            return refusal_code(error)

    with ThreadPoolExecutor(CALLERS) as pool:
        for state in ("paid", "shipped"):
            outcomes = list(pool.map(lambda db, to=state: attempt(db, to), callers))
            assert sorted(outcomes) == ["transition_not_allowed"] * (CALLERS - 1) + ["won"]
    assert [row["to_state"] for row in machines.history(instance)] == ["new", "paid", "shipped"]
