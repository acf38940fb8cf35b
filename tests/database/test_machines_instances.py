"""Instances of state machines: how they start, move, end and are opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowgres_definitions.loader import load_definition
from tests.support.machines import Machines, machine, way

EXAMPLES = Path(__file__).parents[2] / "examples"
ORDER = machine("new>paid", "paid>shipped", "*>cancelled", final="shipped cancelled")


def refused(error: psycopg.Error) -> tuple[str | None, str | None]:
    """The SQLSTATE and the stable code of a refusal."""
    return error.sqlstate, error.diag.constraint_name


def test_start_writes_the_first_row(machines: Machines) -> None:
    machines.add(ORDER | {"version": "1.0"})
    instance = machines.start("7", metadata={"amount": 3})
    row = machines.row(instance)
    assert (row["entity_table"], row["entity_id"], row["workflow_name"], row["workflow_version"]) == (
        "orders", "7", "m", "1.0",
    )  # fmt: skip
    assert (row["current_state"], row["status"], row["completed_at"]) == ("new", "active", None)
    assert row["metadata"] == {"amount": 3}
    (told,) = machines.history(instance)
    assert (told["from_state"], told["to_state"], told["transition_name"]) == (None, "new", None)
    assert (told["executed_by"], told["notes"], told["metadata"]) == (
        "system", "Workflow started", {"action": "workflow_started"},
    )  # fmt: skip
    assert told["actor"].startswith("login:")


def test_move_tells_who_what_and_by_which_transition(machines: Machines) -> None:
    machines.add(ORDER)
    instance = machines.start()
    assert (
        machines.move(instance, "paid", executed_by="till", metadata={"a": 1}, context={"b": 2}, notes="cash") is True
    )
    told = machines.history(instance)[1]
    assert (told["from_state"], told["to_state"], told["transition_name"]) == ("new", "paid", "new_to_paid")
    assert (told["executed_by"], told["metadata"], told["context"], told["notes"]) == (
        "till",
        {"a": 1},
        {"b": 2},
        "cash",
    )
    assert told["transition_id"] == machines.db.value(
        "select id from flowgres_api.workflow_transitions where transition_name = 'new_to_paid'"
    )
    assert machines.row(instance)["updated_at"] == told["executed_at"]


def test_final_state_completes_and_only_an_explicit_way_leads_out(machines: Machines) -> None:
    machines.add(machine("new>done", "done>back", "*>cancelled", final="done cancelled"))
    instance = machines.start()
    machines.move(instance, "done")
    assert machines.row(instance)["status"] == "completed"
    with pytest.raises(psycopg.Error) as error:
        machines.move(instance, "cancelled")
    assert refused(error.value) == ("FG409", "transition_not_allowed")
    machines.move(instance, "back")
    row = machines.row(instance)
    assert (row["current_state"], row["status"], row["completed_at"]) == ("back", "active", None)


def test_everywhere_is_also_where_it_leads_to_unless_that_is_final(machines: Machines) -> None:
    machines.add(machine("new>done", "*>held", "*>gone", final="done gone"))
    instance = machines.start()
    assert machines.move(instance, "held") is True
    assert machines.move(instance, "held") is True
    assert [row["from_state"] for row in machines.history(instance)] == [None, "new", "held"]
    ways = machines.db.column("select to_state_name from flowgres_api.get_transitions(%s)", instance)
    assert ways == ["held", "gone"]
    machines.move(instance, "gone")
    with pytest.raises(psycopg.Error) as error:
        machines.move(instance, "gone")
    assert refused(error.value) == ("FG409", "transition_not_allowed")


def test_without_transitions_every_state_leads_to_every_other(machines: Machines) -> None:
    definition = machine("new>paid", "paid>done", final="done")
    machines.add({key: value for key, value in definition.items() if key != "transitions"})
    ways = machines.db.all(
        "select from_state, to_state, transition_name as name from flowgres_api.workflow_transitions"
    )
    assert {(w["from_state"], w["to_state"]) for w in ways} == {
        ("new", "paid"), ("new", "done"), ("paid", "new"), ("paid", "done"),
    }  # fmt: skip
    assert {w["name"] for w in ways} == {"transition_to_new", "transition_to_paid", "transition_to_done"}


def test_of_two_ways_between_two_states_the_first_counts(machines: Machines) -> None:
    definition = machine("a>b", "*>b", final="b")
    definition["transitions"] = [way("*", "b", "any"), way("a", "b", "first"), way("a", "b", "second")]
    machines.add(definition)
    instance = machines.start()
    (only,) = machines.db.all("select * from flowgres_api.get_transitions(%s)", instance)
    assert only["transition_name"] == "first"
    machines.move(instance, "b")
    assert machines.history(instance)[1]["transition_name"] == "first"


def test_an_entity_has_one_active_instance_of_a_machine(machines: Machines) -> None:
    machines.add(ORDER)
    machines.add(ORDER | {"name": "other"})
    instance = machines.start()
    with pytest.raises(psycopg.Error) as error:
        machines.start()
    assert refused(error.value) == ("FG409", "instance_exists")
    assert instance in (error.value.diag.message_detail or "")
    assert machines.start(name="other") != instance
    machines.move(instance, "cancelled")
    assert machines.start() != instance


def test_opening_again_does_not_make_a_second_active_one(machines: Machines) -> None:
    machines.add(machine("new>done", "done>new", final="done"))
    first = machines.start()
    machines.move(first, "done")
    second = machines.start()
    with pytest.raises(psycopg.Error) as error:
        machines.move(first, "new")
    assert refused(error.value) == ("FG409", "instance_exists")
    assert second in (error.value.diag.message_detail or "")
    machines.move(second, "done")
    assert machines.move(first, "new") is True


def test_instances_stay_on_their_version(machines: Machines) -> None:
    machines.add(ORDER)
    old = machines.start("1")
    machines.add(machine("new>closed", final="closed"))
    new = machines.start("2")
    assert machines.row(old)["workflow_version"] == "1"
    assert machines.move(old, "paid") is True
    assert machines.move(new, "closed") is True


def test_start_by_id_and_states_of_the_view(machines: Machines) -> None:
    answer = machines.add(ORDER)
    instance = machines.db.call(
        "flowgres_api.start_workflow_by_id",
        workflow_definition_id=answer["workflow_id"],
        entity_table="orders",
        entity_id="9",
    )
    assert machines.row(str(instance))["current_state"] == "new"
    states = machines.db.value("select states from flowgres_api.workflows where id = %s", answer["workflow_id"])
    assert [(s["name"], s["is_initial"], s["is_final"]) for s in states] == [
        ("new", True, False), ("paid", False, False), ("shipped", False, True), ("cancelled", False, True),
    ]  # fmt: skip
    assert states == machines.db.all(
        "select id::text, name, is_initial, is_final, metadata from flowgres_api.workflow_states order by place"
    )


def test_the_two_kinds_are_not_taken_for_each_other(machines: Machines) -> None:
    machines.add(ORDER)
    machines.author.import_({"name": "pipe", "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}]})
    calls: list[tuple[str, dict[str, Any]]] = [
        ("start_execution", {"workflow": "m"}),
        ("start_executions", {"workflow": "m", "inputs": [{}]}),
        ("add_step", {"workflow": "m", "step": {"id": "b", "type": "log", "config": {"message": "x"}}}),
        ("start_workflow", {"workflow_name": "pipe", "entity_table": "t", "entity_id": "1"}),
        (
            "import_workflow",
            {"definition": {"name": "m", "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}]}},
        ),
    ]
    for function, arguments in calls:
        with pytest.raises(psycopg.Error) as error:
            machines.db.call(f"flowgres_api.{function}", **arguments)
        assert refused(error.value) == ("FG422", "workflow_kind_mismatch"), function


def test_machine_with_active_instances_is_not_deleted_by_accident(machines: Machines) -> None:
    machines.add(ORDER)
    instance = machines.start()
    with pytest.raises(psycopg.Error) as error:
        machines.db.call("flowgres_api.delete_workflow", workflow="m")
    assert refused(error.value) == ("FG409", "workflow_in_use")
    assert error.value.diag.message_primary == 'the machine "m" has an active instance'
    machines.start("2")
    with pytest.raises(psycopg.Error, match="has 2 active instances"):
        machines.db.call("flowgres_api.delete_workflow", workflow="m")
    machines.db.call("flowgres_api.delete_workflow", workflow="m", cancel_running=True)
    assert machines.move(instance, "paid") is True


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"entity_table": "", "entity_id": "1"}, "entity_invalid"),
        ({"entity_table": "t", "entity_id": "x" * 256}, "entity_invalid"),
        ({"entity_table": "t", "entity_id": None}, "entity_invalid"),
        ({"entity_table": "t", "entity_id": "1", "metadata": []}, "metadata_invalid"),
    ],
)
def test_what_cannot_be_an_entity_is_refused(machines: Machines, arguments: dict[str, Any], code: str) -> None:
    machines.add(ORDER)
    with pytest.raises(psycopg.Error) as error:
        machines.db.call("flowgres_api.start_workflow", workflow_name="m", **arguments)
    assert refused(error.value) == ("FG422", code)


@pytest.mark.parametrize("example", ["fraud_detection", "order_state_machine"])
def test_example_is_imported_and_goes_its_way(machines: Machines, example: str) -> None:
    file = EXAMPLES / example / "machine.yaml"
    answer = machines.author.import_translated(load_definition(file.read_bytes(), source=file.name).document)
    assert answer["kind"] == "state_machine"
    instance = machines.start(name=answer["name"])
    for _ in range(10):
        ways = machines.db.all("select * from flowgres_api.get_transitions(%s)", instance)
        if not ways:
            break
        assert machines.move(instance, ways[0]["to_state_name"]) is True
    assert machines.row(instance)["status"] == "completed"
