"""Steps that move an instance: once, under the lease of the step, and without waiting for anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.database import Database, Row, Tenant
from tests.support.definitions import Author
from tests.support.engine import Hands, assert_invariants, completed, dag, get, import_workflow, start, statuses
from tests.support.machines import Machines, machine, way

Wanted = dict[str, Any]

ORDER = machine("new>paid", "paid>shipped", "*>lost", final="shipped lost")


class Movers:
    """A tenant with a machine, and workflows whose step `mark` moves an instance."""

    def __init__(self, machines: Machines, database: Database, runner: Hands) -> None:
        self.machines, self.db, self.database, self.runner = machines, machines.db, database, runner
        self.tenant = Tenant(str(machines.author.tenant_id), "", "")

    def start(self, definition: Any = ORDER, **step: Any) -> str:
        """Start an execution whose only steps are `mark` and `after`."""
        self.machines.add(definition)
        steps = [
            {"id": "mark", "type": "transition", "config": {"instance": "{{ input.i }}", "to": "paid"}, **step},
            {"id": "after", "depends_on": ["mark"]},
        ]
        return start(self.database, self.tenant, import_workflow(self.db, self.tenant, dag("w", steps)))

    def get(self, execution_id: str) -> dict[str, Any]:
        """The execution, with its steps by id."""
        return get(self.database, self.tenant, execution_id)

    def asks(self, **wanted: Any) -> Callable[[Row, str], dict[str, Any]]:
        """What a runner's hands do of such a workflow."""

        def decide(lease: Row, step: str) -> dict[str, Any]:
            if step != "mark":
                return completed(step)
            resume = lease["resume"]
            return {"o": "transition", "input": wanted} if resume is None else completed(resume["output"])

        return decide


@pytest.fixture
def movers(machines: Machines, database: Database, runner: Hands) -> Movers:
    return Movers(machines, database, runner)


def test_step_moves_the_instance_and_has_what_came_of_it(movers: Movers) -> None:
    execution = movers.start()
    instance = movers.machines.start()
    wanted = {"instance": instance, "to": "paid", "metadata": {"a": 1}, "context": {"b": 2}, "notes": "n"}
    assert movers.runner.work(movers.asks(**wanted)) == ["mark", "mark", "after"]
    output = {"instance_id": instance, "from_state": "new", "to_state": "paid", "transition_name": "new_to_paid"}
    assert movers.get(execution)["steps"]["mark"]["output"] == output
    assert movers.get(execution)["steps"]["mark"]["attempts"] == 1
    told = movers.machines.history(instance)[-1]
    assert (told["actor"], told["executed_by"]) == (f"execution:{execution}", "w/mark")
    assert (told["metadata"], told["context"], told["notes"]) == ({"a": 1}, {"b": 2}, "n")
    assert movers.db.call("flowgres_api.verify_history", instance_id=instance)["valid"] is True
    assert_invariants(movers.db)


def test_entity_names_its_active_instance_and_else_its_last(movers: Movers) -> None:
    movers.start()
    old = movers.machines.start()
    movers.machines.move(old, "lost")
    new = movers.machines.start()
    entity = {"workflow": "m", "entity_table": "orders", "entity_id": "1"}
    movers.runner.work(movers.asks(**entity, to="paid"))
    assert [movers.machines.row(i)["current_state"] for i in (old, new)] == ["lost", "paid"]
    movers.machines.move(new, "shipped")
    execution = start(movers.database, movers.tenant, "w")
    movers.runner.work(movers.asks(**entity, to="paid"))
    error = movers.get(execution)["steps"]["mark"]["error"]
    assert error["details"]["current_state"] == "shipped"


NOBODY = {"instance": "00000000-0000-0000-0000-000000000001"}


@pytest.mark.parametrize(
    ("rule", "wanted", "code", "status"),
    [
        ({}, {"to": "new"}, "transition_not_allowed", 409),
        ({}, {"to": "nowhere"}, "state_unknown", 422),
        ({}, NOBODY, "instance_not_found", 404),
        ({}, {"instance": "x"}, "instance_not_found", 404),
        ({}, {"notes": "x" * 10_001}, "argument_too_long", 422),
        ({"guard": "$.data.a > 1"}, {}, "transition_guard_refused", 422),
        ({"required": ["reason"]}, {}, "transition_fields_missing", 422),
        ({"roles": ["manager"]}, {}, "transition_forbidden", 403),
    ],
)
def test_refusal_fails_the_step_with_its_code(
    movers: Movers, rule: dict[str, Any], wanted: dict[str, Any], code: str, status: int
) -> None:
    execution = movers.start(ORDER | {"transitions": [way("new", "paid", **rule)]}, retry={"attempts": 3})
    instance = movers.machines.start()
    ran = movers.runner.work(movers.asks(**{"instance": instance, "to": "paid"} | wanted))
    assert ran == ["mark"]
    shown = movers.get(execution)
    assert (shown["status"], shown["steps"]["mark"]["attempts"]) == ("failed", 1)
    error = shown["steps"]["mark"]["error"]
    assert (error["code"], error["class"], error["details"]["status"]) == (code, "transition", status)
    assert movers.machines.row(instance)["current_state"] == "new"
    refusals = [(r["actor"], r["details"]["code"]) for r in movers.machines.refusals()]
    expected = [] if code in ("instance_not_found", "argument_too_long") else [(f"execution:{execution}", code)]
    assert refusals == expected


def test_step_has_the_role_of_its_workflow(movers: Movers) -> None:
    movers.start(ORDER | {"transitions": [way("new", "paid", roles=["manager", "workflow:w"])]})
    instance = movers.machines.start()
    movers.runner.work(movers.asks(instance=instance, to="paid"))
    assert movers.machines.row(instance)["current_state"] == "paid"


def test_refusal_may_be_tried_again_where_the_step_says_so(movers: Movers) -> None:
    execution = movers.start(retry={"attempts": 3, "delay": 0, "errors": [409]})
    instance = movers.machines.start()
    movers.machines.move(instance, "paid")
    movers.runner.work(movers.asks(instance=instance, to="paid"))
    assert movers.get(execution)["steps"]["mark"]["attempts"] == 3


def test_on_error_goes_on_after_a_refusal(movers: Movers) -> None:
    execution = movers.start(on_error="continue")
    movers.runner.work(movers.asks(**NOBODY, to="paid"))
    assert statuses(movers.get(execution)) == {"mark": "failed", "after": "completed"}
    assert movers.get(execution)["status"] == "completed"


def test_machine_that_is_not_there_yet_is_a_warning(movers: Movers) -> None:
    config = {"workflow": "m", "entity_table": "orders", "entity_id": "1", "to": "paid"}
    steps = [{"id": "mark", "type": "transition", "config": config}]
    warnings = [movers.machines.author.check(dag("w", steps))["warnings"]]
    movers.machines.add(ORDER)
    warnings.append(movers.machines.author.check(dag("w", steps))["warnings"])
    assert [[(one["path"], one["code"]) for one in told] for told in warnings] == [
        [("steps[0].config.workflow", "workflow_not_found")],
        [],
    ]


def test_step_that_is_run_twice_moves_once(movers: Movers) -> None:
    execution = movers.start()
    instance = movers.machines.start()
    (lease,) = movers.runner.claim(1)
    report = movers.runner.result(lease, {"o": "transition", "input": {"instance": instance, "to": "paid"}})
    movers.runner.report_once([report])
    # The same again: its token is gone.
    assert movers.runner.report_once([report]) == []
    # Lost after it moved: whoever takes it goes on with what came of it.
    (again,) = movers.runner.claim(1)
    movers.runner.report([movers.runner.result(again, {"o": "lost"})])
    movers.runner.work(movers.asks(instance=instance, to="shipped"))
    assert movers.get(execution)["status"] == "completed"
    assert [row["to_state"] for row in movers.machines.history(instance)] == ["new", "paid"]


def test_instance_that_somebody_holds_is_waited_for_by_nobody(movers: Movers) -> None:
    movers.start()
    instance = movers.machines.start()
    other = movers.machines.start("2")
    start(movers.database, movers.tenant, "w")
    leases = movers.runner.claim(2)
    with movers.machines.author.connect() as holder, holder.connection.transaction():
        holder.run("select from flowgres.instances where id = %s for update", instance)
        reports = [
            movers.runner.result(lease, {"o": "transition", "input": {"instance": i, "to": "paid"}})
            for lease, i in zip(leases, (instance, other), strict=True)
        ]
        answers = movers.runner.report_once(reports)
        assert [(row["queue_id"], row["is_passed_over"]) for row in answers] == [(leases[0]["queue_id"], True)]
        assert movers.machines.row(other)["current_state"] == "paid"
    assert movers.runner.report_once(reports[:1]) == []
    assert movers.machines.row(instance)["current_state"] == "paid"


def test_transition_of_a_batch_that_raises_fails_alone(movers: Movers) -> None:
    movers.start()
    for _ in range(4):
        start(movers.database, movers.tenant, "w")
    instances = [movers.machines.start(str(number)) for number in range(5)]
    leases = movers.runner.claim(5)
    movers.runner.report(
        [
            movers.runner.result(
                lease,
                {
                    "o": "transition",
                    "input": {"instance": i, "to": "paid", "notes": "x" * (20_000 if i == instances[2] else 1)},
                },
            )
            for lease, i in zip(leases, instances, strict=True)
        ]
    )
    states = [movers.machines.row(i)["current_state"] for i in instances]
    assert states == ["paid", "paid", "new", "paid", "paid"]


def test_step_that_is_cancelled_by_another_of_its_batch_moves_nothing(movers: Movers) -> None:
    movers.machines.add(ORDER)
    steps: list[dict[str, Any]] = [
        {"id": "first", "cancels": ["mark"]},
        {"id": "mark", "type": "transition", "config": {"instance": "{{ input.i }}", "to": "paid"}},
    ]
    execution = start(movers.database, movers.tenant, import_workflow(movers.db, movers.tenant, dag("w", steps)))
    instance = movers.machines.start()
    leases = movers.runner.claim(2)
    assert [movers.runner.step_name(lease) for lease in leases] == ["first", "mark"]
    wanted = {"o": "transition", "input": {"instance": instance, "to": "paid"}}
    movers.runner.report(
        [movers.runner.result(lease, o) for lease, o in zip(leases, (completed(1), wanted), strict=True)]
    )
    assert statuses(movers.get(execution)) == {"first": "completed", "mark": "cancelled"}
    assert movers.machines.row(instance)["current_state"] == "new"


def test_step_moves_no_instance_of_another_tenant(movers: Movers, database: Database) -> None:
    execution = movers.start()
    with database.connect() as db:
        others = Machines(Author(database, db))
        others.add(ORDER)
        instance = others.start()
        movers.runner.work(movers.asks(instance=instance, to="paid"))
        assert others.row(instance)["current_state"] == "new"
    assert movers.get(execution)["steps"]["mark"]["error"]["code"] == "instance_not_found"
