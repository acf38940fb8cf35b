"""Transitions that start executions, and ends of executions that move instances on."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Db, Row
from tests.support.engine import Hands, completed, dag, failed
from tests.support.machines import Machines, machine
from tests.support.races import refusal_code

INPUT = {
    "id": "$.entity_id",
    "amount": "$.metadata.amount",
    "by": "$.executed_by",
    "kind": "loan",
    "note": "$.data.note",
}
CHECK = dag("check", [{"id": "look"}])


def loan(**start: Any) -> dict[str, Any]:
    """A machine whose first transition starts the workflow `check`."""
    definition = machine(
        "asked>checked", "checked>granted", "checked>refused", "*>cancelled", final="granted refused cancelled"
    )
    definition["transitions"][0]["start"] = {"workflow": "check", "input": INPUT, **start}
    return definition


@pytest.fixture
def loans(machines: Machines) -> Machines:
    machines.author.import_(CHECK)
    machines.add(loan(on_success="granted", on_failure="refused"))
    return machines


def links(machines: Machines, instance: str) -> list[Row]:
    return machines.db.all(
        "select * from flowgres_api.instance_executions where instance_id = %s order by seq", instance
    )


def execution(machines: Machines, instance: str) -> Row:
    """The execution that the instance has started last, as clients see it."""
    return machines.db.one(
        "select * from flowgres_api.executions where id = %s", links(machines, instance)[-1]["execution_id"]
    )


def count(db: Db) -> int:
    return int(db.value("select count(*) from flowgres.executions"))


def moved(machines: Machines, entity: str = "1", **arguments: Any) -> str:
    """An instance that has started its execution."""
    instance = machines.start(entity, metadata={"amount": 5})
    machines.move(instance, "checked", **arguments)
    return instance


def test_transition_starts_an_execution_that_knows_it(loans: Machines) -> None:
    instance = moved(loans, executed_by="ann", metadata={"note": "quick"})
    found = execution(loans, instance)
    assert found["input"] == {"id": "1", "amount": 5, "by": "ann", "kind": "loan", "note": "quick"}
    assert (found["trigger_type"], str(found["instance_id"])) == ("transition", instance)
    assert found["trigger"] == {
        "type": "transition", "instance_id": instance, "machine": "m", "entity_table": "orders", "entity_id": "1",
        "transition": "asked_to_checked", "from_state": "asked", "state": "checked", "executed_by": "ann",
    }  # fmt: skip
    (link,) = links(loans, instance)
    assert (link["transition_name"], link["status"], link["to_state"]) == ("asked_to_checked", "queued", "checked")
    assert str(loans.db.call("flowgres_api.get_execution", execution_id=str(found["id"]))["instance_id"]) == instance


def test_neither_is_there_after_a_rollback(loans: Machines) -> None:
    instance = loans.start()
    with loans.db.connection.transaction(force_rollback=True):
        loans.move(instance, "checked")
        assert count(loans.db) == 1
    assert (loans.row(instance)["current_state"], count(loans.db), links(loans, instance)) == ("asked", 0, [])


@pytest.mark.parametrize(
    ("outcome", "state", "status"),
    [(completed({"score": 7}), "granted", "completed"), (failed(), "refused", "failed")],
    ids=["success", "failure"],
)
def test_end_moves_the_instance_on(
    loans: Machines, runner: Hands, outcome: dict[str, Any], state: str, status: str
) -> None:
    instance = moved(loans)
    runner.work(lambda lease, step: outcome)
    assert loans.row(instance)["current_state"] == state
    (link,) = links(loans, instance)
    assert (link["status"], link["moved_to"], link["reason"]) == (status, state, None)
    last = loans.history(instance)[-1]
    assert (last["executed_by"], last["actor"]) == ("system", f"execution:{link['execution_id']}")
    assert last["metadata"]["action"] == f"execution_{status}"
    assert last["context"] == ({"look": {"score": 7}} if status == "completed" else {})
    assert loans.db.call("flowgres_api.verify_history", instance_id=instance)["valid"] is True


def test_end_by_a_whole_chain_moves_it_on(loans: Machines, runner: Hands) -> None:
    instance = moved(loans)
    (lease,) = runner.claim()
    runner.report_chains([(lease, [1])])
    assert loans.row(instance)["current_state"] == "granted"


def test_cancelled_execution_has_not_succeeded(loans: Machines) -> None:
    instance = moved(loans)
    loans.db.call("flowgres_api.cancel_execution", execution_id=str(execution(loans, instance)["id"]))
    assert loans.row(instance)["current_state"] == "refused"
    assert loans.history(instance)[-1]["metadata"]["action"] == "execution_cancelled"


def test_execution_that_took_too_long_has_not_succeeded(machines: Machines, runner: Hands, clock: Clock) -> None:
    machines.author.import_(
        dag("check", [{"id": "look"}, {"id": "decide", "depends_on": ["look"]}], settings={"timeout": 10})
    )
    machines.add(loan(on_success="granted", on_failure="refused"))
    instance = moved(machines)
    (lease,) = runner.claim()
    runner.report([runner.result(lease, completed())])
    clock.advance(seconds=11)
    assert runner.db.call("flowgres.expire_executions", p_limit=10) == 1
    assert machines.row(instance)["current_state"] == "refused"
    assert machines.history(instance)[-1]["metadata"]["error"]["code"] == "execution_timeout"


@pytest.mark.parametrize("to", ["granted", "cancelled"], ids=["another state", "a final state"])
def test_instance_that_has_moved_on_stays_where_it_is(loans: Machines, runner: Hands, to: str) -> None:
    instance = moved(loans)
    loans.move(instance, to)
    runner.work(lambda lease, step: failed())
    assert loans.row(instance)["current_state"] == to
    (link,) = links(loans, instance)
    assert (link["status"], link["moved_to"], link["reason"]) == ("failed", None, "instance_moved_on")
    assert to in link["message"]


def test_same_state_again_is_another_stay(machines: Machines, runner: Hands) -> None:
    machines.author.import_(CHECK)
    definition = machine("a>b", "b>a", "b>c", final="c")
    definition["transitions"][0]["start"] = {"workflow": "check", "input": {}, "on_success": "c"}
    machines.add(definition)
    instance = machines.start()
    for state in ("b", "a", "b"):
        machines.move(instance, state)
    first, second = runner.claim()
    runner.report([runner.result(first, completed())])
    assert machines.row(instance)["current_state"] == "b"
    runner.report([runner.result(second, completed())])
    assert [link["reason"] for link in links(machines, instance)] == ["instance_moved_on", None]
    assert machines.row(instance)["current_state"] == "c"


def test_end_without_a_state_to_go_to_moves_nothing(machines: Machines, runner: Hands) -> None:
    machines.author.import_(CHECK)
    machines.add(loan(on_failure="refused"))
    instance = moved(machines)
    runner.work()
    (link,) = links(machines, instance)
    assert (link["status"], link["moved_to"], link["reason"]) == ("completed", None, None)
    assert machines.row(instance)["current_state"] == "checked"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"guard": "$.context.look.score > 5"}, None),
        ({"guard": "$.context.look.score > 50"}, "transition_guard_refused"),
        ({"required": ["look"]}, None),
        ({"required": ["signature"]}, "transition_fields_missing"),
        ({"roles": ["manager"]}, None),
    ],
    ids=["guard holds", "guard refuses", "field of the output", "field missing", "roles are those of callers"],
)
def test_what_follows_is_judged_by_guard_and_fields(
    machines: Machines, runner: Hands, rule: dict[str, Any], reason: str | None
) -> None:
    machines.author.import_(CHECK)
    definition = loan(on_success="granted")
    definition["transitions"][1] |= rule
    machines.add(definition)
    instance = moved(machines)
    runner.work(lambda lease, step: completed({"score": 7}))
    (link,) = links(machines, instance)
    assert (link["status"], link["reason"]) == ("completed", reason)
    assert machines.row(instance)["current_state"] == ("checked" if reason else "granted")
    actor = f"execution:{link['execution_id']}"
    assert [(row["details"]["code"], row["actor"]) for row in machines.refusals()] == (
        [(reason, actor)] if reason else []
    )


def test_refused_start_refuses_the_transition_in_its_own_words(machines: Machines) -> None:
    machines.add(loan())
    instance = machines.start()
    for definition, code in (
        (None, "workflow_not_found"),
        (CHECK | {"inputs": {"id": {"type": "integer", "required": True}}}, "input_invalid"),
    ):
        if definition is not None:
            machines.author.import_(definition)
        with pytest.raises(psycopg.Error) as error:
            machines.move(instance, "checked")
        assert refusal_code(error.value) == code
        report = machines.db.value(
            "select flowgres_api.execute_transitions(%s::uuid[], 'checked', on_error => 'report')", f"{{{instance}}}"
        )
        assert report["results"][0]["error"]["code"] == code
        assert "status" not in report["results"][0]["error"]
    assert (machines.row(instance)["current_state"], count(machines.db)) == ("asked", 0)
    # In SQL the audit row went with the exception; the reports have kept theirs.
    assert [row["details"]["code"] for row in machines.refusals()] == ["workflow_not_found", "input_invalid"]


def test_machine_is_no_workflow_to_start(machines: Machines) -> None:
    machines.add(machine("a>b", name="check"))
    machines.add(loan())
    with pytest.raises(psycopg.Error) as error:
        machines.move(machines.start(), "checked")
    assert refusal_code(error.value) == "workflow_kind_mismatch"
