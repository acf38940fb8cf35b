"""Tasks, waits and approvals inside foreach, repeat and compensate, with a real runner and those who end them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start
from tests.support.runner import Runner, wait_for

TASK = {"type": "task", "config": {"queue": "q", "payload": {"n": "{{ input.n }}"}}}


class Subject:
    """An execution, and the people and workers who end what it waits for."""

    def __init__(self, database: Database, db: Db, tenant: Tenant) -> None:
        self.database, self.db, self.tenant = database, db, tenant

    def start(self, *steps: dict[str, Any], **given: Any) -> None:
        name = import_workflow(self.db, self.tenant, dag("subject", list(steps)))
        self.execution = start(self.database, self.tenant, name, input={"n": 1, **given})

    def call(self, function: str, **arguments: Any) -> Any:
        with self.database.as_role("member", tenant_id=self.tenant.tenant_id, sub="ann") as api:
            return api.call(f"flowgres_api.{function}", **arguments)

    def claim(self, count: int) -> list[Row]:
        """Wait until so many tasks are there, and claim them; in the order of their iterations."""
        tasks: list[Row] = []

        def look() -> bool:
            with self.database.as_role("member", tenant_id=self.tenant.tenant_id) as api:
                tasks.extend(api.column("select flowgres_api.claim_tasks('q', 'w1', 10)"))
            return len(tasks) >= count

        wait_for(look, what=f"{count} tasks")
        assert len(tasks) == count
        return sorted(tasks, key=lambda task: task["iteration"] or 0)

    def complete(self, task: Row, output: Any) -> None:
        self.call("complete_task", task_id=task["task_id"], token=task["token"], output=Jsonb(output))

    def fail(self, task: Row) -> None:
        self.call("fail_task", task_id=task["task_id"], token=task["token"], error={"message": "no"})

    def waits(self, what: str, count: int = 1) -> None:
        query = "select count(*) from flowgres.work_queue where waits_for like %s"
        wait_for(lambda: self.db.value(query, what) == count, what=f"{count} that wait for {what}")

    def end(self) -> dict[str, Any]:
        """The execution when it has ended; nothing is left of it."""
        ended = "select finished_at is not null from flowgres.executions where id = %s"
        wait_for(lambda: bool(self.db.value(ended, self.execution)), what="the end")
        wait_for(lambda: not self.db.value("select count(*) from flowgres.work_queue"), what="an empty queue")
        assert_invariants(self.db)
        assert not self.db.value("select count(*) from flowgres.waits")
        return get(self.database, self.tenant, self.execution)


@pytest.fixture
def subject(database: Database, db: Db, tenant: Tenant, runner: Runner) -> Subject:
    return Subject(database, db, tenant)


def test_items_are_tasks_of_their_own_and_one_is_tried_again(subject: Subject) -> None:
    step = {
        **TASK,
        "id": "each",
        "foreach": {"items": [1, 2, 3]},
        "config": {"queue": "q", "payload": {"n": "{{ item }}"}},
        "retry": {"attempts": 2, "delay": "10ms"},
    }
    subject.start(step)
    tasks = subject.claim(3)
    assert [(task["iteration"], task["payload"]["n"]) for task in tasks] == [(0, 1), (1, 2), (2, 3)]
    subject.complete(tasks[0], "one")
    subject.complete(tasks[2], "three")
    subject.fail(tasks[1])
    (again,) = subject.claim(1)
    assert (again["iteration"], again["attempt"]) == (1, 2)
    subject.complete(again, "two")
    assert subject.end()["steps"]["each"]["output"] == ["one", "two", "three"]


def test_one_row_after_the_other_is_a_task_where_one_is_done_at_a_time(subject: Subject) -> None:
    step = {**TASK, "id": "each", "foreach": {"items": [1, 2, 3], "max_parallel": 1}}
    subject.start(step)
    for n in range(3):
        (task,) = subject.claim(1)
        assert task["iteration"] == n
        subject.complete(task, n * 10)
    assert subject.end()["steps"]["each"]["output"] == [0, 10, 20]


def test_each_round_is_a_task(subject: Subject) -> None:
    step = {**TASK, "id": "poll", "repeat": {"until": "{{ output.done }}", "max_times": 5}}
    subject.start(step)
    ids = set()
    for n in range(3):
        (task,) = subject.claim(1)
        ids.add(task["task_id"])
        subject.complete(task, {"done": n == 2, "n": n})
    execution = subject.end()
    assert execution["steps"]["poll"]["output"]["n"] == 2
    assert len(ids) == 3


def breaking(compensate: dict[str, Any]) -> list[dict[str, Any]]:
    broken = {"id": "b", "depends_on": ["a"], "config": {"expression": "{{ input.nothing.at_all }}"}}
    return [{"id": "a", "config": {"expression": "1"}, "compensate": compensate}, broken]


def test_task_compensates(subject: Subject) -> None:
    subject.start(*breaking({"type": "task", "config": {"queue": "q", "payload": {"of": "{{ error.step }}"}}}))
    (task,) = subject.claim(1)
    assert task["payload"] == {"of": "b"}
    subject.complete(task, "undone")
    execution = subject.end()
    assert (execution["status"], execution["steps"]["a.compensate"]["output"]) == ("failed", "undone")


def test_wait_in_compensate_ends_with_its_signal_or_its_time(subject: Subject) -> None:
    subject.start(*breaking({"type": "wait", "config": {"signal": "undone", "key": "{{ input.n }}"}}))
    subject.waits("signal:undone/1")
    assert subject.call("send_signal", name="undone", key="1", payload={"ok": True}) == 1
    execution = subject.end()
    assert execution["status"] == "failed"
    assert execution["steps"]["a.compensate"]["output"]["payload"] == {"ok": True}
    subject.start(*breaking({"type": "wait", "config": {"signal": "undone"}, "timeout": "50ms"}))
    execution = subject.end()
    assert (execution["status"], execution["steps"]["a.compensate"]["error"]["code"]) == ("failed", "timeout")


def test_each_round_waits_for_an_event(subject: Subject) -> None:
    step = {
        "id": "poll",
        "type": "wait",
        "config": {"event": "step.done", "match": {"n": "{{ input.n }}"}},
        "repeat": {"until": "{{ output.payload.last }}", "max_times": 5},
    }
    subject.start(step)
    for n in range(3):
        query = (
            "select count(*) from flowgres.work_queue where waits_for = 'event:step.done' and coalesce(round, 1) = %s"
        )
        wait_for(partial(subject.db.value, query, n + 1), what=f"round {n}")
        assert subject.call("emit_event", name="step.done", payload={"n": 2, "last": True})["woken"] == 0
        assert subject.call("emit_event", name="step.done", payload={"n": 1, "last": n == 2})["woken"] == 1
    assert subject.end()["steps"]["poll"]["output"]["payload"] == {"n": 1, "last": True}


def test_each_item_is_decided_for_itself_and_its_timeout_is_its_own(subject: Subject) -> None:
    step = {
        "id": "ask",
        "type": "approval",
        "foreach": {"items": ["a", "b", "c"]},
        "config": {"title": "{{ item }}?"},
        "timeout": "4s",
        "on_timeout": {"output": {"decision": "late {{ item }}"}},
    }
    subject.start(step)
    subject.waits("approval:%", 3)
    subject.call("decide_approval", execution_id=subject.execution, step="ask", decision="rejected", iteration=2)
    subject.call("decide_approval", execution_id=subject.execution, step="ask", decision="approved", iteration=0)
    output = subject.end()["steps"]["ask"]["output"]
    assert [one["decision"] for one in output] == ["approved", "late b", "rejected"]
