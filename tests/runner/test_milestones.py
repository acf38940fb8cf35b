"""What steps see of the instance whose transition started their execution: how it stands as each of them begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start, statuses
from tests.support.machines import machine, store_machine
from tests.support.runner import Runner, wait_for

ORDER = machine("new>paid", "paid>shipped", final="shipped")
STARTED = """
update flowgres.executions
set trigger_type = 'transition', trigger = jsonb_build_object('type', 'transition', 'instance_id', %s::text)
where id = %s
"""


class Story:
    """An order, and executions that its transitions have started."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]) -> None:
        self.database, self.db, self.tenant, self._start_runner = database, db, tenant, start_runner
        store_machine(db, tenant.tenant_id, ORDER)
        entity = {"workflow_name": "m", "entity_table": "orders", "entity_id": "7", "metadata": {"amount": 5}}
        self.instance = str(db.call("flowgres_api.start_workflow", **entity))

    def move(self, to: str) -> None:
        """Move the order by hand."""
        self.db.call("flowgres_api.execute_transition", instance_id=self.instance, to_state=to)

    def run(self, *steps: dict[str, Any], is_started_by_it: bool = True) -> dict[str, Any]:
        """Run a workflow of these steps to its end."""
        execution = start(self.database, self.tenant, import_workflow(self.db, self.tenant, dag("w", list(steps))))
        if is_started_by_it:
            self.db.run(STARTED, self.instance, execution)
        self._start_runner()
        ended = "select finished_at is not null from flowgres.executions where id = %s"
        wait_for(lambda: bool(self.db.value(ended, execution)), timeout_seconds=60, what="the end")
        assert_invariants(self.db)
        return get(self.database, self.tenant, execution)


@pytest.fixture
def story(database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]) -> Story:
    return Story(database, db, tenant, start_runner)


def compute(name: str, expression: str, **members: Any) -> dict[str, Any]:
    return {"id": name, "config": {"expression": expression}, **members}


def test_expressions_see_the_instance(story: Story) -> None:
    seen = story.run(compute("a", "{{ instance }}"))["steps"]["a"]["output"]
    assert seen == {
        "id": story.instance, "workflow": "m", "entity_table": "orders", "entity_id": "7", "state": "new",
        "metadata": {"amount": 5},
    }  # fmt: skip


def test_milestone_is_asked_when_its_step_begins(story: Story) -> None:
    pay = {"type": "transition", "config": {"instance": "{{ instance.id }}", "to": "paid"}}
    execution = story.run(
        compute("before", "1", when="{{ instance.state == 'paid' }}"),
        compute("early", "{{ instance.state }}"),
        {"id": "pay", "depends_on": ["early"], **pay},
        # Nothing else than computing from here on: it would be run ahead.
        compute("between", "2", depends_on=["pay"]),
        compute("after", "{{ instance.state }}", depends_on=["between"], when="{{ instance.state == 'paid' }}"),
        compute("late", "3", depends_on=["between"], when="{{ instance.state == 'new' }}"),
    )
    assert statuses(execution) == {
        "before": "skipped", "early": "completed", "pay": "completed", "between": "completed", "after": "completed",
        "late": "skipped",
    }  # fmt: skip
    assert [execution["steps"][name]["output"] for name in ("early", "after")] == ["new", "paid"]


def test_state_may_change_by_other_hands_while_the_execution_waits(story: Story) -> None:
    wait = {"id": "wait", "type": "delay", "config": {"seconds": 8}}
    seen = compute("seen", "{{ instance.state }}", depends_on=["wait"])
    execution = start(
        story.database,
        story.tenant,
        import_workflow(story.db, story.tenant, dag("w", [compute("first", "{{ instance.state }}"), wait, seen])),
    )
    story.db.run(STARTED, story.instance, execution)
    story._start_runner()
    done = "select exists (select from flowgres.step_executions where step = %s and status = 'completed')"
    wait_for(lambda: bool(story.db.value(done, "first")))
    story.move("paid")
    wait_for(lambda: bool(story.db.value(done, "seen")))
    steps = get(story.database, story.tenant, execution)["steps"]
    assert (steps["first"]["output"], steps["seen"]["output"]) == ("new", "paid")


def test_items_conditions_and_outputs_see_it(story: Story) -> None:
    each = compute("each", "{{ item ~ instance.state }}", foreach={"items": "{{ [instance.entity_id, 'x'] }}"})
    field = {
        "id": "field", "type": "condition", "depends_on": ["each"],
        "config": {"field": "instance.state", "operator": "eq", "value": "new", "true_branch": ["new_one"]},
    }  # fmt: skip
    steps = story.run(each, field, compute("new_one", "1", depends_on=["field"]))["steps"]
    assert steps["each"]["output"] == ["7new", "xnew"]
    assert steps["new_one"]["status"] == "completed"


def test_without_an_instance_there_is_none(story: Story) -> None:
    execution = story.run(
        compute("a", "{{ instance is none }}"),
        compute("b", "1", when="{{ instance and instance.state == 'new' or false }}"),
        compute("c", "{{ instance.state }}"),
        is_started_by_it=False,
    )
    assert execution["steps"]["a"]["output"] is True
    assert execution["steps"]["b"]["status"] == "skipped"
    assert execution["steps"]["c"]["error"]["code"].startswith("expression_")
