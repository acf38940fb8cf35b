"""What follows from a repair: branches, lists, handlers, approvals, sub-workflows, another policy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start, statuses
from tests.support.repairs import act, refusal

BRANCHES: dict[str, dict[str, Any]] = {
    "condition": {"expression": "{{ 1 == 1 }}", "true_branch": ["left"], "false_branch": ["right"]},
    "switch": {"value": "{{ input.n }}", "cases": [{"equals": 1, "next": ["left"]}], "default": ["right"]},
}


class Scene:
    """One execution of a graph, and who repairs it."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
        self.database, self.db, self.tenant, self.runner = database, db, tenant, runner
        self.execution = ""

    def begin(self, steps: list[dict[str, Any]], **more: Any) -> None:
        self.execution = start(
            self.database, self.tenant, import_workflow(self.db, self.tenant, dag("w", steps, **more))
        )

    def act(self, name: str, step: str, **arguments: Any) -> dict[str, Any]:
        return act(self.database, self.tenant, name, self.execution, step, **arguments)

    def refusal(self, name: str, step: str, **arguments: Any) -> str:
        return refusal(self.database, self.tenant, name, execution=self.execution, step=step, **arguments)

    def get(self) -> dict[str, Any]:
        assert_invariants(self.db, drained=False)
        return get(self.database, self.tenant, self.execution)


@pytest.fixture
def scene(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Scene:
    return Scene(database, db, tenant, runner)


@pytest.mark.parametrize(
    ("kind", "output", "ways"),
    [
        ("condition", True, ("completed", "skipped")),
        ("condition", {"result": False}, ("skipped", "completed")),
        ("switch", "case 1", ("completed", "skipped")),
        ("switch", {"branch": "default"}, ("skipped", "completed")),
    ],
)
def test_branch_that_somebody_says_is_the_taken_one(
    kind: str, output: Any, ways: tuple[str, str], scene: Scene, db: Db
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "way", "type": kind, "config": BRANCHES[kind]},
        *({"id": name, "depends_on": ["way"]} for name in ("left", "right")),
    ]
    scene.begin(steps)
    assert scene.refusal("complete_step", "way", output={"branch": "case 7"}) == "branch_unknown"
    with scene.database.as_role("member", tenant_id=scene.tenant.tenant_id) as api:
        query = "select flowgres_api.complete_step(%s::uuid, 'way', %s::jsonb)"
        api.value(query, scene.execution, json.dumps(output))
    scene.runner.work()
    found = scene.get()
    assert (found["status"], found["steps"]["left"]["status"], found["steps"]["right"]["status"]) == (
        "completed",
        *ways,
    )
    assert found["steps"]["way"]["output"]["branch"] in ("true", "false", "case 1", "default")


LIST: list[dict[str, Any]] = [
    {"id": "hold", "foreach": {"items": [1, 2, 3, 4], "max_parallel": 2, "tolerate": 1}},
    {"id": "after", "depends_on": ["hold"]},
]


def _expand(scene: Scene) -> None:
    scene.begin(LIST)
    (lease,) = scene.runner.claim()
    leases = scene.runner.report([scene.runner.result(lease, {"o": "expand", "out": [1, 2, 3, 4]})])
    rows = [[str(row["tenant_id"]), str(row["execution_id"]), row["queue_id"], row["token"]] for row in leases]
    scene.db.call("flowgres.release", p_runner_id=scene.runner.id, p_rows=rows)


@pytest.mark.parametrize(
    ("name", "given", "status", "output"),
    [
        ("complete_step", {"output": {"n": 1}}, "completed", [{"n": 1}, "hold", "hold", "hold"]),
        ("skip_step", {}, "skipped", [None, "hold", "hold", "hold"]),
        ("cancel_step", {}, "cancelled", [None, "hold", "hold", "hold"]),
        ("fail_step", {}, "failed", [None, "hold", "hold", "hold"]),
    ],
)
def test_iteration_is_repaired_alone(name: str, given: Any, status: str, output: list[Any], scene: Scene) -> None:
    _expand(scene)
    assert scene.act(name, "hold[0]", **given)["status"] == status
    assert scene.refusal(name, "hold[3]") == "step_not_ready"
    assert scene.refusal(name, "hold", iteration=4) == "step_not_found"
    scene.runner.work()
    found = scene.get()
    assert (found["status"], found["steps"]["hold"]["output"]) == ("completed", output)


@pytest.mark.parametrize(
    ("name", "given", "status", "after", "end"),
    [
        ("complete_step", {"output": {"n": 1}}, "completed", "completed", "completed"),
        ("skip_step", {}, "skipped", "skipped", "completed"),
        ("cancel_step", {}, "cancelled", "skipped", "completed"),
        ("fail_step", {}, "failed", "cancelled", "failed"),
    ],
)
def test_list_is_repaired_as_a_whole(name: str, given: Any, status: str, after: str, end: str, scene: Scene) -> None:
    _expand(scene)
    assert scene.refusal("retry_step", "hold") == "step_iterates"
    assert scene.act(name, "hold", **given)["status"] == status
    assert (
        scene.db.value("select count(*) from flowgres.step_executions where iteration >= 0 and status = 'cancelled'")
        == 2
    )
    scene.runner.work()
    found = scene.get()
    assert (found["status"], found["steps"]["hold"]["output"]) == (end, given.get("output"))
    assert statuses(found) == {"hold": status, "after": after}


def test_failure_goes_the_way_that_the_step_says(scene: Scene) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", "on_error": "continue"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["b"], "join": "failed"},
    ]
    scene.begin(steps)
    scene.act("fail_step", "a", error={"code": "wrong", "message": "no"})
    found = scene.get()
    error = found["steps"]["a"]["error"]
    assert (error["code"], error["message"], error["by"], error["class"]) == ("wrong", "no", "ann", "repair")
    scene.act("fail_step", "b")
    assert scene.runner.work() == ["c"]
    assert (scene.get()["status"], scene.get()["steps"]["b"]["error"]["code"]) == ("completed", "failed_by_hand")


def test_handler_that_is_cancelled_has_handled_nothing(scene: Scene) -> None:
    scene.begin([{"id": "a"}, {"id": "b", "depends_on": ["a"], "join": "failed"}])
    scene.act("fail_step", "a")
    scene.act("cancel_step", "b")
    found = scene.get()
    assert (found["status"], found["error"]["step"]) == ("failed", "a")


def test_what_runs_after_a_failure_is_repaired_as_well(scene: Scene) -> None:
    undo = {"compensate": {"type": "transform", "config": {"expression": "1"}}}
    scene.begin(
        [{"id": "a", **undo}, {"id": "b", "depends_on": ["a"]}],
        on_failure=[{"id": "tell", "type": "transform", "config": {"expression": "1"}}],
    )
    (lease,) = scene.runner.claim()
    scene.runner.report([scene.runner.result(lease, completed())])
    scene.act("fail_step", "b")
    (name,) = [step for step in scene.get()["steps"] if step.startswith("a") and step != "a"]
    assert scene.act("skip_step", name)["status"] == "skipped"
    assert scene.act("complete_step", "tell", output={"n": 1})["status"] == "completed"
    assert scene.get()["status"] == "failed"
    assert_invariants(scene.db)


def test_another_policy_holds_for_this_execution_alone(scene: Scene, clock: Clock) -> None:
    clock.set("2026-06-01T12:00:00Z")
    scene.begin([{"id": "a", "retry": {"attempts": 1}}, {"id": "b", "depends_on": ["a"]}])
    changes = {
        "retry": {"attempts": 3, "delay": "5m", "jitter": False, "errors": ["internal"]},
        "timeout": "7s",
        "on_error": "continue",
    }
    answer = scene.act("update_step", "a", changes=changes, reason="slow today")
    assert answer["overrides"] == {
        "max_attempts": 3,
        "retry_delay_seconds": 300,
        "retry_jitter": False,
        "retry_errors": ["internal"],
        "timeout_seconds": 7,
        "on_error": "continue",
    }
    (lease,) = scene.runner.claim()
    assert lease["overrides"]["timeout_seconds"] == 7
    scene.runner.report([scene.runner.result(lease, failed())])
    found = scene.get()["steps"]["a"]
    assert (found["status"], found["due_at"][:16]) == ("retrying", "2026-06-01T12:05")
    assert scene.act("update_step", "a", changes={"retry": 2})["overrides"]["max_attempts"] == 2
    scene.act("retry_step", "a")
    (lease,) = scene.runner.claim()
    (following,) = scene.runner.report([scene.runner.result(lease, failed())])
    assert following["overrides"] is None
    scene.runner.report([scene.runner.result(following, completed())])
    assert scene.get()["status"] == "completed"
    scene.begin([{"id": "a", "retry": {"attempts": 1}}, {"id": "b", "depends_on": ["a"]}])
    scene.runner.work(lambda *_: failed())
    assert scene.get()["status"] == "failed"


def test_policy_of_a_list_holds_for_the_items_to_come(scene: Scene) -> None:
    _expand(scene)
    scene.act("update_step", "hold", changes={"timeout": 7})
    assert scene.refusal("update_step", "hold", changes={"on_error": "skip"}) == "change_impossible"
    seen = {}
    scene.runner.work(lambda lease, name: seen.update({(name, lease["iteration"]): lease["overrides"]}) or completed())
    assert seen == {**{("hold", number): {"timeout_seconds": 7} for number in range(4)}, ("after", -1): None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retry": {}},
        {"colour": 1},
        {"retry": {"attempts": 0}},
        {"timeout": "soon"},
        {"on_error": "x"},
        {"retry": {"tries": 1}},
    ],
)
def test_changes_that_are_none_are_refused(changes: Any, scene: Scene) -> None:
    scene.begin([{"id": "a"}])
    assert scene.refusal("update_step", "a", changes=changes) == "changes_invalid"


def test_paused_row_stays_held_when_it_is_retried(scene: Scene) -> None:
    scene.begin([{"id": "a"}])
    (lease,) = scene.runner.claim()
    scene.db.run("update flowgres.work_queue set held = true, held_for = execution_id")
    scene.act("retry_step", "a")
    assert scene.runner.claim() == []
    assert scene.db.value("select held from flowgres.work_queue")
    assert scene.act("complete_step", "a")["status"] == "completed"
    scene.runner.report([scene.runner.result(lease, completed())])
    assert scene.get()["status"] == "completed"
