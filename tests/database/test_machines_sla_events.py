"""The sla of a state that tells of an event: once in a stay, and the instance stays where it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Row
from tests.support.engine import Hands, dag
from tests.support.machines import Machines, going, links, machine

NOON = "2026-06-01T12:00:00Z"
LATE = (
    "select e.trigger, e.input, e.created_by from flowgres.executions as e where e.trigger_type = 'event' order by e.id"
)


def telling(*ways: str, after: float = 60, **members: Any) -> dict[str, Any]:
    """A machine whose state `new` tells `order.late` after so many seconds."""
    definition = machine(*ways, **members)
    definition["states"][0]["sla"] = {"after": after, "event": "order.late"}
    return definition


def fire(db: Any) -> tuple[int, int]:
    """How many are taken and how many are told of, as by a runner."""
    fired: Row = db.one("select * from flowgres.fire_slas(100)")
    return fired["p_picked"], fired["p_moved"]


@pytest.fixture
def waiting(machines: Machines, clock: Clock) -> str:
    """An instance in `new`, of which is told after a minute; somebody listens."""
    clock.set(NOON)
    listening = dag("chase", [{"id": "a"}]) | {
        "triggers": [{"type": "event", "name": "order.late", "input": {"order": "$.entity_id"}}],
        "inputs": {"order": {"type": "string", "required": True}},
    }
    machines.author.import_(listening)
    machines.add(telling("new>paid", "paid>new"))
    return machines.start("4711")


def test_event_is_told_once_and_the_instance_stays(machines: Machines, waiting: str, clock: Clock) -> None:
    came = machines.row(waiting)["updated_at"]
    clock.advance(seconds=61)
    assert fire(machines.db) == (1, 1)
    (started,) = machines.db.all(LATE)
    assert started["trigger"]["payload"] == {
        "instance_id": waiting,
        "entity_table": "orders",
        "entity_id": "4711",
        "workflow_name": "m",
        "state": "new",
        "since": came.isoformat(),
    }
    assert (started["trigger"]["name"], started["trigger"]["key"]) == ("order.late", f"{waiting}/1")
    assert (started["input"], started["created_by"]) == ({"order": "4711"}, "engine")
    row = machines.row(waiting)
    assert (row["current_state"], row["due_at"], row["updated_at"]) == ("new", None, came)
    clock.advance(seconds=600)
    assert fire(machines.db) == (0, 0)


def test_history_says_that_it_was_told_and_stays_whole(machines: Machines, waiting: str, clock: Clock) -> None:
    clock.advance(seconds=61)
    fire(machines.db)
    told = machines.history(waiting)[-1]
    assert (told["from_state"], told["to_state"], told["transition_name"]) == ("new", "new", "sla")
    assert (told["actor"], told["executed_by"], told["transition_id"]) == ("sla:new", "system", None)
    assert told["metadata"] == {"action": "sla", "after": 60, "event": "order.late", "started": 1, "refused": 0}
    machines.move(waiting, "paid")
    assert machines.db.call("flowgres_api.verify_history", instance_id=waiting)["valid"] is True


def test_each_stay_has_its_event(machines: Machines, waiting: str, clock: Clock) -> None:
    clock.advance(seconds=61)
    fire(machines.db)
    machines.move(waiting, "paid")
    machines.move(waiting, "new")
    clock.advance(seconds=61)
    assert fire(machines.db) == (1, 1)
    assert [row["trigger"]["key"] for row in machines.db.all(LATE)] == [f"{waiting}/1", f"{waiting}/4"]


def test_event_that_starts_nothing_is_told_as_well(machines: Machines, waiting: str, clock: Clock) -> None:
    machines.db.call("flowgres_api.deactivate_workflow", workflow="chase")
    second = machines.start("2")
    clock.advance(seconds=61)
    assert fire(machines.db) == (2, 2)
    assert machines.history(second)[-1]["metadata"]["started"] == 0
    assert machines.db.all(LATE) == []
    assert fire(machines.db) == (0, 0)


def test_two_runners_tell_once(machines: Machines, waiting: str, clock: Clock, database: Database) -> None:
    clock.advance(seconds=61)
    with database.connect("runner") as first, database.connect("runner") as second, ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(fire, (first, second))) == [(0, 0), (1, 1)]
    assert len(machines.db.all(LATE)) == 1
    assert len(machines.history(waiting)) == 2


def test_who_dies_between_has_told_nothing(machines: Machines, waiting: str, clock: Clock, database: Database) -> None:
    clock.advance(seconds=61)
    with database.connect("runner") as dying:
        dying.connection.autocommit = False
        assert fire(dying) == (1, 1)
        machines.db.run("select pg_terminate_backend(%s, 20000)", dying.connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            dying.connection.commit()
    assert machines.db.all(LATE) == []
    assert fire(machines.db) == (1, 1)
    assert len(machines.db.all(LATE)) == 1


def test_who_holds_the_key_of_the_event_delays_that_instance_alone(
    machines: Machines, waiting: str, clock: Clock, database: Database
) -> None:
    other = machines.start("2")
    clock.advance(seconds=61)
    with database.connect("runner") as runner, machines.author.connect() as rival:
        with rival.connection.transaction():
            rival.call("flowgres_api.emit_event", name="order.late", payload={}, key=f"{waiting}/1")
            assert fire(runner)[0] == 2
            assert machines.row(waiting)["due_at"] is not None
        # It was told by somebody else, under this very key.
        fire(runner)
    assert [len(machines.history(one)) for one in (waiting, other)] == [2, 2]


def test_telling_is_no_move_for_an_execution_that_is_under_way(machines: Machines, clock: Clock, runner: Hands) -> None:
    clock.set(NOON)
    machines.author.import_(dag("work", [{"id": "do"}]))
    definition = going("new>busy", "busy>done", final="done", busy={"on_success": "done"})
    definition["states"][1]["sla"] = {"after": 60, "event": "order.late"}
    machines.add(definition)
    instance = machines.start()
    machines.move(instance, "busy")
    clock.advance(seconds=61)
    assert fire(machines.db) == (1, 1)
    runner.work()
    assert machines.row(instance)["current_state"] == "done"
    assert links(machines, "moved_to") == [("done",)]
