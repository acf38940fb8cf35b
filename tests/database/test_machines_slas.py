"""The sla of a state: it moves an instance on once, whoever looks, and only in the visit that it began with."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Row
from tests.support.definitions import Author
from tests.support.engine import Hands
from tests.support.floors import buffers_of_look
from tests.support.machines import WORK, Machines, machine, store_machine, way

NOON = "2026-06-01T12:00:00Z"


def timed(*ways: str, final: str = "late", **slas: float) -> dict[str, Any]:
    """A machine whose states move on to `late` after so many seconds."""
    definition = machine(*ways, final=final)
    for state in definition["states"]:
        if state["name"] in slas:
            state["sla"] = {"after": slas[state["name"]], "to": "late"}
    return definition


def fire(db: Db, limit: int = 100) -> Row:
    """Move on what is due, as a runner does."""
    return db.one("select * from flowgres.fire_slas(%s)", limit)


def states(machines: Machines) -> list[str]:
    """Where all instances stand."""
    return machines.db.column("select current_state from flowgres_api.entity_workflows order by entity_id")


@pytest.fixture
def waiting(machines: Machines, clock: Clock) -> str:
    """An instance in `new`, which may stay there for a minute."""
    clock.set(NOON)
    machines.add(timed("new>paid", "paid>new", "*>late", new=60))
    return machines.start()


def test_instance_moves_on_when_its_time_is_over_and_the_history_says_why(
    machines: Machines, waiting: str, clock: Clock
) -> None:
    clock.advance(seconds=30)
    early = fire(machines.db)
    assert (early["p_picked"], early["p_moved"]) == (0, 0)
    assert 15 <= early["p_next_seconds"] <= 30
    clock.advance(seconds=31)
    assert fire(machines.db) == {"p_picked": 1, "p_moved": 1, "p_next_seconds": None}
    row = machines.row(waiting)
    assert (row["current_state"], row["status"], row["due_at"]) == ("late", "completed", None)
    told = machines.history(waiting)[-1]
    assert (told["actor"], told["executed_by"], told["transition_name"]) == ("sla:new", "system", "any_to_late")
    assert told["metadata"] == {"action": "sla", "after": 60}
    assert machines.db.call("flowgres_api.verify_history", instance_id=waiting)["valid"] is True
    assert fire(machines.db)["p_picked"] == 0


def test_leaving_ends_the_timer_and_coming_again_begins_another(machines: Machines, waiting: str, clock: Clock) -> None:
    clock.advance(seconds=50)
    machines.move(waiting, "paid")
    assert machines.row(waiting)["due_at"] is None
    machines.move(waiting, "new")
    clock.advance(seconds=50)
    assert fire(machines.db)["p_picked"] == 0
    clock.advance(seconds=11)
    assert fire(machines.db)["p_moved"] == 1


def test_state_may_lead_to_one_with_a_time_of_its_own(machines: Machines, clock: Clock) -> None:
    clock.set(NOON)
    definition = timed("new>late", "late>end", final="end", new=60)
    definition["states"][1]["sla"] = {"after": 60, "to": "end"}
    machines.add(definition)
    machines.start()
    for state in ("new", "late", "end"):
        assert states(machines) == [state]
        clock.advance(seconds=61)
        fire(machines.db)


def test_sla_needs_no_role(machines: Machines, clock: Clock) -> None:
    ways = [way("new", "late", roles=["manager"], required=["reason"])]
    machines.add(timed("new>late", new=1) | {"transitions": ways})
    machines.start(metadata={"reason": "none"})
    clock.advance(seconds=2)
    assert fire(machines.db)["p_moved"] == 1


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"guard": "$.metadata.amount > 10"}, "transition_guard_refused"),
        ({"required": ["reason"]}, "transition_fields_missing"),
        (None, "transition_not_allowed"),
    ],
)
def test_refused_sla_is_told_once(machines: Machines, clock: Clock, rule: dict[str, Any] | None, code: str) -> None:
    ways = [way("new", "late", **rule)] if rule else [way("new", "paid")]
    machines.add(timed("new>late", "new>paid", new=1) | {"transitions": ways})
    refused = machines.start("1")
    moving = machines.start("2", metadata={"amount": 11, "reason": "x"})
    clock.advance(seconds=2)
    for _ in range(3):
        fire(machines.db)
    assert machines.row(refused)["current_state"] == "new"
    assert machines.row(refused)["due_at"] is None
    assert machines.row(moving)["current_state"] == ("late" if rule else "new")
    told = [refusal for refusal in machines.refusals() if refusal["subject"] == refused]
    assert [(refusal["actor"], refusal["details"]["code"]) for refusal in told] == [("sla:new", code)]


def test_sla_whose_start_is_refused_is_tried_again_later_and_later(machines: Machines, clock: Clock) -> None:
    definition = timed("new>late", new=60)
    definition["transitions"][0]["start"] = {"workflow": "work", "input": {}}
    machines.add(definition)
    instance = machines.start()
    clock.advance(seconds=90)
    assert fire(machines.db)["p_moved"] == 0
    waits = []
    for _ in range(3):
        wait = (machines.row(instance)["due_at"] - clock.now()).total_seconds()
        waits.append(wait)
        clock.advance(seconds=wait + 1)
        assert fire(machines.db)["p_moved"] == 0
    # As long again as it is overdue, and a minute at least; the clock goes on meanwhile.
    assert waits == pytest.approx([60, 90, 180], abs=30)
    machines.author.import_(WORK)
    clock.advance(seconds=1000)
    assert fire(machines.db)["p_moved"] == 1
    assert machines.row(instance)["current_state"] == "late"


def test_guard_sees_that_it_is_the_sla(machines: Machines, clock: Clock) -> None:
    ways = [way("new", "late", guard='$.data.action == "sla"')]
    machines.add(timed("new>late", new=1) | {"transitions": ways})
    instance = machines.start()
    with pytest.raises(psycopg.Error, match="guard"):
        machines.move(instance, "late")
    clock.advance(seconds=2)
    assert fire(machines.db)["p_moved"] == 1


def test_transition_by_hand_and_sla_at_once_make_one_move(
    machines: Machines, waiting: str, clock: Clock, database: Database
) -> None:
    clock.advance(seconds=61)
    with machines.author.connect() as hand, database.connect("runner") as runner:
        with hand.connection.transaction():
            machines.move(waiting, "paid", hand)
            # Who looks meanwhile waits for nobody.
            assert fire(runner)["p_picked"] == 0
        assert fire(runner)["p_picked"] == 0
    assert [row["to_state"] for row in machines.history(waiting)] == ["new", "paid"]


def test_hand_that_comes_second_is_told_where_it_stands(
    machines: Machines, waiting: str, clock: Clock, database: Database
) -> None:
    clock.advance(seconds=61)
    with machines.author.connect() as hand, database.connect("runner") as runner, ThreadPoolExecutor(1) as pool:
        with runner.connection.transaction():
            assert fire(runner)["p_moved"] == 1
            moved = pool.submit(machines.move, waiting, "paid", hand)
        with pytest.raises(psycopg.Error) as refused:
            moved.result(timeout=20)
    assert refused.value.diag.constraint_name == "transition_not_allowed"


def test_who_dies_between_has_moved_nothing(machines: Machines, waiting: str, clock: Clock, database: Database) -> None:
    clock.advance(seconds=61)
    with database.connect("runner") as dying:
        dying.connection.autocommit = False
        assert fire(dying)["p_moved"] == 1
        machines.db.run("select pg_terminate_backend(%s, 20000)", dying.connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            dying.connection.commit()
    assert states(machines) == ["new"]
    assert fire(machines.db)["p_moved"] == 1


def test_five_schedulers_move_each_instance_once(machines: Machines, clock: Clock, database: Database) -> None:
    clock.set(NOON)
    machines.add(timed("new>paid", "*>late", new=60))
    count = 500
    entities = [{"entity_table": "orders", "entity_id": str(number)} for number in range(count)]
    machines.db.call("flowgres_api.start_workflows", workflow="m", entities=entities)
    clock.advance(seconds=61)

    def work(db: Db) -> int:
        moved, empty = 0, 0
        while empty < 3:
            fired = fire(db, 20)
            moved += fired["p_moved"]
            empty = empty + 1 if fired["p_picked"] == 0 else 0
        return moved

    with ExitStack() as stack, ThreadPoolExecutor(5) as pool:
        runners = [stack.enter_context(database.connect("runner")) for _ in range(5)]
        assert sum(pool.map(work, runners)) == count
    assert set(states(machines)) == {"late"}
    assert machines.db.value("select count(*) from flowgres.instance_history") == 2 * count
    assert machines.db.call("flowgres_api.verify_history")["valid"] is True


def test_tenants_take_turns(machines: Machines, clock: Clock, database: Database) -> None:
    definition = timed("new>paid", "*>late", new=1)
    machines.add(definition)
    for number in range(50):
        machines.start(str(number))
    with database.connect() as db:
        other = Author(database, db)
        store_machine(db, str(other.tenant_id), definition)
        Machines(other).start()
    clock.advance(seconds=2)
    assert fire(machines.db, 2)["p_moved"] == 2
    assert (
        machines.db.value("select count(distinct tenant_id) from flowgres.instance_history where actor = 'sla:new'")
        == 2
    )


def test_copy_of_an_installation_moves_nothing(machines: Machines, waiting: str, clock: Clock) -> None:
    machines.db.run("update flowgres.installation set place = 'elsewhere'")
    clock.advance(seconds=61)
    with pytest.raises(psycopg.Error) as refused:
        fire(machines.db)
    assert refused.value.diag.constraint_name == "installation_copied"
    assert machines.row(waiting)["due_at"] is not None


def test_suspended_tenant_has_its_slas_wait(machines: Machines, waiting: str, clock: Clock, database: Database) -> None:
    with database.connect() as db:
        other = Author(database, db)
        store_machine(db, str(other.tenant_id), timed("new>paid", "*>late", new=90))
        Machines(other).start()
    status = "update flowgres.tenants set status = %s where tenant_id = %s"
    machines.db.run(status, "suspended", machines.author.tenant_id)
    clock.advance(seconds=61)
    # The next one is that of whose turn it is.
    fired = fire(machines.db)
    assert (fired["p_picked"], round(fired["p_next_seconds"], -1)) == (0, 30)
    clock.advance(seconds=30)
    assert fire(machines.db)["p_moved"] == 1
    machines.db.run(status, "active", machines.author.tenant_id)
    assert fire(machines.db)["p_moved"] == 1
    assert machines.row(waiting)["current_state"] == "late"


def test_ten_thousand_timers_cost_a_look_and_a_claim_nothing_and_no_tenant_its_turn(
    machines: Machines, clock: Clock, runner: Hands, database: Database
) -> None:
    clock.set(NOON)
    machines.add(timed("new>paid", "*>late", new=3600))
    machines.start()
    idle = buffers_of_look(runner)
    entities = [{"entity_table": "many", "entity_id": str(number)} for number in range(10_000)]
    machines.db.call("flowgres_api.start_workflows", workflow="m", entities=entities)
    machines.db.run("vacuum analyze flowgres.instances")
    assert machines.db.value("select count(due_at) from flowgres.instances") == 10_001
    assert buffers_of_look(runner) <= idle
    plan = "\n".join(
        machines.db.column(
            "explain (analyze, costs off, timing off, summary off, buffers)"
            " select i.due_at from flowgres.instances as i where i.due_at is not null order by i.due_at limit 1"
        )
    )
    assert "Index Only Scan using instances_due_idx" in plan
    (hits,) = {int(number) for number in re.findall(r"shared hit=(\d+)", plan.split("Planning")[0])}
    assert hits <= 4
    assert fire(machines.db)["p_picked"] == 0
    with database.connect() as db:
        other = Author(database, db)
        store_machine(db, str(other.tenant_id), timed("new>paid", "*>late", new=3600))
        Machines(other).start()
        clock.advance(seconds=3700)
        assert fire(machines.db, 2)["p_moved"] == 2
    assert (
        machines.db.value("select count(distinct tenant_id) from flowgres.instance_history where actor = 'sla:new'")
        == 2
    )
